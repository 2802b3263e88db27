"""TOML into a schema: one line for each mistake, whatever the file."""

from __future__ import annotations

import datetime
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from bedside.runtime.errors import ProfileError, RecipeError, UsageError
from bedside.runtime.geometry import Rect
from bedside.runtime.strict_toml import MAX_BYTES, convert, did_you_mean, loads, read_file

FORMS = {"name": "one lower-case word", "probe.code": "four letters"}


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Probe(_Strict, frozen=True):
    depth_mm: Annotated[float, Meta(gt=0, le=300)] = 80.0
    lines: Annotated[int, Meta(ge=1, le=1024)] | None = None
    mode: Literal["linear", "convex", "phased"] | None = None
    code: Annotated[str, Meta(pattern="^[a-z]{4}$")] | None = None
    angles: Annotated[tuple[float, ...], Meta(max_length=3)] = ()
    span: tuple[int, Literal["mm", "cm"]] = (1, "mm")


class Entry(_Strict, frozen=True):
    label: Annotated[str, Meta(min_length=1, max_length=20)]
    side: Literal["left", "right"] = "left"
    area: Rect | None = None


class Folder(_Strict, frozen=True, tag_field="kind", tag="folder"):
    path: str
    items: Annotated[tuple[Entry, ...], Meta(max_length=4)] = ()


class Drawn(_Strict, frozen=True, tag_field="kind", tag="drawn"):
    count: int = 1
    probe: Probe = Probe()


class File(_Strict, frozen=True):
    name: Annotated[str, Meta(pattern="^[a-z]+$")]
    channels: Literal[1, 3] = 3
    verbose: bool = False
    version: Annotated[str, Meta(pattern="^[0-9]+$")] = "1"
    probe: Probe = Probe()
    data: Folder | Drawn | None = None


class Union(_Strict, frozen=True):
    data: Folder | Drawn


def refused(data: str | bytes, schema: type[msgspec.Struct] = File) -> str:
    text = data.encode() if isinstance(data, str) else data
    with pytest.raises(ProfileError) as caught:
        loads(text, schema, error=ProfileError, where="mine.toml", forms=FORMS)
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith("mine.toml: ")
    return line.removeprefix("mine.toml: ")


def test_every_key_arrives_where_it_belongs() -> None:
    text = """
    name = "x"
    channels = 1
    verbose = true
    [probe]
    depth_mm = 40
    mode = "convex"
    angles = [1, 2.5]
    span = [3, "cm"]
    [data]
    kind = "folder"
    path = "."
    items = [{ label = "a", area = [1, 2, 3, 4] }, { label = "b", side = "right" }]
    """
    items = (Entry(label="a", area=Rect(1, 2, 3, 4)), Entry(label="b", side="right"))
    assert loads(text.encode(), File, error=ProfileError, where="x") == File(
        name="x",
        channels=1,
        verbose=True,
        probe=Probe(depth_mm=40.0, mode="convex", angles=(1.0, 2.5), span=(3, "cm")),
        data=Folder(path=".", items=items),
    )


def test_the_caller_chooses_the_error() -> None:
    for error in (ProfileError, RecipeError):
        with pytest.raises(error, match=r"^x: the key name is missing$"):
            loads(b"", File, error=error, where="x")
        with pytest.raises(error, match=r"^x: unknown key nam \(did you mean name\?"):
            convert({"nam": 1}, File, error=error, where="x")


