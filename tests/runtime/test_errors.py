"""The tree of errors: one line each, the right exit code."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime import errors
from bedside.runtime.errors import BedsideError, BundleError, printable

CODES = {
    "BedsideError": 1,
    "GateError": 1,
    "UsageError": 2,
    "ProfileError": 2,
    "RecipeError": 2,
    "BundleError": 3,
    "TrustError": 3,
    "SourceError": 4,
    "FrameError": 4,
    "EngineError": 5,
    "SinkError": 6,
}


def kinds() -> list[type[BedsideError]]:
    found = [BedsideError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


def test_exit_codes_are_those_of_the_command_line() -> None:
    assert {kind.__name__: kind.exit_code for kind in kinds()} == CODES


def test_a_line_says_where_what_and_what_to_do() -> None:
    error = BundleError("is empty", where="a.bedside", hint="copy it again")
    assert str(error) == "a.bedside: is empty (copy it again)"
    assert str(BundleError("is empty")) == "is empty"
    assert str(BundleError("is empty", hint="copy it again")) == "is empty (copy it again)"
    assert (error.what, error.where, error.hint) == ("is empty", "a.bedside", "copy it again")


def test_a_vendor_message_becomes_one_line() -> None:
    vendor = "Failed to load model:\n  Traceback (most recent call last):\n\tat 0x7f\r\n"
    assert str(BundleError(vendor)) == "Failed to load model: Traceback (most recent call last): at 0x7f"


@given(st.text(), st.text(), st.text())
def test_it_is_always_one_printable_line(what: str, where: str, hint: str) -> None:
    line = str(BundleError(what, where=where, hint=hint))
    assert line.isprintable()
    line.encode("utf-8")


@given(st.text(st.characters(codec="utf-8")))
def test_printable_text_is_left_alone_and_the_rest_can_be_told(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text
    else:
        assert len(shown) > len(text)


def test_paths_keep_their_spaces_and_letters() -> None:
    assert str(BundleError("x", where="a  b/\u00e4\u6f22.bedside")) == "a  b/\u00e4\u6f22.bedside: x"
    assert str(BundleError("x", where="a\nb\x1b[2J\udcff\u202e")) == r"a\nb\x1b[2J\udcff\u202e: x"


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_errors_cross_between_processes(kind: type[BedsideError]) -> None:
    error = kind("what", where="where", hint="hint")
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(copied) is kind
        assert str(copied) == str(error)
        assert (copied.what, copied.where, copied.hint) == ("what", "where", "hint")
