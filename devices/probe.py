"""What this host is: processor, memory, engines, cameras, codecs. What is absent is reported with its
reason."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import msgspec
import psutil
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bedside.devices.host.grants import Grant
from bedside.devices.host.permits import permits
from bedside.devices.sources.camera import CameraEntry, list_cameras
from bedside.runtime import __version__
from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.dicom import decodable
from bedside.runtime.engines import EngineStatus, statuses
from bedside.runtime.engines.threads import physical_cores, quota

#: Processor features that decide which arithmetic is fast, in the kernel's spelling (`flags` or `Features` in
#: /proc/cpuinfo), by family of machine.
X86_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
ARM_FEATURES = ("neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve")


class CpuReport(msgspec.Struct, frozen=True):
    """The processor.

    Attributes:
        model: As it calls itself.
        physical_cores: That this process may use.
        logical_cores: That this process may use, hardware threads counted.
        quota: Processors that a container may use at once, None where there is no limit.
        features: Of `X86_FEATURES` or `ARM_FEATURES`, those it has; None where the system does not say.
        absent: Of the same, those it lacks.
    """

    model: str
    physical_cores: int
    logical_cores: int
    quota: float | None
    features: tuple[str, ...] | None
    absent: tuple[str, ...] = ()


class MemoryReport(msgspec.Struct, frozen=True):
    """Main memory, in bytes."""

    total_bytes: int
    available_bytes: int


class OpenCvReport(msgspec.Struct, frozen=True):
    """What this build of OpenCV reads video with.

    Attributes:
        version: Of OpenCV.
        ffmpeg: Version of its libavcodec, None without FFmpeg.
        v4l2: Whether it opens Linux cameras.
        gstreamer: Whether it has GStreamer.
    """

    version: str
    ffmpeg: str | None
    v4l2: bool
    gstreamer: bool


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """A host.

    Attributes:
        fingerprint: See `host_fingerprint`.
        taken_unix_ns: When, wall clock.
        bedside: Version of this package.
        python: Implementation and version.
        system: Operating system with its release.
        machine: Instruction set, for example `x86_64` or `aarch64`.
        cpu: Processor.
        memory: Main memory.
        opencv: What reads and writes video.
        engines: Every engine that bedside knows, with its version or the reason it is absent.
        cameras: Capture devices.
        dicom: Transfer syntaxes that can be decoded, and by what.
        permits: What a profile's `[host]` would be granted here.
    """

    fingerprint: str = ""
    taken_unix_ns: int
    bedside: str
    python: str
    system: str
    machine: str
    cpu: CpuReport
    memory: MemoryReport
    opencv: OpenCvReport
    engines: tuple[EngineStatus, ...]
    cameras: tuple[CameraEntry, ...]
    dicom: dict[str, str]
    permits: tuple[Grant, ...] = ()


def probe(clock: Clock | None = None) -> HostReport:
    """Look at this host. Imports every installed engine; opens no camera.

    Args:
        clock: For the time of the report.
    """
    memory = psutil.virtual_memory()
    report = HostReport(
        taken_unix_ns=(clock or MonotonicClock()).unix_ns(),
        bedside=__version__,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=_system(),
        machine=platform.machine(),
        cpu=cpu_report(),
        memory=MemoryReport(int(memory.total), int(memory.available)),
        opencv=opencv_report(cv2.__version__, cv2.getBuildInformation()),
        engines=statuses(),
        cameras=list_cameras(),
        dicom=decodable(),
        permits=permits(),
    )
    return msgspec.structs.replace(report, fingerprint=host_fingerprint(report))


def host_fingerprint(report: HostReport) -> str:
    """What a measurement on this host depends on, as one hex digest.

    The same for two devices of one series; another one after a change of processor, memory size, engine or
    engine version. What varies from run to run (free memory, cameras, the time) is not in it. Memory counts
    in classes of powers of two, since firmware takes a varying share of it.
    """
    parts = {
        "machine": report.machine,
        "cpu": report.cpu.model,
        "cores": [report.cpu.physical_cores, report.cpu.logical_cores, report.cpu.quota],
        "features": sorted(report.cpu.features or ()),
        "memory_gib": 2.0 ** round(math.log2(max(1, report.memory.total_bytes) / 2**30)),
        "engines": sorted((e.id, e.version) for e in report.engines if e.version is not None),
    }
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def cpu_report(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str | None = None) -> CpuReport:
    """The processor.

    Args:
        cpuinfo: Where Linux describes it; other systems have none, and tell less.
        machine: Instruction set, by default this host's.
    """
    machine = machine or platform.machine()
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    logical = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    watched = ARM_FEATURES if machine.lower().startswith(("arm", "aarch")) else X86_FEATURES
    present = _features(text)
    return CpuReport(
        model=_model(text) or platform.processor() or machine or "unknown",
        physical_cores=min(logical, physical_cores()),
        logical_cores=logical,
        quota=quota(),
        features=None if present is None else tuple(f for f in watched if f in present),
        absent=() if present is None else tuple(f for f in watched if f not in present),
    )


def opencv_report(version: str, build: str) -> OpenCvReport:
    """What a build of OpenCV reads video with.

    Args:
        version: Of OpenCV.
        build: What `cv2.getBuildInformation` says.
    """
    video = build.partition("Video I/O:")[2].partition("\n\n")[0]

    def has(name: str) -> bool:
        return re.search(rf"^\s*{name}:\s+YES", video, re.MULTILINE) is not None

    codec = re.search(r"^\s*avcodec:\s+YES \(([^)]+)\)", video, re.MULTILINE)
    ffmpeg = f"libavcodec {codec.group(1)}" if codec else "of unknown version"
    return OpenCvReport(version, ffmpeg if has("FFMPEG") else None, has("v4l/v4l2"), has("GStreamer"))


def render(report: HostReport) -> RenderableType:
    """The report as tables for a terminal."""
    cpu, memory, video = report.cpu, report.memory, report.opencv
    cores = f"{cpu.physical_cores} cores, {cpu.logical_cores} threads"
    if cpu.quota is not None:
        cores += f", at most {cpu.quota:g} at once"
    features = "the system does not say" if cpu.features is None else " ".join(cpu.features) or "none"
    lacks = f"; not {' '.join(cpu.absent)}" if cpu.absent else ""
    reads = [f"FFmpeg ({video.ffmpeg})" if video.ffmpeg else "no FFmpeg: no video files"]
    reads.append("V4L2" if video.v4l2 else "no V4L2: no cameras on Linux")
    reads += ["GStreamer"] if video.gstreamer else []
    free = f"{memory.total_bytes / 2**30:.1f} GiB, {memory.available_bytes / 2**30:.1f} GiB available"
    host = _table("Host", ("", ""), header=False)
    for key, value in (
        ("system", f"{report.system}, {report.machine}"),
        ("processor", f"{cpu.model}: {cores}"),
        ("features", features + lacks),
        ("memory", free),
        ("software", f"bedside {report.bedside}, {report.python}"),
        ("OpenCV", f"{video.version} with {', '.join(reads)}"),
        ("fingerprint", report.fingerprint[:16]),
    ):
        host.add_row(Text(key, style="dim"), Text(value))
    engines = _table("Engines", ("engine", "version", "reads", "precision hints, or why it is absent"))
    for engine in report.engines:
        if engine.version is None:
            why = Text(engine.reason or "cannot be used", style="yellow")
            engines.add_row(
                Text(engine.id, style="dim"), Text("-", style="dim"), _words(engine.formats, "dim"), why
            )
        else:
            engines.add_row(
                Text(engine.id), Text(engine.version), _words(engine.formats), _words(engine.hints)
            )
    parts: list[RenderableType] = [host, engines]
    if report.cameras:
        cameras = _table("Cameras", ("device", "name"))
        for camera in report.cameras:
            cameras.add_row(Text(camera.device), Text(camera.name or "-"))
        parts.append(cameras)
    else:
        parts.append(Text("No cameras."))
    codecs = _table("DICOM", ("decoded by", "transfer syntaxes"))
    for plugin in dict.fromkeys(report.dicom.values()):
        codecs.add_row(Text(plugin), Text("; ".join(s for s, by in report.dicom.items() if by == plugin)))
    return Group(*parts, codecs, _permits(report.permits))


def _permits(grants: Iterable[Grant]) -> Table:
    """What this user may ask of the host, and what to do about the rest."""
    made = _table("Permitted here", ("for a stream", "", "why not, and what to do"))
    for grant in grants:
        if grant.granted:
            made.add_row(Text(grant.what), Text(grant.have), Text(""))
        else:
            why = f"{grant.reason}: {grant.remedy}" if grant.remedy else grant.reason
            made.add_row(Text(grant.what), Text(f"not {grant.asked}", style="yellow"), Text(why))
    return made


def _table(title: str, columns: Sequence[str], *, header: bool = True) -> Table:
    made = Table(
        title=Text(title, style="bold"), title_justify="left", header_style="bold", show_header=header
    )
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def _words(words: Iterable[str], style: str = "") -> Text:
    return Text(", ".join(words) or "-", style=style)


def _system() -> str:
    """The operating system, with the distribution where it says which."""
    kernel = f"{platform.system()} {platform.release()}"
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    return f"{name} ({kernel})" if name else kernel


def _model(cpuinfo: str) -> str:
    """The processor's name: `model name` on x86, the board's on ARM, where cores have none."""
    for key in ("model name", "Model", "Hardware", "cpu model"):
        match = re.search(rf"^{key}\s*:\s*(\S.*)$", cpuinfo, re.MULTILINE)
        if match:
            return " ".join(match.group(1).split())
    try:
        return Path("/proc/device-tree/model").read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _features(cpuinfo: str) -> frozenset[str] | None:
    """Features that every core has: on some processors cores differ, and a thread may run on any."""
    lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    if not lines:
        return None
    return frozenset.intersection(*(frozenset(line.split()) for line in lines))
