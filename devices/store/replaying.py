"""The goldens of what a run would load here: main model and guard, as the profile and what was measured say."""

from __future__ import annotations

from bedside.devices.compose import load, load_guard
from bedside.devices.profiles import Profile
from bedside.devices.sessions.plan import spec_of
from bedside.runtime.bundle.reader import Bundle

#: A spec names a source; nothing opens it here.
_NO_SOURCE = "synthetic:ultrasound"


def replay_goldens(bundle: Bundle, profile: Profile) -> None:
    """Compile what a run would compile, and replay its goldens.

    Args:
        bundle: Open.
        profile: Of the device.

    Raises:
        EngineError: They do not hold (fault B11): engine, variant, error and tolerance are named. Or no engine here
            runs it.
        BundleError: The model is not what the manifest says (fault B8).
    """
    spec = spec_of(profile, bundle=str(bundle.path), source=profile.capture.source or _NO_SOURCE)
    main = load(bundle, spec)
    try:
        guard = load_guard(bundle, spec, main)
        if guard is not None:
            guard.close()
    finally:
        main.session.close()
