"""What one stream is, as plain data: made from a profile, sent to whatever process runs it."""

from __future__ import annotations

from typing import Any

import msgspec

from bedside.devices.compose import PipelineSpec
from bedside.devices.profiles import HostSection, Profile
from bedside.devices.sources.network import NETWORK_SCHEMES
from bedside.devices.sources.options import CaptureOptions
from bedside.devices.sources.uri import parse_uri
from bedside.runtime.errors import UsageError


class StreamPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One stream with all that it needs. Survives JSON unchanged, so that another process can run it.

    Attributes:
        spec: What runs; `spec.stream` is the stream's name.
        device: Name of the profile that it was made from.
        host: How the host is set up for it.
    """

    spec: PipelineSpec
    device: str = "none"
    host: HostSection = HostSection()

    @property
    def name(self) -> str:
        """Of the stream."""
        return self.spec.stream

    @property
    def live(self) -> bool:
        """Whether frames come whether or not anybody is ready, as far as the source's URI says."""
        spec = self.spec
        paced = spec.paced or spec.pace_fps is not None
        return paced or parse_uri(spec.source).scheme in ("camera", *NETWORK_SCHEMES)


def plan_of(profile: Profile, spec: PipelineSpec) -> StreamPlan:
    """The plan of a stream whose spec came from `profile`."""
    return StreamPlan(spec=spec, device=profile.name, host=profile.host)


def spec_of(profile: Profile, *, bundle: str, source: str | None = None, **given: Any) -> PipelineSpec:
    """What a profile says of a stream, with what else was said over it.

    Args:
        profile: Of the device.
        bundle: Path, or the name of a starter bundle.
        source: URI; None for the profile's.
        given: Further fields of `PipelineSpec`. None leaves the profile's value.

    Raises:
        UsageError: Nothing names a source.
    """
    source = source or profile.capture.source
    if source is None:
        raise UsageError("no source", hint="give --source URI, or a profile with [capture] source")
    engine = profile.engine
    fields: dict[str, Any] = {
        "engine_preference": engine.preference,
        "variant": engine.variant,
        "threads": engine.threads,
        "threads_fixed": given.get("threads") is not None,
        "hint": engine.hint,
        "roi": profile.screen.roi,
        "masks": profile.screen.masks,
        "max_age_ms": profile.budget.max_age_ms,
        "memory_mb": profile.budget.memory_mb,
        "ladder": profile.ladder,
        "trust": profile.trust,
        "top_k": profile.task.top_k,
        "smoothing": profile.task.smoothing,
        "policy": profile.capture.policy,
        "capture": CaptureOptions(
            **{name: getattr(profile.capture, name) for name in CaptureOptions.__struct_fields__}
        ),
    }
    fields |= {name: value for name, value in given.items() if value is not None}
    return PipelineSpec(bundle=bundle, source=source, **fields)
