from __future__ import annotations

import pytest

from bedside.devices.sinks import JsonlSink, NullSink, VideoSink, make_sink
from bedside.runtime.errors import UsageError


@pytest.mark.parametrize(
    ("uri", "kind", "name"),
    [
        ("jsonl:a/b.jsonl", JsonlSink, "jsonl:a/b.jsonl"),
        ("jsonl:with:colon.txt", JsonlSink, "jsonl:with:colon.txt"),
        ("video:x.webm", VideoSink, "video:x.webm"),
        ("video:X.WEBM", VideoSink, "video:X.WEBM"),
        ("null:", NullSink, "null:"),
    ],
)
def test_a_uri_names_a_sink(uri: str, kind: type, name: str) -> None:
    sink = make_sink(uri)
    assert isinstance(sink, kind)
    assert sink.name == name


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "allowed: jsonl:PATH, video:PATH.webm, null:"),
        ("csv:out.csv", "allowed: jsonl:PATH, video:PATH.webm, null:"),
        ("jsnl:out", "did you mean jsonl:"),
        ("results.jsonl", "write jsonl:results.jsonl"),
        ("overlay.webm", "write video:overlay.webm"),
        ("jsonl:", "write jsonl:PATH"),
        ("video:", "write video:PATH"),
        ("null:somewhere", "write null:"),
        ("video:out.mp4", "has to end in .webm, not .mp4"),
        ("video:out", "has to end in .webm, not in nothing"),
        ("jsonl:a\0b", "NUL"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(uri: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_sink(uri)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
