"""What every sink promises, run over every sink."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from bedside.devices.sinks import JsonlSink, ListSink, NullSink, VideoSink, make_sink
from bedside.runtime.clock import ManualClock
from bedside.runtime.errors import SinkError
from bedside.runtime.frame import Frame
from bedside.runtime.protocols import Sink, SourceInfo
from bedside.runtime.result import Failed, Outcome, Result
from bedside.runtime.results_file import read_results
from bedside.runtime.stream.delivery import Delivery

INFO = SourceInfo("test", 96, 64, fps=25.0)
MakeResult = Callable[..., Result]

SINKS: dict[str, Callable[[Path], Sink]] = {
    "jsonl": lambda folder: make_sink(f"jsonl:{folder}/new/folder/results.jsonl", clock=ManualClock()),
    "video": lambda folder: make_sink(f"video:{folder}/new/folder/overlay.webm"),
    "null": lambda folder: make_sink("null:"),
    "list": lambda folder: ListSink(keep_pixels=True),
}


@pytest.fixture(params=sorted(SINKS))
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sink]:
    made = SINKS[request.param](tmp_path)
    yield made
    made.close()


def frame(seq: int, shape: tuple[int, int, int] = (64, 96, 3)) -> Frame:
    return Frame(
        np.full(shape, seq % 256, np.uint8), seq, seq * 40_000_000, color="gray" if shape[2] == 1 else "bgr"
    )


def count(sink: Sink, folder: Path) -> int | None:
    """How many results can be read back from what the sink left behind; None where it leaves nothing."""
    if isinstance(sink, JsonlSink):
        return sum(1 for _ in read_results(folder / "new" / "folder" / "results.jsonl"))
    if isinstance(sink, VideoSink):
        video = cv2.VideoCapture(str(folder / "new" / "folder" / "overlay.webm"))
        frames = 0
        while video.read()[0]:
            frames += 1
        return frames
    if isinstance(sink, ListSink):
        return len(sink.results)
    assert isinstance(sink, NullSink)
    return None


def test_it_is_a_sink(sink: Sink) -> None:
    assert isinstance(sink, Sink)
    assert sink.name


def test_close_comes_before_open_and_more_than_once(sink: Sink, tmp_path: Path) -> None:
    sink.close()
    sink.close()
    assert list(tmp_path.iterdir()) == []
    sink.open(INFO)
    sink.close()
    sink.close()


def test_what_is_left_after_no_write_is_readable(sink: Sink, tmp_path: Path) -> None:
    sink.open(INFO)
    sink.close()
    if isinstance(sink, VideoSink):
        assert list((tmp_path / "new" / "folder").iterdir()) == []
    else:
        assert count(sink, tmp_path) in (0, None)


def test_everything_written_is_readable_after_close(
    sink: Sink, tmp_path: Path, make_result: MakeResult
) -> None:
    sink.open(INFO)
    for seq in range(40):
        sink.write(make_result(seq), frame(seq) if sink.needs_frame else None)
    sink.close()
    assert count(sink, tmp_path) in (40, None)


def test_results_without_pixels_are_taken(sink: Sink, make_result: MakeResult) -> None:
    sink.open(INFO)
    sink.write(make_result(0), frame(0))
    failed = make_result(1, outcome=Outcome.FAILED, reason=Failed.UNDECODABLE, result=None)
    sink.write(failed, None)
    sink.write(make_result(2), frame(2))
    sink.close()


def test_pixels_are_not_changed_and_not_kept(sink: Sink, make_result: MakeResult) -> None:
    sink.open(INFO)
    first = frame(3)
    sink.write(make_result(3), first)
    assert (first.pixels == 3).all()
    first.pixels[:] = 200
    sink.write(make_result(4), frame(4))
    if isinstance(sink, ListSink):
        assert sink.pixels[0] is not None
        assert (sink.pixels[0] == 3).all()
    sink.close()


@pytest.mark.parametrize("shape", [(64, 96, 1), (63, 95, 3), (1, 1, 3), (300, 40, 3)])
def test_any_picture_is_taken(
    sink: Sink, shape: tuple[int, int, int], tmp_path: Path, make_result: MakeResult
) -> None:
    sink.open(INFO)
    for seq in range(3):
        sink.write(make_result(seq), frame(seq, shape))
    # The size may change in mid-stream.
    sink.write(make_result(3), frame(3))
    sink.close()
    assert count(sink, tmp_path) in (4, None)


def test_it_can_be_opened_again_and_begins_anew(sink: Sink, tmp_path: Path, make_result: MakeResult) -> None:
    for results in (5, 2):
        sink.open(INFO)
        for seq in range(results):
            sink.write(make_result(seq), frame(seq))
        sink.close()
    assert count(sink, tmp_path) in (2, None)


def test_it_runs_on_the_thread_of_a_delivery(sink: Sink, tmp_path: Path, make_result: MakeResult) -> None:
    delivery = Delivery(sink, wait=True, depth=4)
    delivery.open(INFO)
    for seq in range(20):
        assert delivery.offer(make_result(seq), frame(seq))
    summary = delivery.close()
    assert (summary.written, summary.dropped, summary.error) == (20, 0, None)
    assert count(sink, tmp_path) in (20, None)
    assert not any(t.name.startswith("sink-") for t in threading.enumerate())


class TestFiles:
    """What sinks promise that write a file."""

    @pytest.fixture(params=["jsonl:{}/results.jsonl", "video:{}/overlay.webm"])
    def uri(self, request: pytest.FixtureRequest) -> str:
        template: str = request.param
        return template

    def test_a_parent_that_is_a_file_is_refused(self, uri: str, tmp_path: Path) -> None:
        (tmp_path / "plain").write_text("not a folder")
        sink = make_sink(uri.format(tmp_path / "plain"))
        with pytest.raises(SinkError, match=r"cannot create .*a part of the path is a file"):
            sink.open(INFO)
        sink.close()
        assert (tmp_path / "plain").read_text() == "not a folder"

    @pytest.mark.fault("K3")
    def test_a_folder_where_nobody_may_write_is_refused(self, uri: str) -> None:
        # /proc takes no new files, not even from root.
        sink = make_sink(uri.format("/proc/self"))
        with pytest.raises(SinkError, match="cannot create") as caught:
            sink.open(INFO)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 6
        sink.close()

    def test_a_folder_of_that_name_is_refused(self, uri: str, tmp_path: Path) -> None:
        path = Path(uri.format(tmp_path).partition(":")[2])
        path.mkdir()
        sink = make_sink(uri.format(tmp_path))
        with pytest.raises(SinkError, match="name a file, not a folder"):
            sink.open(INFO)
        sink.close()
        assert list(tmp_path.iterdir()) == [path]

    def test_writing_before_open_is_an_error(self, uri: str, tmp_path: Path, make_result: MakeResult) -> None:
        with pytest.raises(SinkError, match="not open"):
            make_sink(uri.format(tmp_path)).write(make_result(0), frame(0))

    def test_an_older_file_is_gone_once_the_sink_is_open(self, uri: str, tmp_path: Path) -> None:
        path = Path(uri.format(tmp_path).partition(":")[2])
        path.write_bytes(b"yesterday")
        sink = make_sink(uri.format(tmp_path))
        assert path.read_bytes() == b"yesterday"
        sink.open(INFO)
        assert not path.exists() or path.read_bytes() == b""
        sink.close()
