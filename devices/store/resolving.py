"""From what a person wrote to the file of a bundle: a path, a starter's name, or `slot:NAME`."""

from __future__ import annotations

from pathlib import Path

from bedside.devices import starters
from bedside.devices.store.store import Store, slot_name
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.errors import BundleError

PREFIX = "slot:"


def slot_of(bundle: str) -> str | None:
    """The slot that is meant; None for a path or a starter's name.

    Raises:
        UsageError: It is no name of a slot.
    """
    return slot_name(bundle.removeprefix(PREFIX)) if bundle.startswith(PREFIX) else None


def resolve(bundle: str, store: Store | None = None) -> Path:
    """The path behind what a person wrote.

    Looks and changes nothing: a run that begins says so with `Store.start`, which counts starts on probation.

    Args:
        bundle: A path, a starter's name, or `slot:NAME` for the active bundle of a slot.
        store: None for the default one.

    Raises:
        UsageError: It is no name of a slot.
        BundleError: Nothing is active in the slot, or its file is not the bundle that was activated.
    """
    name = slot_of(bundle)
    if name is None:
        return starters.resolve(bundle)
    store = store or Store()
    ref = store.state().slot(name).active
    if ref is None:
        hint = f"bedside install BUNDLE --slot {name}, then bedside activate --slot {name}"
        raise BundleError("has no active bundle", where=f"slot {name}", hint=hint)
    path = store.path(ref)
    with open_bundle(path) as opened:
        if opened.digest != ref.digest:
            what = f"its file is the bundle {opened.digest}, expected {ref.digest}"
            raise BundleError(what, where=f"slot {name}", hint="install the bundle again")
    return path
