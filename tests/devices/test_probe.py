from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import pytest
from rich.console import Console

from bedside.devices.host.grants import Grant
from bedside.devices.probe import (
    ARM_FEATURES,
    HostReport,
    MemoryReport,
    cpu_report,
    host_fingerprint,
    opencv_report,
    probe,
    render,
)
from bedside.devices.sources.camera import CameraEntry
from bedside.runtime.clock import ManualClock
from bedside.runtime.engines import EngineStatus
from bedside.runtime.engines.registry import ENGINES

XEON = """\
processor\t: 0
model name\t: Intel(R)  Xeon(R) Gold 6430
flags\t\t: fpu sse4_2 avx avx2 avx512f avx512_vnni amx_int8 amx_bf16 avx512_bf16

processor\t: 1
model name\t: Intel(R)  Xeon(R) Gold 6430
flags\t\t: fpu sse4_2 avx avx2 avx512f avx512_vnni amx_int8 amx_bf16 avx512_bf16
"""
HYBRID = """\
model name\t: 12th Gen Intel(R) Core(TM) i5
flags\t\t: avx2 avx_vnni avx512f
model name\t: 12th Gen Intel(R) Core(TM) i5
flags\t\t: avx2 avx_vnni
"""
PI = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp
CPU part\t: 0xd0b

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


@pytest.fixture(scope="module")
def report() -> HostReport:
    return probe(ManualClock())


def test_it_describes_this_host(report: HostReport) -> None:
    assert report.cpu.model
    assert 1 <= report.cpu.physical_cores <= report.cpu.logical_cores
    assert 0 < report.memory.available_bytes <= report.memory.total_bytes
    assert report.opencv.version == cv2.__version__
    assert report.python.count(".") == 2
    assert report.taken_unix_ns == ManualClock().unix_ns()
    assert report.fingerprint == host_fingerprint(report)


def test_every_engine_has_a_version_or_a_reason(report: HostReport) -> None:
    assert [e.id for e in report.engines] == [e.id for e in ENGINES]
    for engine in report.engines:
        assert (engine.version is None) == (engine.reason is not None)


def test_the_wheel_of_opencv_reads_and_writes_video(report: HostReport) -> None:
    assert report.opencv.ffmpeg is not None
    assert report.opencv.ffmpeg.startswith("libavcodec ")


def test_dicom_codecs_are_named(report: HostReport) -> None:
    assert report.dicom["Explicit VR Little Endian"] == "native"
    assert report.dicom["JPEG Baseline (Process 1)"] != "native"


def test_it_survives_json(report: HostReport) -> None:
    assert msgspec.json.decode(msgspec.json.encode(report), type=HostReport) == report