@pytest.mark.fault("P5")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        # Unknown keys: where, what was meant, what is allowed.
        ("nmae = 1", "unknown key nmae (did you mean name? the top level allows name, channels, verbose, "),
        (
            "[probe]\ndepht_mm = 1",
            "unknown key probe.depht_mm (did you mean depth_mm? [probe] allows depth_mm,",
        ),
        (
            "[probe]\nzzz = 1",
            "unknown key probe.zzz ([probe] allows depth_mm, lines, mode, code, angles, span)",
        ),
        ("[data]\nkind = 'drawn'\npath = '.'", "unknown key data.path ([data] allows kind, count, probe)"),
        ("[data]\nkind = 'drawn'\nprobe = {line = 1}", "unknown key data.probe.line (did you mean lines?"),
        (
            "[data]\nkind = 'folder'\npath = '.'\nitems = [{label = 'a'}, {lable = 'b'}]",
            "unknown key data.items[1].lable (did you mean label? data.items[1] allows label, side, area)",
        ),
        # Keys that are no plain words, quoted as TOML wants them.
        ('"so\\u001b[31m\\nurce" = 1', r"unknown key 'so\x1b[31m\nurce' (the top level"),
        ('probe."a.b" = 1', "unknown key probe.'a.b' ([probe] allows"),
        # Missing keys.
        ("", "the key name is missing"),
        ("[data]\nkind = 'folder'", "the key data.path is missing"),
        ("data = {}", "the key data.kind is missing (allowed: folder, drawn)"),
        ("[data]\nkind = 'folder'\npath = ''\nitems = [{}]", "the key data.items[0].label is missing"),
        # Wrong types, in the words of whoever writes TOML.
        ("name = 3", "name: expected text, got int 3"),
        ("name = 1979-05-27", "name: expected text, got date 1979-05-27"),
        ("channels = '3'", "channels: expected int, got text '3' (allowed: 1, 3)"),
        ("verbose = 'yes'", "verbose: expected bool, got text 'yes'"),
        ("probe = 3", "probe: expected a table, got int 3"),
        ("[[probe]]\nlines = 3", "probe: expected a table, got a list"),
        ("data = 3", "data: expected a table, got int 3 (a table with kind = folder, drawn)"),
        ("probe.lines = true", "probe.lines: expected int, got bool true"),
        ("probe.angles = 3.5", "probe.angles: expected a list, got float 3.5"),
        ("probe.angles = [1, [2]]", "probe.angles[1]: expected float, got a list"),
        ("probe.mode = {}", "probe.mode: expected text, got a table (allowed: linear, convex, phased)"),
        # Values that the key does not allow.
        ("channels = 2", "channels: 2 is not allowed (allowed: 1, 3)"),
        (
            "probe.mode = 'conves'",
            "probe.mode: 'conves' is not allowed (did you mean convex? allowed: linear, convex, phased)",
        ),
        ("probe.span = [1, 'km']", "probe.span[1]: 'km' is not allowed (allowed: mm, cm)"),
        (
            "[data]\nkind = 'floder'\nsize = 3",
            "data.kind: 'floder' is not allowed (did you mean folder? allowed: folder, drawn)",
        ),
        ("data.kind = 5", "data.kind: expected text, got int 5 (allowed: folder, drawn)"),
        (
            "[data]\nkind = 'folder'\npath = ''\nitems = [{label = 'a', side = 'rihgt'}]",
            "data.items[0].side: 'rihgt' is not allowed (did you mean right? allowed: left, right)",
        ),
        ("probe.lines = 0", "probe.lines: expected int >= 1, got 0"),
        ("probe.depth_mm = nan", "probe.depth_mm: expected float > 0.0, got nan"),
        ("probe.depth_mm = inf", "probe.depth_mm: expected float <= 300.0, got inf"),
        ("probe.angles = [1, 2, 3, 4]", "probe.angles: expected a list of length <= 3, got 4"),
        (
            f"[data]\nkind = 'folder'\npath = ''\nitems = [{{label = '{'x' * 5000}'}}]",
            "data.items[0].label: expected text of length <= 20, got 5000",
        ),
        (
            "[data]\nkind = 'folder'\npath = ''\nitems = [{label = 'a', area = [1, 2]}]",
            "data.items[0].area: expected a list of at least length 4, got 2",
        ),
        # Patterns, said in words where somebody wrote them down.
        ("name = 'Mine!'", "name is one lower-case word, not 'Mine!'"),
        ("name = 'x'\nprobe.code = 'abc'", "probe.code is four letters, not 'abc'"),
        ("name = 'x'\nversion = 'v'", "version: expected text matching regex '^[0-9]+$', got 'v'"),
    ],
)
def test_a_mistake_is_one_line_with_the_key_and_what_it_allows(text: str, said: str) -> None:
    assert refused(
        text if not text or text.startswith(("name", "nmae")) else f"name = 'x'\n{text}"
    ).startswith(said)


