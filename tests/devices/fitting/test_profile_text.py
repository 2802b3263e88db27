"""A fit as TOML: valid, commented, and the profile that it extends stays what it was."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.devices.fitting import ScreenFit
from bedside.devices.fitting.profile_text import profile_name, profile_text
from bedside.devices.profiles import load_profile, parse_profile, profile_names, read_profile
from bedside.runtime.geometry import Rect

FIT = ScreenFit(
    width=1920,
    height=1080,
    frames=60,
    shape="sector",
    overlap=0.97,
    moving=0.99,
    roi=Rect(420, 120, 1080, 840),
    masks=(Rect(0, 0, 1920, 60), Rect(0, 1020, 600, 60)),
)


def test_a_new_profile() -> None:
    text = profile_text(FIT, name="ward-3", source="camera:0")
    profile = parse_profile(text.encode(), where="x")
    assert profile.name == "ward-3"
    assert profile.capture.source == "camera:0"
    assert (profile.screen.roi, profile.screen.masks) == (FIT.roi, FIT.masks)
    assert "sector (fan), overlap 0.97, 99% of it changes over 60 frames" in text


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_that_is_extended_keeps_all_else(name: str) -> None:
    base = read_profile(name).decode()
    text = profile_text(FIT, name="ward-3", source="camera:0", base=base, profile=load_profile(name))
    profile, before = parse_profile(text.encode(), where="x"), load_profile(name)
    assert (profile.screen.roi, profile.screen.masks) == (FIT.roi, FIT.masks)
    assert msgspec.structs.replace(profile, name=name, screen=before.screen) == before
    comments = [line for line in base.splitlines() if line.startswith("#")]
    assert sum(line in text.splitlines() for line in comments) > 0.7 * len(comments)
    assert text.count("[screen]") == 1


def test_a_profile_can_be_fitted_again() -> None:
    first = profile_text(FIT, name="a", source="camera:0")
    other = msgspec.structs.replace(FIT, roi=None, masks=())
    text = profile_text(
        other, name="a", source="camera:0", base=first, profile=parse_profile(first.encode(), where="x")
    )
    assert parse_profile(text.encode(), where="x").screen.roi is None
    assert text.count("[screen]") == 1
    assert "the whole frame" in text


def test_an_inline_screen_is_refused_by_name() -> None:
    """`screen = {...}` cannot be cut out by its heading."""
    base = 'name = "a"\nscreen = { roi = [0, 0, 9, 9] }\n'
    with pytest.raises(ValueError, match="screen"):
        profile_text(FIT, name="a", source="x", base=base, profile=parse_profile(base.encode(), where="x"))


def test_a_password_is_in_no_comment() -> None:
    text = profile_text(FIT, name="a", source="rtsp://user:secret@10.0.0.5/live")
    assert text.count("secret") == 1  # the source itself, which needs it
    assert "rtsp://10.0.0.5/live" in text


@given(st.text(min_size=1, max_size=150).filter(str.strip))
def test_any_source_and_name_make_a_valid_profile(words: str) -> None:
    source = f"./{words}"
    text = profile_text(FIT, name=profile_name(words), source=source)
    profile = parse_profile(text.encode(), where="x")
    assert profile.capture.source == source
    assert profile.screen.roi == FIT.roi


def test_a_path_that_is_no_utf8() -> None:
    text = profile_text(FIT, name="a", source="./clip\udcff.avi")
    assert parse_profile(text.encode(), where="x").screen.roi == FIT.roi
