from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedside.devices.profiles import Profile, load_profile, parse_profile, profile_names
from bedside.devices.sources.options import CaptureOptions
from bedside.runtime.engines.registry import ENGINES
from bedside.runtime.errors import ProfileError
from bedside.runtime.geometry import Rect


def refused(text: str) -> str:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text.encode(), where="mine.toml")
    line = str(caught.value)
    assert line.startswith("mine.toml: ")
    assert "\n" not in line
    assert caught.value.exit_code == 2
    return line.removeprefix("mine.toml: ")


class TestShipped:
    def test_the_three_are_there(self) -> None:
        assert profile_names() == ("endoscopy-box", "field-laptop", "ultrasound-cart")

    @pytest.mark.parametrize("name", profile_names())
    def test_they_are_valid_and_carry_their_own_name(self, name: str) -> None:
        profile = load_profile(name)
        assert profile.name == name
        assert profile.description

    @pytest.mark.parametrize("name", profile_names())
    def test_they_ask_for_what_every_installation_has(self, name: str) -> None:
        # A base installation has LiteRT alone, which refuses precision hints, and bundles name their own
        # variants.
        engine = load_profile(name).engine
        assert "litert" in engine.preference
        assert engine.hint is None
        assert engine.variant is None

    @pytest.mark.parametrize("name", profile_names())
    def test_their_commented_examples_are_valid_too(self, name: str, tmp_path: Path) -> None:
        text = (Path(load_profile.__code__.co_filename).parent / f"{name}.toml").read_text(encoding="utf-8")
        for key in ("roi", "masks"):
            text = text.replace(f"\n# {key} = ", f"\n{key} = ")
        (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
        screen = load_profile(tmp_path / "mine.toml").screen
        assert (screen.roi is not None) == ("\nroi = " in text)
        assert bool(screen.masks) == ("\nmasks = " in text)


def test_everything_but_the_name_has_a_default() -> None:
    assert parse_profile(b'name = "bare"', where="x") == Profile(name="bare")


def test_every_key_arrives_where_it_belongs() -> None:
    text = """
    name = "full"
    description = "all keys"
    [capture]
    source = "camera:1"
    width = 1280
    height = 720
    fps = 59.94
    fourcc = "Y16 "
    buffers = 3
    adopt_size = true
    transport = "udp"
    open_timeout_s = 3
    read_timeout_s = 0.5
    stream_time = false
    policy = "all"
    [screen]
    roi = [10, 20, 300, 400]
    masks = [[0, 0, 10, 10], [1270, 710, 10, 10]]
    [budget]
    max_age_ms = 80
    memory_mb = 256
    p99_age_ms = 60
    p95_invoke_ms = 12.5
    lost_percent = 0
    cold_start_s = 5
    cpu_percent = 150
    idle_cpu_percent = 2.5
    [engine]
    preference = ["openvino", "litert"]
    threads = 8
    variant = "onnx-int8"
    hint = "bf16"
    [task]
    top_k = 5
    smoothing = 0.25
    [host]
    inference_cores = [2, 3]
    capture_cores = [1]
    sink_cores = [0]
    opencv_threads = 2
    real_time = "rr"
    priority = 30
    nice = -5
    lock_memory = true
    collection = "automatic"
    [ladder]
    enabled = true
    rungs = 2
    every = [2, 4]
    up_s = 4.0
    up_most_s = 40.0
    max_celsius = 90.0
    busy_percent = 50.0
    [trust]
    require_signature = true
    signatures = 2
    store = "/etc/bedside/trust"
    """
    profile = parse_profile(text.encode(), where="x")
    assert msgspec.json.decode(msgspec.json.encode(profile)) == tomllib.loads(text)
    assert profile.screen.roi == Rect(10, 20, 300, 400)


def test_it_names_the_engines_that_there_are() -> None:
    names = ", ".join(f'"{e.id}"' for e in ENGINES)
    assert parse_profile(
        f'name="x"\n[engine]\npreference=[{names}]'.encode(), where="x"
    ).engine.preference == tuple(e.id for e in ENGINES)


def test_whatever_a_source_can_be_asked_for_can_be_in_a_profile() -> None:
    assert isinstance(Profile(name="x").capture, CaptureOptions)


@pytest.mark.fault("P5")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[host]\nrealtime = "fifo"', "unknown key host.realtime (did you mean real_time? [host] allows "),
        ('[host]\nreal_time = "fif"', "(did you mean fifo? allowed: fifo, rr)"),
        ("[host]\npriority = 50", "host.priority: expected"),
        ("[host]\nnice = -21", "host.nice: expected"),
        ("[host]\ncapture_cores = [-1]", "host.capture_cores[0]: expected"),
        ("[host]\ninference_cores = [1, 1]", "host.inference_cores: a core appears twice in [1, 1]"),
        # Unknown keys: where, what was meant, what is allowed.
        (
            "[engine]\nthread = 2",
            "unknown key engine.thread (did you mean threads? [engine] allows preference, threads",
        ),
        (
            "[engin]\nthreads = 2",
            "unknown key engin (did you mean engine? the top level allows name, description",
        ),
        ("[screen]\nzoom = 2", "unknown key screen.zoom ([screen] allows roi, masks)"),
        # Wrong types.
        ('[engine]\nthreads = "2"', "engine.threads: expected int, got text '2'"),
        ("engine = 3", "engine: expected a table, got int 3"),
        ("[screen]\nroi = [1, 2, 3, 4.5]", "screen.roi[3]: expected int, got float 4.5"),
        ("[screen]\nroi = [1, 2, 3]", "screen.roi: expected a list of at least length 4, got 3"),
        # Values outside what makes sense.
        ("[engine]\nthreads = 0", "engine.threads: expected int >= 1, got 0"),
        ("[engine]\nthreads = 65", "engine.threads: expected int <= 64, got 65"),
        ("[task]\nsmoothing = 0", "task.smoothing: expected float > 0.0, got 0"),
        ("[task]\nsmoothing = 1.01", "task.smoothing: expected float <= 1.0, got 1.01"),
        ("[task]\ntop_k = 0", "task.top_k: expected int >= 1, got 0"),
        ("[capture]\nfps = nan", "capture.fps: expected float > 0.0, got nan"),
        ("[capture]\nfps = inf", "capture.fps: expected float <= 1000.0, got inf"),
        ("[budget]\nmax_age_ms = -1", "budget.max_age_ms: expected float > 0.0, got -1"),
        (
            '[capture]\npolicy = "lates"',
            "capture.policy: 'lates' is not allowed (did you mean latest? allowed: latest, all)",
        ),
        (
            '[engine]\nhint = "fp32"',
            "engine.hint: 'fp32' is not allowed (did you mean f32? allowed: f32, bf16, f16)",
        ),
        (
            '[engine]\npreference = ["litert", "tensorrt"]',
            "engine.preference[1]: 'tensorrt' is not allowed (allowed: litert, tflite, onnxruntime, openvino)",
        ),
        ('[engine]\npreference = ["litert", "litert"]', "engine.preference: an engine appears twice"),
        ('[capture]\nfourcc = "MJPEG"', "capture.fourcc is four characters, for example MJPG, not 'MJPEG'"),
        ('[engine]\nvariant = "../x"', "engine.variant is the id of a variant"),
        ("[capture]\nwidth = 640", "capture.height: width and height come together"),
        ("[screen]\nroi = [0, 0, 0, 5]", "screen.roi: [0, 0, 0, 5] is not [x, y, width, height] with"),
        ("[screen]\nmasks = [[0, 0, 5, 5], [-1, 0, 5, 5]]", "screen.masks[1]: [-1, 0, 5, 5] is not"),
        (
            "[capture]\nwidth = 640\nheight = 480\n[screen]\nroi = [600, 0, 41, 5]",
            "screen.roi: [600, 0, 41, 5] does not lie in a picture of 640 x 480 pixels",
        ),
        ("[ladder]\nevery = [3, 2]", "ladder.every: [3, 2] does not rise"),
        ("[ladder]\nevery = [1]", "ladder.every[0]: expected int >= 2, got 1"),
        ("[ladder]\nup_s = 9\nup_most_s = 8", "ladder.up_most_s: 8 is less than up_s, 9"),
        # No TOML at all.
        ("[engine", "not TOML: "),
    ],
)
def test_a_mistake_is_one_line_with_the_key_and_what_it_allows(text: str, said: str) -> None:
    assert said in refused(f'name = "mine"\n{text}')


