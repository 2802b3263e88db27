"""Pictures that are neither: their looks, and their variety."""

import numpy as np
import pytest

from bedside.runtime.synthetic import PATTERNS, PatternKind, PatternScene, pattern_sample


@pytest.mark.parametrize("level", [0, 17, 255])
def test_blank_has_the_level_asked_for(level: int) -> None:
    assert (PatternScene("blank", width=64, height=48, level=level).render(3) == level).all()


def test_blank_without_a_level_is_black_white_gray_and_coloured() -> None:
    pictures = [PatternScene("blank", width=48, height=48, seed=seed).render(0) for seed in range(40)]
    colors = {tuple(int(v) for v in p[0, 0]) for p in pictures}
    assert all((p == p[0, 0]).all() for p in pictures)
    assert {(0, 0, 0), (255, 255, 255)} <= colors
    assert any(len(set(c)) > 1 for c in colors)
    assert any(len(set(c)) == 1 and 0 < c[0] < 255 for c in colors)


def test_bars_are_in_the_standard_order() -> None:
    picture = PatternScene("bars", width=700, height=480, seed=1).render(0)
    top = picture[10, 50::100].astype(bool)
    # White, yellow, cyan, green, magenta, red, blue; as blue, green, red.
    assert top.tolist() == [
        [True, True, True],
        [False, True, True],
        [True, True, False],
        [False, True, False],
        [True, False, True],
        [False, False, True],
        [True, False, False],
    ]


def test_checkerboard_has_two_colours_that_take_turns() -> None:
    picture = PatternScene("checkerboard", width=96, height=96, seed=0).render(0)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 2
    assert not np.array_equal(picture[0], picture[95]) or not np.array_equal(picture[:, 0], picture[:, 95])


def test_noise_changes_everywhere_from_frame_to_frame() -> None:
    scene = PatternScene("noise", width=128, height=96, seed=2)
    a, b = scene.render(0).astype(float), scene.render(1).astype(float)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.2
    assert a.std() > 15


@pytest.mark.parametrize("kind", ["nosignal", "screen", "document", "desktop"])
def test_words_are_written(kind: PatternKind) -> None:
    # Text is fine, high-contrast structure: neighbours differ a lot in some places, and not at all in most.
    step = np.abs(
        np.diff(PatternScene(kind, width=480, height=360, seed=3).render(0).astype(int), axis=1)
    ).max(axis=2)
    assert 0.001 < (step > 60).mean() < 0.35
    assert (step < 8).mean() > 0.6


@pytest.mark.parametrize("kind", PATTERNS)
@pytest.mark.parametrize("size", [(48, 48), (61, 200), (333, 64)])
def test_every_kind_at_odd_sizes(kind: PatternKind, size: tuple[int, int]) -> None:
    width, height = size
    for seed in range(3):
        scene = PatternScene(kind, width=width, height=height, seed=seed)
        for index in (0, 500):
            assert scene.render(index).shape == (height, width, 3)


def test_samples_differ_and_are_reproducible() -> None:
    pictures = [pattern_sample(seed, 64, 48) for seed in range(30)]
    assert all(p.shape == (48, 64, 3) for p in pictures)
    assert len({p.tobytes() for p in pictures}) > 25
    assert np.array_equal(pictures[7], pattern_sample(7, 64, 48))
    kind = pattern_sample(7, 64, 48, "noise")
    assert np.array_equal(kind, PatternScene("noise", width=64, height=48, seed=7).render(0))
