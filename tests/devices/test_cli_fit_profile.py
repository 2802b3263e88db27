"""`bedside fit-profile` as a person runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from bedside.devices.profiles import load_profile

FAN = "synthetic:ultrasound?size=640x360&seed=1&frames=10"


def test_it_writes_a_profile_and_a_picture(cli: Callable[..., Any], tmp_path: Path) -> None:
    profile, picture = tmp_path / "Ward 3.toml", tmp_path / "fit.png"
    done = cli("fit-profile", FAN, "-o", profile, "--picture", picture, "--device", "ultrasound-cart")
    assert (done.code, done.err) == (0, "")
    assert "image: sector (fan), overlap 0.9" in done.out
    assert str(profile) in done.out and str(picture) in done.out
    written = load_profile(profile)
    assert written.name == "ward-3"
    assert written.screen.roi is not None
    assert written.capture == load_profile("ultrasound-cart").capture
    drawn = cv2.imread(str(picture))
    assert drawn is not None
    # Enlarged by whole factors until it can be read, with a legend below.
    assert drawn.shape[1] == 1280 and drawn.shape[0] > 720


def test_json(cli: Callable[..., Any]) -> None:
    said = cli("fit-profile", FAN, "--json").json
    assert said["sure"] is True and said["shape"] == "sector"
    assert (said["width"], said["height"], said["frames"]) == (640, 360, 10)
    assert len(said["roi"]) == 4 and all(len(mask) == 4 for mask in said["masks"])
    assert said["profile"] is None and said["picture"] is None


def test_unsure_is_said_plainly(cli: Callable[..., Any], tmp_path: Path) -> None:
    profile, picture = tmp_path / "p.toml", tmp_path / "p.png"
    done = cli("fit-profile", "synthetic:nosignal?frames=5&size=640x480", "-o", profile, "--picture", picture)
    assert done.code == 1
    assert "unsure where the image lies, so no profile is written" in done.line
    assert not profile.exists()
    assert picture.exists()
    done = cli("fit-profile", "synthetic:nosignal?frames=5&size=640x480", "-o", profile, "--json")
    assert done.code == 1
    assert done.json["sure"] is False and done.json["profile"] is None and done.json["doubts"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("missing.mp4",), 4, "no such file"),
        ((FAN, "-o", "x.json"), 2, "ends in .json, not in .toml"),
        ((FAN, "--picture", "x.jpg"), 2, "ends in .jpg, not in .png"),
        ((FAN, "--frames", "0"), 2, "whole number of at least 1"),
        ((FAN, "--frames", "10001"), 2, "at most 10000"),
        ((FAN, "--device", "none.toml"), 2, "cannot be read"),
        ((FAN, "--frames", "2", "--picture", "/nowhere/x.png"), 6, "cannot be written"),
    ],
)
def test_mistakes_are_one_line(cli: Callable[..., Any], words: tuple[str, ...], code: int, said: str) -> None:
    done = cli("fit-profile", *words)
    assert done.code == code
    assert said in done.line


def test_a_profile_that_cannot_be_replaced_stays(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text('name = "mine"\n')

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = cli("fit-profile", FAN, "-o", profile, "--device", profile)
    assert done.code == 6 and "No space left" in done.line
    assert profile.read_text() == 'name = "mine"\n'
    assert list(tmp_path.iterdir()) == [profile]