@pytest.mark.parametrize(
    ("text", "machine", "model", "features", "absent"),
    [
        (
            XEON,
            "x86_64",
            "Intel(R) Xeon(R) Gold 6430",
            ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
            ("avx_vnni",),
        ),
        # A thread may run on any core: only what all of them have can be used.
        (
            HYBRID,
            "x86_64",
            "12th Gen Intel(R) Core(TM) i5",
            ("avx2", "avx_vnni"),
            ("avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
        ),
        (
            PI,
            "aarch64",
            "Raspberry Pi 5 Model B Rev 1.0",
            ("asimd", "asimdhp", "asimddp"),
            ("neon", "i8mm", "bf16", "sve"),
        ),
    ],
)
def test_processor_features_are_read(
    text: str,
    machine: str,
    model: str,
    features: tuple[str, ...],
    absent: tuple[str, ...],
    tmp_path: Path,
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    cpu = cpu_report(tmp_path / "cpuinfo", machine)
    assert (cpu.model, cpu.features, cpu.absent) == (model, features, absent)


def test_a_system_that_does_not_say_is_not_made_up(tmp_path: Path) -> None:
    cpu = cpu_report(tmp_path / "none", "arm64")
    assert cpu.features is None
    assert cpu.absent == ()
    assert cpu.model
    assert "the system does not say" in text_of(
        msgspec.structs.replace(probe(ManualClock()), cpu=cpu), width=200
    )


def test_arm_watches_the_dot_product_instructions() -> None:
    assert "asimddp" in ARM_FEATURES


def test_a_bare_build_of_opencv_is_recognised() -> None:
    build = "\n  Video I/O:\n    FFMPEG:    NO\n    v4l/v4l2:    NO\n\n  FFMPEG: YES\n"
    bare = opencv_report("4.11.0", build)
    assert (bare.ffmpeg, bare.v4l2, bare.gstreamer) == (None, False, False)
    assert opencv_report("4.11.0", "").ffmpeg is None


class TestFingerprint:
    def test_it_is_a_digest_and_does_not_vary_from_run_to_run(self, report: HostReport) -> None:
        later = msgspec.structs.replace(
            report,
            taken_unix_ns=report.taken_unix_ns + 1,
            memory=MemoryReport(report.memory.total_bytes - (1 << 20), 1),
            cameras=(CameraEntry("/dev/video7", "grabber"),),
            fingerprint="",
        )
        assert len(report.fingerprint) == 64
        assert host_fingerprint(later) == report.fingerprint

    @pytest.mark.parametrize(
        "change",
        [
            lambda r: {"machine": "riscv64"},
            lambda r: {"cpu": msgspec.structs.replace(r.cpu, model="another")},
            lambda r: {"cpu": msgspec.structs.replace(r.cpu, logical_cores=r.cpu.logical_cores + 1)},
            lambda r: {"cpu": msgspec.structs.replace(r.cpu, quota=1.5)},
            lambda r: {"cpu": msgspec.structs.replace(r.cpu, features=("avx2",))},
            lambda r: {"memory": MemoryReport(4 * r.memory.total_bytes, 1)},
            lambda r: {"engines": r.engines[1:]},
            lambda r: {"engines": (msgspec.structs.replace(r.engines[0], version="0.0.1"), *r.engines[1:])},
        ],
    )
    def test_it_changes_with_whatever_changes_a_measurement(
        self, change: Callable[[HostReport], dict[str, object]], report: HostReport
    ) -> None:
        assert host_fingerprint(msgspec.structs.replace(report, **change(report))) != report.fingerprint

    def test_an_engine_that_is_absent_is_not_in_it(self, report: HostReport) -> None:
        absent = EngineStatus("other", None, "not installed", ("onnx",))
        more = msgspec.structs.replace(report, engines=(*report.engines, absent))
        assert host_fingerprint(more) == report.fingerprint


def text_of(report: HostReport, width: int = 120) -> str:
    out = io.StringIO()
    Console(width=width, file=out).print(render(report))
    return out.getvalue()


def test_tables_show_what_is_there_and_why_the_rest_is_not(report: HostReport) -> None:
    absent = EngineStatus("tflite", None, "not installed: pip install [it]", ("tflite",))
    shown = text_of(
        msgspec.structs.replace(
            report, engines=(absent,), cameras=(CameraEntry("/dev/video0", "Grabber [red]HD[/red]"),)
        )
    )
    assert "not installed: pip install [it]" in shown
    assert "/dev/video0" in shown
    assert "Grabber [red]HD[/red]" in shown
    assert report.fingerprint[:16] in shown


@pytest.mark.parametrize("width", [40, 80, 200])
def test_tables_fit_any_terminal(report: HostReport, width: int) -> None:
    assert max(len(line) for line in text_of(report, width).splitlines()) <= width


def test_what_the_host_permits_is_shown_with_what_to_do_about_the_rest(report: HostReport) -> None:
    assert [grant.what for grant in report.permits] == [
        *("cores", "real-time priority", "niceness", "memory locking"),
    ]
    refused = Grant(
        what="real-time priority",
        who="inference",
        asked="SCHED_FIFO 21",
        granted=False,
        have="ordinary scheduling",
        reason="the limit is 0 here",
        remedy="set LimitRTPRIO=21",
    )
    shown = text_of(msgspec.structs.replace(report, permits=(report.permits[0], refused)), width=200)
    assert report.permits[0].have in shown
    assert "not SCHED_FIFO 21" in shown
    assert "the limit is 0 here: set LimitRTPRIO=21" in shown
    assert host_fingerprint(msgspec.structs.replace(report, permits=(refused,))) == report.fingerprint
