from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bedside.runtime.answers import (
    Generation,
    HeatMap,
    Picture,
    Raw,
    RawOutput,
    Reconstruction,
    Smoothing,
    Translation,
)
from bedside.runtime.errors import SourceError
from bedside.runtime.frame import SourceReference
from bedside.runtime.geometry import Box
from bedside.runtime.result import Failed, LadderState, Outcome, Result, Withheld
from bedside.runtime.results_file import MAX_LINE_BYTES, read_results, without_picture

MakeResult = Callable[..., Result]


@pytest.fixture(scope="module")
def results(make_result: MakeResult) -> list[Result]:
    """One of every shape."""
    plain = make_result(0)
    smoothed = msgspec.structs.replace(
        plain.result, label="Ångström \u2028 超声", smoothing=Smoothing("ema", 0.3, 4)
    )
    return [
        plain,
        make_result(1, outcome=Outcome.WITHHELD, reason=Withheld.STALE, result=None, age_ms=312.5),
        make_result(2, outcome=Outcome.FAILED, reason=Failed.GEOMETRY, result=None),
        make_result(3, result=smoothed, pts_ns=100, reference=SourceReference("1.2.840.1", 3)),
        make_result(4, task="raw", result=Raw((RawOutput("scores", (1, 12), -1.5, 3.25, 7),))),
        make_result(9, ladder=LadderState(1, 3, 2, "misses")),
    ]


@pytest.fixture(scope="module")
def lines(results: list[Result]) -> list[bytes]:
    return [msgspec.json.encode(result) + b"\n" for result in results]


def test_what_was_written_is_read(results: list[Result], lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"".join(lines))
    assert list(read_results(path)) == results


def test_a_file_from_before_ladders_is_read(make_result: MakeResult, tmp_path: Path) -> None:
    record = msgspec.to_builtins(make_result(3))
    del record["ladder"]
    path = tmp_path / "r.jsonl"
    path.write_bytes(msgspec.json.encode(record) + b"\n")
    assert list(read_results(path)) == [make_result(3)]


def test_an_empty_file_has_no_results(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.touch()
    assert list(read_results(path)) == []


@pytest.mark.fault("K4")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_any_truncation_reads_as_a_prefix(
    results: list[Result], lines: list[bytes], tmp_path: Path, data: st.DataObject
) -> None:
    whole = b"".join(lines)
    length = data.draw(st.integers(0, len(whole)))
    zeros = data.draw(st.sampled_from([0, 1, 17, 4096]))
    path = tmp_path / "r.jsonl"
    path.write_bytes(whole[:length] + b"\0" * zeros)
    read = list(read_results(path))
    assert read == results[: len(read)]
    # Nothing whole is lost: a record is whole when its newline is there.
    assert len(read) >= whole[:length].count(b"\n")


@pytest.mark.fault("K4")
def test_blocks_that_never_reached_the_disk_end_the_file(lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    last = b"\0" * 100 + lines[2][100:]
    path.write_bytes(lines[0] + lines[1] + last)
    assert [r.seq for r in read_results(path)] == [0, 1]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda line: line[: len(line) // 2] + b"\n", "damaged record: "),
        (lambda line: b"\0" * len(line[:-1]) + b"\n", "damaged record: NUL bytes"),
        (lambda line: b"\n", "damaged record"),
        (lambda line: b"[]\n", "not a result: Expected `object`, got `array`"),
        (lambda line: line.replace(b'"seq":1', b'"seq":"1"'), "not a result: Expected `int`, got `str`"),
        (lambda line: line.replace(b'"schema":1', b'"schema":2'), "schema 2; this version reads 1"),
        (lambda line: b'{"a":' * 20_000 + b"\n", "nested too deeply"),
        (lambda line: b'{"schema":1,"x":"' + b"x" * MAX_LINE_BYTES + b'"}\n', "longer than"),
    ],
)
def test_damage_in_the_middle_is_reported_with_its_line(
    damage: Callable[[bytes], bytes], said: str, lines: list[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(lines[0] + damage(lines[1]) + lines[2])
    reading = read_results(path)
    assert next(reading).seq == 0
    with pytest.raises(SourceError) as caught:
        next(reading)
    assert f"{path}, line 2: " in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_last_line_of_a_later_version_is_not_taken_for_torn(
    lines: list[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(lines[0] + lines[1].replace(b'"schema":1', b'"schema":2'))
    with pytest.raises(SourceError, match="schema 2"):
        list(read_results(path))


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot read: No such file") as caught:
        list(read_results(tmp_path / "none.jsonl"))
    assert caught.value.exit_code == 4


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.binary(max_size=400))
def test_no_bytes_raise_anything_else(noise: bytes, lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(lines[0] + noise)
    try:
        read = list(read_results(path))
    except SourceError:
        return
    assert read[0].seq == 0


@pytest.mark.parametrize("kind", ["translation", "generation"])
def test_pictures_stay_out_of_it(kind: str, make_result: MakeResult) -> None:
    picture = Picture(2, 1, "gray", b"ab")
    answer: Any = Generation(1.0, 2.0, picture)
    if kind == "translation":
        answer = Translation(Box(0, 0, 2, 1), 3.0, picture)
    result = make_result(0, result=answer)
    written = without_picture(result)
    assert written.result == msgspec.structs.replace(answer, picture=None)
    assert result.result is answer
    assert msgspec.json.decode(msgspec.json.encode(written), type=Result) == written
    assert without_picture(written) is written


def test_maps_stay_in_it(make_result: MakeResult) -> None:
    heat = HeatMap(2, 1, Box(0, 0, 640, 480), 0.0, 9.5, b"\x00\xff")
    result = make_result(0, result=Reconstruction(1.0, 1.0, map=heat))
    assert without_picture(result) is result
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result
