"""Session files: from TOML to one plan per stream, and what holds among the streams."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bedside.devices.compose import check_outputs, real_path
from bedside.devices.host.grants import numbers
from bedside.devices.profiles import Profile, load_profile
from bedside.devices.profiles.loading import FORMS
from bedside.devices.profiles.schema import check
from bedside.devices.sessions.plan import StreamPlan, plan_of, spec_of
from bedside.devices.sessions.schema import Isolation, SessionFile, StreamEntry
from bedside.devices.sessions.shares import shared_out
from bedside.devices.sinks import make_sink
from bedside.devices.sources.uri import parse_uri
from bedside.devices.store.resolving import resolve
from bedside.runtime import strict_toml
from bedside.runtime.errors import ProfileError, UsageError

#: What the patterns of a session file mean: those of a profile, in every stream.
_FORMS = {"name": FORMS["name"]} | {f"stream.{key}": form for key, form in FORMS.items()}

#: What a stream takes from its profile: everything but who it is.
_SECTIONS = frozenset(Profile.__struct_fields__) - {"name", "description"}


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Streams that run side by side.

    Attributes:
        name: For summaries.
        isolation: How they are kept apart.
        plans: One per stream, with its share of the host.
        notes: What cannot be as it should, a line each.
    """

    name: str
    isolation: Isolation
    plans: tuple[StreamPlan, ...]
    notes: tuple[str, ...] = ()


def load_session(path: str | Path) -> Session:
    """The session in that file. Paths in it are relative to the working directory, as on the command line.

    Raises:
        UsageError: It cannot be read, is mistyped, or its streams get into each other's way; one line with the key.
    """
    data = strict_toml.read_file(path, error=UsageError, hint="give the path of a session file")
    return parse_session(data, where=str(path))


def parse_session(data: bytes, *, where: str) -> Session:
    """A session from its TOML text.

    Args:
        data: At most `strict_toml.MAX_BYTES`.
        where: For errors.

    Raises:
        UsageError: See `load_session`.
    """
    file = strict_toml.loads(data, SessionFile, error=UsageError, where=where, forms=_FORMS)
    raw = tomllib.loads(data.decode("utf-8"))["stream"]
    plans = [
        _plan(entry, given, file.device, f"{where}: stream[{k}]")
        for k, (entry, given) in enumerate(zip(file.stream, raw, strict=True))
    ]
    _check_apart(plans, where)
    shared, notes = shared_out(plans)
    return Session(name=file.name, isolation=file.isolation, plans=shared, notes=notes)


def _plan(entry: StreamEntry, given: Mapping[str, Any], device: str | None, where: str) -> StreamPlan:
    named = entry.device or device
    base = load_profile(named) if named else Profile(name="none")
    profile = _merged(base, given, where)
    try:
        spec = spec_of(
            profile,
            bundle=entry.bundle,
            source=entry.source,
            sinks=entry.sinks,
            stream=entry.name,
            paced=entry.paced,
            pace_fps=entry.pace_fps,
            jitter_ms=entry.jitter_ms,
            loop=entry.loop,
            max_frames=entry.max_frames,
            seconds=entry.seconds,
        )
        for uri in spec.sinks:
            make_sink(uri)
        check_outputs(spec)
    except UsageError as error:
        # A source without a name, or a sink without a scheme: the file is to be mended, not the command.
        place = f"{where}: {error.where}" if error.where else where
        hint = error.hint.replace("give --source URI", "give source")
        raise UsageError(error.what, where=place, hint=hint) from None
    return plan_of(profile, spec)


def _merged(base: Profile, given: Mapping[str, Any], where: str) -> Profile:
    """The profile with the keys over it that the stream gives, and no others."""
    sections = {key: value for key, value in given.items() if key in _SECTIONS}
    profile = msgspec.convert(_over(msgspec.to_builtins(base), sections), Profile)
    try:
        check(profile)
    except ValueError as error:
        raise ProfileError(str(error), where=where) from None
    return profile


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are laid over each other key by key; lists and scalars are replaced."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _over(under, value) if isinstance(value, dict) and isinstance(under, dict) else value
    return merged


def _check_apart(plans: Sequence[StreamPlan], where: str) -> None:
    """Refuse streams of one name, on one camera, or with sinks on what another stream reads or writes.

    Raises:
        UsageError: One line that names both streams.
    """
    names: dict[str, int] = {}
    cameras: dict[str, str] = {}
    read: dict[Path, str] = {}
    for k, plan in enumerate(plans):
        if plan.name in names:
            what = f"stream[{k}].name: {plan.name!r} is the name of stream[{names[plan.name]}] too"
            raise UsageError(what, where=where)
        names[plan.name] = k
        source = parse_uri(plan.spec.source)
        if source.scheme == "camera":
            other = cameras.setdefault(_device(source.target), plan.name)
            if other != plan.name:
                what = f"the streams {other} and {plan.name} both open {plan.spec.source!r}"
                raise UsageError(what, where=where, hint="a camera gives its frames to one")
        read[real_path(resolve(plan.spec.bundle))] = f"the bundle of {plan.name}"
        if source.scheme == "path":
            read[real_path(Path(source.target))] = f"the source of {plan.name}"
    written: dict[Path, str] = {}
    for plan in plans:
        for uri in plan.spec.sinks:
            scheme, _, rest = uri.partition(":")
            path = real_path(Path(rest))
            if scheme == "null" or (path.exists() and not path.is_file()):
                continue
            taken = read.get(path) or written.get(path)
            if taken is not None:
                what = f"the sink {uri!r} of {plan.name} would write over {taken}"
                raise UsageError(what, where=where, hint="give every sink a file of its own")
            written[path] = f"the sink {uri!r} of {plan.name}"


def _device(target: str) -> str:
    """`0` and `/dev/video0` are one camera."""
    return target.removeprefix("/dev/video") if target.startswith("/dev/video") else target


def shares_line(session: Session) -> str:
    """Who gets what, for people: `us: cores 0-1, 2 threads; scope: cores 2-3, 2 threads`."""
    parts = []
    for plan in session.plans:
        cores = numbers(plan.host.inference_cores) if plan.host.inference_cores else "any core"
        threads = plan.spec.threads
        parts.append(f"{plan.name}: {cores}, {threads} engine thread{'' if threads == 1 else 's'}")
    return "; ".join(parts)
