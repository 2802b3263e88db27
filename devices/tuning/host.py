"""What a measured speed depends on: processor, system, engines. A ranking holds where all of it is the same."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
from typing import Annotated

import msgspec
from msgspec import Meta

from bedside.runtime import __version__
from bedside.runtime.engines.registry import ENGINES, EngineSpec

_Line = Annotated[str, Meta(max_length=256)]
_Count = Annotated[int, Meta(ge=1, le=65536)]


class Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A host, as far as its speed goes. Nothing in it names the machine or its user.

    Attributes:
        machine: Instruction set, for example `x86_64`.
        system: Operating system, with the kernel's major and minor version: schedulers and mitigations change
            with these, and not with the security updates that a device takes every month.
        cpu: The processor, as it calls itself.
        features: Processor features that decide which arithmetic is fast; None where the system does not say.
        physical_cores: That this process may use.
        logical_cores: That this process may use, hardware threads counted.
        quota: Processors that a container may use at once, None where there is no limit.
        engines: Installed engines by id, with their versions.
        bedside: Version of this package: its adapters set the engines up.
    """

    machine: _Line
    system: _Line
    cpu: _Line
    features: Annotated[tuple[_Line, ...], Meta(max_length=64)] | None
    physical_cores: _Count
    logical_cores: _Count
    quota: Annotated[float, Meta(gt=0, le=65536)] | None
    engines: Annotated[dict[_Line, _Line], Meta(max_length=64)]
    bedside: _Line

    @property
    def fingerprint(self) -> str:
        """Hex sha256 of all of it."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def differences(self, here: Host) -> str:
        """How `here` differs from the host that was measured, in words; empty where it does not."""
        parts = []
        for field, name in _NAMES.items():
            there, now = getattr(self, field), getattr(here, field)
            if there != now:
                parts.append(f"{name} {_show(now)} instead of {_show(there)}")
        for engine in sorted(self.engines.keys() | here.engines.keys()):
            there, now = self.engines.get(engine), here.engines.get(engine)
            if there != now:
                parts.append(f"{engine} {now or 'is absent'} instead of {there or 'none'}")
        return "; ".join(parts)


_NAMES = {
    "machine": "machine",
    "cpu": "processor",
    "features": "processor features",
    "physical_cores": "cores",
    "logical_cores": "hardware threads",
    "quota": "container's quota",
    "system": "system",
    "bedside": "bedside",
}


def this_host() -> Host:
    """The host that this process runs on. Imports no engine: `bedside run` asks before it knows which it needs.

    The cores are those that the calling thread may use: a ranking from two cores says nothing about four, and a run
    that its profile keeps to some cores asks from there.
    """
    from bedside.devices.probe import cpu_report  # brings psutil, which an untuned run does without

    cpu = cpu_report()
    return Host(
        machine=platform.machine()[:256],
        system=f"{platform.system()} {_minor(platform.release())}"[:256],
        cpu=cpu.model[:256],
        features=cpu.features,
        physical_cores=cpu.physical_cores,
        logical_cores=cpu.logical_cores,
        quota=cpu.quota,
        engines={spec.id: version for spec in ENGINES if (version := _installed(spec)) is not None},
        bedside=__version__,
    )


def _minor(release: str) -> str:
    """`6.1.0-23-amd64` -> `6.1`."""
    found = re.match(r"\d+\.\d+", release)
    return found[0] if found else release


def _installed(spec: EngineSpec) -> str | None:
    """Version of an installed engine. What does not load is installed too: it does so for every run alike."""
    for name in spec.distributions:
        try:
            return importlib.metadata.version(name)[:256]
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