def test_a_missing_table_that_comes_in_kinds() -> None:
    assert refused("", Union) == "the key data is missing (a table with kind = folder, drawn)"


@pytest.mark.fault("P5")
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[probe", "not TOML: "),
        (b"name = \xff", "not UTF-8 text: byte 7"),
        (b"\xff\xfen\x00", "not UTF-8 text: byte 0"),
        (b"x = " + b"[" * 5000, "nested too deeply"),
        (b"x = " + b"{x = " * 5000, "nested too deeply"),
        (b"a." * 32_000 + b"a = 1", "nested too deeply (a line has more than 2000 dots)"),
        (b"x = " + b"9" * 5000, "not TOML: a number has too many digits"),
        # Python converts hexadecimal numbers of any length, but does not print them.
        (b"probe.depth_mm = 0x" + b"f" * 5000, "probe.depth_mm: an integer of more than 64 bits"),
        (b"probe.lines = " + b"9" * 400, "probe.lines: an integer of more than 64 bits"),
        (b"probe.angles = [1, -9223372036854775809]", "probe.angles[1]: an integer of more than 64 bits"),
        (b"probe.lines = 9223372036854775807", "probe.lines: expected int <= 1024, got 9223372036854775807"),
        (b"x" * 5000 + b" = 1", f"unknown key {'x' * 79}… (the top level"),
        (b"name = '" + b"X" * 5000 + b"'", f"name is one lower-case word, not '{'X' * 78}…"),
        (b"name = 'x'\n" + b"#" * MAX_BYTES, f"larger than {MAX_BYTES} bytes"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_hostile_text(data: bytes, said: str) -> None:
    text = data if data.startswith((b"name", b"\xff")) else b"name = 'x'\n" + data
    line = refused(data if said.startswith("not UTF-8") else text)
    assert line.startswith(said)
    assert len(line) < 400


def test_as_much_as_is_allowed() -> None:
    data = b"name = 'x'\n#".ljust(MAX_BYTES, b"#")
    assert loads(data, File, error=ProfileError, where="x").name == "x"


@pytest.mark.fault("P5")
class TestFiles:
    def refused(self, path: str | Path) -> str:
        with pytest.raises(RecipeError) as caught:
            read_file(path, error=RecipeError, hint="there are others")
        line = str(caught.value)
        assert line.isprintable()
        assert line.endswith(" (there are others)")
        return line

    def test_a_page(self, tmp_path: Path) -> None:
        (tmp_path / "a.toml").write_bytes(b"a\r\nb\n")
        assert read_file(tmp_path / "a.toml", error=RecipeError) == b"a\r\nb\n"
        assert read_file(str(tmp_path / "a.toml"), error=RecipeError) == b"a\r\nb\n"

    def test_one_that_is_not_there(self, tmp_path: Path) -> None:
        line = self.refused(tmp_path / "none.toml")
        assert line.startswith(f"{tmp_path / 'none.toml'}: cannot be read: No such file or directory")

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "cannot be read: it is a folder" in self.refused(tmp_path)

    def test_an_endless_device_is_not_read(self) -> None:
        assert "cannot be read: not a regular file" in self.refused("/dev/zero")

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.toml")
        assert "cannot be read: not a regular file" in self.refused(tmp_path / "pipe.toml")

    def test_a_path_with_a_nul(self) -> None:
        assert "null byte" in self.refused("a\0b.toml")

    def test_a_path_with_terminal_codes(self) -> None:
        assert r"\x1b[31m\n" in self.refused("/nowhere/\x1b[31m\n.toml")

    def test_of_a_huge_file_a_little_more_than_the_limit_is_read(self, tmp_path: Path) -> None:
        with (tmp_path / "huge.toml").open("wb") as file:
            file.truncate(64 << 20)
        data = read_file(tmp_path / "huge.toml", error=RecipeError)
        assert len(data) == MAX_BYTES + 1
        assert refused(data).startswith(f"larger than {MAX_BYTES} bytes")


def test_only_near_words_are_suggested() -> None:
    assert did_you_mean("epohcs", ("batch", "epochs")) == "did you mean epochs? "
    assert did_you_mean("zzz", ("batch", "epochs")) == ""
    assert did_you_mean("epochs" + "x" * 10_000_000, ("batch", "epochs")) == ""


def never_anything_else(read: Any) -> None:
    try:
        result = read()
    except UsageError as error:
        line = str(error)
        assert line.startswith("fuzz: ")
        assert line.isprintable()
        assert len(line) < 600
    else:
        assert isinstance(result, File)


@pytest.mark.fault("P5")
@settings(max_examples=300)
@given(
    st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_garbage_is_never_anything_but_the_chosen_error(data: bytes) -> None:
    never_anything_else(lambda: loads(data, File, error=ProfileError, where="fuzz"))


LITERALS = st.sampled_from(["folder", "drawn", "convex", "mm", "left", "x", "abcd"])
KEYS = st.sampled_from(
    sorted(
        {field for kind in (Probe, Entry, Folder, Drawn, File) for field in kind.__struct_fields__} | {"kind"}
    )
)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-5, 400),
    st.floats(),
    st.dates(),
    st.just(datetime.time(1, 2)),
    st.text(max_size=12),
    LITERALS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(KEYS | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=15,
)
ENTRIES = st.fixed_dictionaries({"label": st.just("a") | VALUES}, optional={"side": VALUES, "area": VALUES})
# Mostly right, so that mistakes lie deep.
DOCUMENTS = st.fixed_dictionaries(
    {"name": st.just("x") | VALUES},
    optional={
        "probe": st.dictionaries(KEYS, VALUES, max_size=4) | VALUES,
        "data": st.fixed_dictionaries(
            {"kind": LITERALS | VALUES},
            optional={"path": st.just(".") | VALUES, "items": st.lists(ENTRIES, max_size=5), "count": VALUES},
        )
        | VALUES,
        "channels": VALUES,
        "stray": VALUES,
    },
)


@pytest.mark.fault("P5")
@settings(max_examples=200)
@given(DOCUMENTS)
def test_any_table_is_what_it_should_be_or_the_chosen_error(document: dict[str, Any]) -> None:
    never_anything_else(lambda: convert(document, File, error=RecipeError, where="fuzz"))


VALID = """
name = "x"
channels = 1
verbose = true
probe = { depth_mm = 40.0, lines = 8, mode = "convex", code = "abcd", angles = [1.0], span = [3, "cm"] }
data = { kind = "folder", path = ".", items = [{ label = "a", side = "left", area = [1, 2, 3, 4] }] }
"""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a document."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        inner = list(value.items() if isinstance(value, dict) else enumerate(value))
    below = [place for key, part in inner for place in places(part, (*path, key))]
    return [path, *below] if path else below


@pytest.mark.fault("P5")
@pytest.mark.parametrize("place", places(tomllib.loads(VALID)), ids=str)
def test_a_wrong_value_anywhere_is_found_there(place: tuple[Any, ...]) -> None:
    document = tomllib.loads(VALID)
    table: Any = document
    for key in place[:-1]:
        table = table[key]
    table[place[-1]] = datetime.time(12, 30)
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)[1:]
    with pytest.raises(RecipeError) as caught:
        convert(document, File, error=RecipeError, where="x")
    assert caught.value.what.startswith(f"{path}: expected ")
    assert caught.value.what.endswith(", got time 12:30:00")


@pytest.mark.fault("P5")
@pytest.mark.parametrize(
    "place", [p for p in places(tomllib.loads(VALID)) if isinstance(p[-1], str)], ids=str
)
def test_a_misspelt_key_anywhere_is_met_with_the_right_one(place: tuple[Any, ...]) -> None:
    document = tomllib.loads(VALID)
    table: Any = document
    for key in place[:-1]:
        table = table[key]
    table[place[-1] + "s"] = table[place[-1]]
    with pytest.raises(RecipeError) as caught:
        convert(document, File, error=RecipeError, where="x")
    assert caught.value.what.startswith("unknown key ")
    assert caught.value.what.endswith(f"{place[-1]}s")
    assert caught.value.hint.startswith(f"did you mean {place[-1]}? ")
