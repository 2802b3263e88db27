"""Near-duplicates: frames that show the same a moment later, shifted, re-compressed or with other text on them.

Two steps. A perceptual hash (pHash: signs of the lowest frequencies of a DCT; Zauner, Implementation and
Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2.1) says which pairs are worth a look. Then their
fine detail is compared: what a Gaussian takes away, divided by its local strength, correlated over the pixels that
are lit in both, at the best shift up to 5 pixels of 64 (masked normalized cross-correlation in the Fourier domain;
Padfield, IEEE Trans. Image Process. 21(5), 2012; the local means are gone already).

Whole pictures would not do: dark surroundings, vignettes and a common layout make frames of different patients
correlate to 0.94 (measured on colonoscopy), as much as neighbours in one video. Their detail correlates to 0.37 at
most and that of neighbours, on colonoscopy, laryngoscopy and ultrasound, from 0.4 up, where
`Data.near_duplicate_correlation` has its default.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.data.groups import joined
from bedside.export.data.splitting import leak
from bedside.export.data.types import SPLITS, Found, Item, Progress
from bedside.runtime.errors import BedsideError, RecipeError
from bedside.runtime.frame import Color, Pixels

F32 = npt.NDArray[np.float32]

_SIDE = 64  # pixels that a frame is reduced to
_SHIFT = 5  # pixels of those
_PADDED = 72  # so that no shift wraps around
_SIGMA = 3.0  # pixels; coarser structure is layout
_DARK = 16  # grey levels; below, a screen shows nothing
_FLAT = 4.0  # grey levels; detail weaker than this is noise and compression
_EMPTY = 1e-2  # mean square of the detail, which is about 1 where there is much; below, all is flat
_OVERLAP = 0.2  # of all pixels have to be lit in both
_BITS = 63  # of the hash: 8x8 frequencies without the mean
_RADIUS = 22  # bits that may differ: the largest distance seen between true neighbours was 22
#: A pair takes 0.05 to 0.3 ms. Where more are within the radius, the farthest are left out, and it is said.
_MOST_PAIRS = 300_000
_BATCH = 512  # pairs
_BLOCK = 256  # frames
#: A frame smaller than this has no detail to compare.
_SMALLEST = 48


class Pair(msgspec.Struct, frozen=True):
    """Two items of different groups that look the same.

    Attributes:
        a: Index of one.
        b: Index of the other, larger than `a`.
        correlation: Of their detail, up to 1.
    """

    a: int
    b: int
    correlation: float


class Look(msgspec.Struct, frozen=True):
    """What is compared of a frame.

    Attributes:
        detail: `(64, 64) float16`, 0 where the frame is dark.
        lit: `(64, 64) bool`.
        bits: `(63,) bool`, the hash.
    """

    detail: npt.NDArray[np.float16]
    lit: npt.NDArray[np.bool_]
    bits: npt.NDArray[np.bool_]


class Search(msgspec.Struct, frozen=True):
    """What came out.

    Attributes:
        pairs: By `(a, b)`.
        notes: What could not be compared.
    """

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def settle(found: Found, mode: str, correlation: float, progress: Progress | None = None) -> Found:
    """Keep near-duplicates out of different splits.

    Args:
        found: What an adapter found.
        mode: `join`, `error` or `ignore`, see `bedside.export.data.recipe.Data`.
        correlation: From which on two frames are the same.
        progress: Told of every frame that was looked at.

    Raises:
        RecipeError: Near-duplicates are fixed in two splits, or, under `error`, in two groups. A frame cannot be
            read.
    """
    if mode == "ignore":
        return found
    search = near_duplicates(found.items, correlation, progress)
    items, notes = list(found.items), list(search.notes)
    pairs = search.pairs
    if mode == "error" and pairs:
        named = [f"{items[p.a].key} and {items[p.b].key} ({p.correlation:.2f})" for p in pairs[:3]]
        raise RecipeError(
            f"{len(pairs)} pairs of frames in different groups look the same: {'; '.join(named)}",
            where="data",
            hint='remove one of each, name their group, or set data.near_duplicates = "join"',
        )
    dropped: set[int] = set()
    for pair in pairs:
        a, b = items[pair.a], items[pair.b]
        if a.split is None or b.split is None or a.split == b.split or dropped & {pair.a, pair.b}:
            continue
        if not found.prune:
            raise leak(
                a, b, a.split, b.split, f"look the same (correlation of detail {pair.correlation:.2f})"
            )
        dropped.add(pair.a if SPLITS.index(a.split) < SPLITS.index(b.split) else pair.b)
    kept = [pair for pair in pairs if not dropped & {pair.a, pair.b}]
    items, fewer = joined(items, ((pair.a, pair.b) for pair in kept))
    if fewer:
        notes.append(f"{fewer} groups were joined with another because they share near-duplicates")
    twofold = sum(items[p.a].label != items[p.b].label for p in kept)
    if twofold:
        notes.append(f"{twofold} pairs of near-duplicates have different labels")
    if dropped:
        notes.append(f"{len(dropped)} pictures left out: a near-duplicate is in a later split")
    rest = tuple(item for index, item in enumerate(items) if index not in dropped)
    return msgspec.structs.replace(found, items=rest, notes=(*found.notes, *notes))


def near_duplicates(items: Sequence[Item], correlation: float, progress: Progress | None = None) -> Search:
    """Find near-duplicates in different groups.

    Args:
        items: What is drawn is passed over.
        correlation: From which on two frames are the same.
        progress: Told of every frame.

    Raises:
        RecipeError: Frames cannot be read.
    """
    chosen = [index for index, item in enumerate(items) if not item.drawn]
    if len({items[index].group for index in chosen}) < 2:
        return Search((), ())
    looks, small = _looks(items, chosen, progress)
    notes = []
    if small:
        notes.append(f"{small} frames are smaller than {_SMALLEST} pixels: not compared for near-duplicates")
    where = np.array(sorted(looks), np.int64)
    if len(where) < 2:
        return Search((), tuple(notes))
    names = {name: code for code, name in enumerate(sorted({items[index].group for index in where}))}
    groups = np.array([names[items[index].group] for index in where], np.int64)
    kept = [looks[index] for index in where]
    candidates, radius = _candidates(np.stack([look.bits for look in kept]), groups)
    if radius < _RADIUS:
        notes.append(
            f"only pairs of frames within {radius} of {_BITS} bits were compared for near-duplicates"
        )
    pairs = []
    for a, b, value in _correlated(kept, candidates, correlation):
        one, other = sorted((int(where[a]), int(where[b])))
        pairs.append(Pair(one, other, value))
    return Search(tuple(sorted(pairs, key=lambda pair: (pair.a, pair.b))), tuple(notes))


def look(pixels: Pixels, color: Color) -> Look:
    """What is compared of a frame, `(H, W, C) uint8`."""
    gray = pixels[:, :, 0]
    if color != "gray":
        gray = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY if color == "bgr" else cv2.COLOR_RGB2GRAY))
    small = np.asarray(cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)
    # The border of what is lit is no detail: one pixel of it goes.
    lit = np.asarray(
        cv2.erode((small >= _DARK).astype(np.float32), np.ones((3, 3)), borderValue=(1.0,)), np.float32
    )
    weight = _blur(lit) + np.float32(1e-3)
    detail = (small - _blur(small * lit) / weight) * lit
    strength = np.sqrt(_blur(detail * detail) / weight)
    detail = np.clip(detail / (strength + _FLAT), -3, 3) * lit
    level = (small - (small * lit).sum() / max(float(lit.sum()), 1.0)) * lit
    coarse = cv2.dct(np.asarray(cv2.resize(level, (32, 32), interpolation=cv2.INTER_AREA), np.float32))
    bits = np.asarray(coarse)[:8, :8].reshape(-1)[1:] > 0
    return Look(detail.astype(np.float16), lit > 0, bits)


def _blur(picture: F32) -> F32:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigmaX=_SIGMA), np.float32)


def _looks(
    items: Sequence[Item], chosen: Sequence[int], progress: Progress | None
) -> tuple[dict[int, Look], int]:
    """The look of every frame that is large enough and not flat, and how many were too small."""
    looks: dict[int, Look] = {}
    bad: list[str] = []
    small = 0
    for done, index in enumerate(chosen):
        item = items[index]
        try:
            pixels, color = (item.plain or item.load)()
            if min(pixels.shape[:2]) < _SMALLEST:
                small += 1
            else:
                seen = look(pixels, color)
                if seen.lit.mean() >= _OVERLAP and np.square(seen.detail, dtype=np.float32).mean() >= _EMPTY:
                    looks[index] = seen
        except BedsideError as error:
            bad.append(error.what if item.key in error.what else f"{item.key}: {error.what}")
        if progress is not None:
            progress(done + 1, len(chosen))
    if bad:
        raise RecipeError(
            f"{len(bad)} of {len(chosen)} frames cannot be read: {'; '.join(bad[:3])}",
            where="data",
            hint="repair or remove them; nothing is skipped silently",
        )
    return looks, small


def _candidates(
    bits: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], int]:
    """Pairs of different groups, `(P, 2)`, whose hashes differ in few bits, and in how many at most."""
    # The product of signs counts equal bits less different ones; a matrix product is the fastest popcount.
    signs = np.where(bits, np.float32(1), np.float32(-1))
    counts = np.zeros(_RADIUS + 1, np.int64)
    for distances, _ in _blocks(signs, groups):
        counts += np.bincount(distances[distances <= _RADIUS], minlength=_RADIUS + 1)
    radius = int(np.searchsorted(np.cumsum(counts), _MOST_PAIRS, side="right")) - 1
    radius = max(min(radius, _RADIUS), 0)
    found = []
    for distances, start in _blocks(signs, groups):
        rows, columns = np.nonzero(distances <= radius)
        found.append(np.stack([rows + start, columns + start], 1))
    return np.concatenate(found).astype(np.int64), radius


def _blocks(signs: F32, groups: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.uint8], int]]:
    """Distances of some rows to themselves and all later ones, `(R, N - start)`, and the first of them.

    They are more than 63 for pairs that do not count.
    """
    count = len(signs)
    rows = max(1, 8_000_000 // count)
    for start in range(0, count, rows):
        part, later = slice(start, min(start + rows, count)), slice(start, count)
        distances = ((_BITS + 0.5 - signs[part] @ signs[later].T) / 2).astype(np.uint8)
        distances[groups[part, None] == groups[None, later]] = _BITS + 1
        distances[np.tril_indices(part.stop - start, 0, count - start)] = _BITS + 1
        yield distances, start


def _correlated(
    looks: Sequence[Look], pairs: npt.NDArray[np.int64], least: float
) -> Iterator[tuple[int, int, float]]:
    """The pairs whose detail correlates at least so much, with the correlation at the best shift."""
    if not len(pairs):
        return
    # Pairs between two blocks of frames at a time, so that a frame's spectrum serves many of them.
    tile = pairs // _BLOCK @ np.array([len(looks) // _BLOCK + 1, 1])
    order = np.argsort(tile, kind="stable")
    for block in np.split(order, np.flatnonzero(np.diff(tile[order])) + 1):
        used, at = np.unique(pairs[block], return_inverse=True)
        at = at.reshape(-1, 2)
        detail = np.stack([looks[i].detail for i in used]).astype(np.float32)
        lit = np.stack([looks[i].lit for i in used]).astype(np.float32)
        energy = np.sqrt(np.square(detail).sum((1, 2)))
        spectra = _spectrum(detail)
        likely = []
        for chunk in _chunks(at):
            a, b = chunk.T
            together = _shifted(spectra[a] * spectra[b].conj()).max((1, 2))
            # Most pairs end here: even if half of all detail lay in what only one shows, they were not alike.
            likely.append(chunk[together >= 0.5 * least * energy[a] * energy[b]])
        rest = np.concatenate(likely)
        if not len(rest):
            continue
        power, mask = _spectrum(np.square(detail)), _spectrum(lit)
        for chunk in _chunks(rest):
            a, b = chunk.T
            power_a, power_b = _shifted(power[a] * mask[b].conj()), _shifted(mask[a] * power[b].conj())
            value = _shifted(spectra[a] * spectra[b].conj())
            value /= np.sqrt(np.maximum(power_a, 1) * np.maximum(power_b, 1))
            overlap = _shifted(mask[a] * mask[b].conj())
            best = np.where(overlap >= _OVERLAP * _SIDE**2, value, 0).max((1, 2))
            for one, other, correlation in zip(used[a], used[b], best, strict=True):
                if correlation >= least:
                    yield int(one), int(other), min(float(correlation), 1.0)


def _chunks(pairs: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, len(pairs), _BATCH):
        yield pairs[start : start + _BATCH]


def _spectrum(pictures: F32) -> npt.NDArray[np.complex64]:
    return np.fft.rfft2(pictures, s=(_PADDED, _PADDED)).astype(np.complex64)


def _shifted(spectra: npt.NDArray[np.complex64]) -> F32:
    """Correlations at shifts -5..5 in both directions, `(P, 11, 11)`.

    Two products with the few columns of the inverse transform that are wanted, much less than all of it.
    """
    return np.asarray(np.real(np.matmul(np.matmul(_ROWS, spectra), _COLUMNS)), np.float32)


def _inverse(half: bool) -> npt.NDArray[np.complex64]:
    """Rows of the inverse transform: from frequency to shift; of the stored half of a real signal's spectrum."""
    shifts = np.arange(-_SHIFT, _SHIFT + 1)
    frequencies = np.arange(_PADDED // 2 + 1 if half else _PADDED)
    turns = np.exp(2j * np.pi * np.outer(shifts, frequencies) / _PADDED) / _PADDED
    if half:  # all but the first and the last stand for two
        turns[:, 1:-1] *= 2
    return np.asarray(turns, np.complex64)


_ROWS = _inverse(half=False)
_COLUMNS = np.ascontiguousarray(_inverse(half=True).T)