@pytest.mark.fault("P5")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the key name is missing"),
        ("name = 3", "name: expected text, got int 3"),
        ('name = "Mine!"', "name is lower-case letters, digits"),
    ],
)
def test_a_profile_has_a_name(text: str, said: str) -> None:
    assert said in refused(text)


@pytest.mark.fault("P5")
class TestFiles:
    def test_an_unknown_name_is_met_with_the_known_ones(self) -> None:
        with pytest.raises(
            ProfileError, match="did you mean ultrasound-cart\\? there are endoscopy-box, field-laptop"
        ):
            load_profile("ultrasoundcart")

    @pytest.mark.parametrize("name", ["", ".", "..", "__init__", "loading", "schema.py"])
    def test_no_other_file_of_the_package_is_a_profile(self, name: str) -> None:
        with pytest.raises(ProfileError, match="no such profile"):
            load_profile(name)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(
            ProfileError, match=r"No such file or directory \(profiles that come with bedside: "
        ):
            load_profile(tmp_path / "none.toml")

    def test_only_files_are_read(self, tmp_path: Path) -> None:
        with pytest.raises(ProfileError, match="cannot be read: it is a folder"):
            load_profile(tmp_path)

    def test_home_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "mine.toml").write_text('name = "mine"')
        assert load_profile("~/mine.toml").name == "mine"
        with pytest.raises(ProfileError, match=r"^~nobody-of-that-name/mine\.toml: cannot be read"):
            load_profile("~nobody-of-that-name/mine.toml")

    def test_a_hostile_path_is_shown_without_its_control_characters(self) -> None:
        with pytest.raises(ProfileError) as caught:
            load_profile("/nowhere/\x1b[31m\n.toml")
        assert "\x1b" not in str(caught.value)


def never_anything_else(data: bytes) -> None:
    try:
        parse_profile(data, where="fuzz")
    except ProfileError as error:
        line = str(error)
        assert line.isprintable()
        assert len(line) < 600


SECTIONS = ("name", "description", "capture", "screen", "budget", "engine", "task", "ladder")
KEYS = sorted(
    {
        key.name
        for section in msgspec.structs.fields(Profile)
        if hasattr(section.type, "__struct_fields__")
        for key in msgspec.structs.fields(section.type)
    }
)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    return str(value).lower()


VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.integers(-5, 2000),
        st.floats(),
        st.text(max_size=12),
        st.sampled_from(["latest", "litert", "MJPG", "f32"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(SECTIONS) | st.text(max_size=8),
    VALUES | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), VALUES, max_size=6),
    max_size=6,
)


@pytest.mark.fault("P5")
@settings(deadline=None, max_examples=200)
@given(DOCUMENTS)
def test_any_toml_is_a_profile_or_a_profile_error(document: dict[str, Any]) -> None:
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in {"name": "fuzz", **document}.items())
    tomllib.loads(text)
    never_anything_else(text.encode())
