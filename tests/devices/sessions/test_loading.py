from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.devices.profiles import Profile, load_profile
from bedside.devices.sessions.loading import Session, load_session, parse_session, shares_line
from bedside.devices.sessions.plan import StreamPlan
from bedside.devices.sessions.schema import MOST_STREAMS, StreamEntry
from bedside.runtime.errors import UsageError
from bedside.runtime.geometry import Rect


def parse(text: str) -> Session:
    return parse_session(text.encode(), where="s.toml")


def refused(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(text)
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.exit_code == 2
    return line


def stream(name: str = "us", **keys: str) -> str:
    given = {"bundle": '"modality-cnn"', "source": '"synthetic:ultrasound"', **keys}
    return f'[[stream]]\nname = "{name}"\n' + "".join(f"{k} = {v}\n" for k, v in given.items() if v)


def test_a_stream_is_its_profile_with_its_own_keys_over_it() -> None:
    session = parse(
        """
        name = "theatre-3"
        device = "ultrasound-cart"
        [[stream]]
        name = "probe"
        bundle = "nerve-segmentation"
        sinks = ["jsonl:probe.jsonl", "null:"]
        [stream.screen]
        roi = [10, 20, 300, 400]
        [stream.budget]
        max_age_ms = 80
        [[stream]]
        name = "scope"
        bundle = "polyp-segmentation"
        device = "endoscopy-box"
        source = "synthetic:endoscopy?fps=60"
        paced = true
        max_frames = 10
        [stream.engine]
        threads = 1
        [stream.host]
        nice = -5
        """
    )
    assert (session.name, session.isolation) == ("theatre-3", "process")
    probe, scope = session.plans
    cart, box = load_profile("ultrasound-cart"), load_profile("endoscopy-box")
    assert (probe.name, probe.device, probe.spec.source) == ("probe", "ultrasound-cart", cart.capture.source)
    assert probe.spec.sinks == ("jsonl:probe.jsonl", "null:")
    assert (probe.spec.roi, probe.spec.max_age_ms) == (Rect(10, 20, 300, 400), 80.0)
    assert probe.spec.memory_mb == cart.budget.memory_mb, "a key beside the one that was given stays"
    assert (probe.spec.smoothing, probe.spec.capture.fourcc) == (cart.task.smoothing, cart.capture.fourcc)
    assert (scope.device, scope.spec.threads, scope.spec.max_frames) == ("endoscopy-box", 1, 10)
    assert scope.spec.engine_preference == box.engine.preference
    assert (scope.host.nice, scope.host.real_time) == (-5, box.host.real_time)
    assert scope.live and probe.live
    assert "probe: " in shares_line(session) and "1 engine thread" in shares_line(session)


def test_a_plan_survives_json() -> None:
    text = (
        stream("a", sinks='["jsonl:x.jsonl"]', jitter_ms="2.5", paced="true")
        + "[stream.screen]\nmasks = [[0, 0, 9, 9]]\n"
    )
    for plan in parse(text + stream("b", device='"endoscopy-box"')).plans:
        assert msgspec.json.decode(msgspec.json.encode(plan), type=StreamPlan) == plan


def test_whatever_a_profile_has_a_stream_can_override() -> None:
    assert {f.name for f in msgspec.structs.fields(Profile)} <= {
        f.name for f in msgspec.structs.fields(StreamEntry)
    }


def test_limits_are_optional_and_a_recording_is_not_live() -> None:
    (plan,) = parse(stream()).plans
    assert (plan.spec.seconds, plan.spec.max_frames, plan.spec.loop, plan.live) == (None, None, False, False)


@pytest.mark.fault("P5")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "s.toml: the key stream is missing"),
        ("stream = []", "s.toml: stream: "),
        ("[[streams]]\nname = 'a'", "unknown key streams (did you mean stream? the top level allows name, "),
        (stream(pace="true"), "unknown key stream[0].pace (did you mean pace"),
        (
            stream() + "[stream.engine]\nthread = 2",
            "unknown key stream[0].engine.thread (did you mean threads?",
        ),
        (stream() + "[stream.host]\nreal_time = 'fifi'", "(did you mean fifo? allowed: fifo, rr)"),
        (stream() + "[stream.host]\npriority = 60", "stream[0].host.priority: expected"),
        (stream(bundle=""), "s.toml: the key stream[0].bundle is missing"),
        (stream("Us"), "stream[0].name is lower-case letters, digits"),
        ('isolation = "proces"\n' + stream(), "(did you mean process? allowed: process, thread)"),
        (stream(source=""), "s.toml: stream[0]: no source (give source, or a profile with [capture] source)"),
        (stream(sinks='["json:x"]'), "s.toml: stream[0]: "),
        (stream(source='"syntetic:ultrasound"'), "s.toml: stream[0]: "),
        (
            stream(device='"ultrasound-kart"'),
            "ultrasound-kart: no such profile (did you mean ultrasound-cart?",
        ),
        (stream() + stream(), "s.toml: stream[1].name: 'us' is the name of stream[0] too"),
        (
            stream("a", sinks='["jsonl:x"]') + stream("b", sinks='["jsonl:./x"]'),
            "the sink 'jsonl:./x' of b would write over the sink 'jsonl:x' of a",
        ),
        (
            stream("a", source='"camera:0"') + stream("b", source='"camera:/dev/video0"'),
            "the streams a and b both open 'camera:/dev/video0' (a camera gives its frames to one)",
        ),
        (
            stream("a", source='"clip.mp4"') + stream("b", sinks='["jsonl:clip.mp4"]'),
            "the sink 'jsonl:clip.mp4' of b would write over the source of a",
        ),
        (
            stream("a", bundle='"x.bedside"') + stream("b", sinks='["jsonl:x.bedside"]'),
            "would write over the bundle of a",
        ),
        (stream(sinks='["jsonl:x", "jsonl:x"]'), "s.toml: stream[0]: sink 'jsonl:x': would write over"),
        (
            stream() + "[stream.screen]\nroi = [0, 0, 0, 5]",
            "s.toml: stream[0]: screen.roi: [0, 0, 0, 5] is not [x, y, width, height]",
        ),
        (
            stream() + "[stream.host]\nsink_cores = [1, 1]",
            "s.toml: stream[0]: host.sink_cores: a core appears twice in [1, 1]",
        ),
        ("".join(stream(f"s{k}") for k in range(MOST_STREAMS + 1)), "stream: "),
    ],
)
def test_a_mistake_is_one_line(text: str, said: str) -> None:
    assert said in refused(text)


def test_streams_may_share_what_nobody_owns() -> None:
    sinks = '["null:", "jsonl:/dev/null"]'
    session = parse(stream("a", sinks=sinks) + stream("b", sinks=sinks))
    assert len(session.plans) == 2


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(UsageError) as caught:
            load_session(path)
        assert "cannot be read" in str(caught.value)


@given(st.binary(max_size=200))
def test_whatever_is_in_the_file_is_one_line(data: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        parse_session(data, where="s.toml")
    assert str(caught.value).isprintable()


@given(
    st.recursive(
        st.sampled_from(["x", 1, 2.5, True]),
        lambda v: (
            st.lists(v, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "bundle", "host", "engine", "roi", "x"]), v, max_size=3
            )
        ),
        max_leaves=8,
    )
)
def test_any_structure_is_refused_in_one_line(value: object) -> None:
    def toml(v: object) -> str:
        if isinstance(v, dict):
            return "{" + ", ".join(f"{k} = {toml(i)}" for k, i in v.items()) + "}"
        if isinstance(v, list):
            return "[" + ", ".join(map(toml, v)) + "]"
        return f'"{v}"' if isinstance(v, str) else str(v).lower()

    assert refused(f"stream = {toml(value)}")
