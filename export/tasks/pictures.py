"""Reconstruction, translation and generation: a picture comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.data.reading import read_examples
from bedside.export.data.types import PictureTarget, Progress, Split
from bedside.export.gates.marks import Marks
from bedside.export.metrics.intervals import bootstrap, half_sampling, how
from bedside.export.metrics.pictures import frechet_distance, psnr, ssim, texture_features
from bedside.export.metrics.ranking import rank_correlation
from bedside.export.tasks.protocol import Reader, Row, Samples
from bedside.runtime.bundle.decode import Decode, GenerationDecode, ReconstructionDecode, TranslationDecode
from bedside.runtime.bundle.manifest import InputSpec, TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.tasks import ReconstructionDecoder
from bedside.runtime.tasks.picture import PictureReader
from bedside.runtime.tasks.protocol import check_finite


class Rebuilt(msgspec.Struct, frozen=True):
    """What an autoencoder made of a frame.

    Attributes:
        error: Mean absolute error, in grey levels.
        distance: Root mean square of the whitened code; None without a code.
        score: What the device ranks by.
    """

    error: float
    distance: float | None
    score: float


class ReconstructionKit:
    """Rows are `Rebuilt`; the truth is the frame."""

    def __init__(self, labels: tuple[str, ...] = ()) -> None:
        self.labels: tuple[str, ...] = ()

    def read(self, split: Split, spec: InputSpec, progress: Progress | None = None) -> Samples:
        """See `TaskKit.read`."""
        pixels = read_examples(split, Preprocessor(spec), spec, progress).x
        return Samples.of(split, pixels, list(pixels))

    def reader(self, decode: Decode, spec: InputSpec) -> Reader:
        """See `TaskKit.reader`."""
        assert isinstance(decode, ReconstructionDecode)
        decoder = ReconstructionDecoder(decode)

        def read(outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], pixels: Array) -> Row:
            return Rebuilt(*decoder.score(outputs, specs, pixels))

        return read

    def mark(self, rows: Sequence[Row], samples: Samples) -> Marks:
        """Mean absolute error in grey levels; what a uniform frame of the mean colour reaches beside it."""
        errors = np.array([row.error for row in rows])
        pixels = samples.inputs.astype(np.float32)
        flat = np.abs(pixels - pixels.mean(axis=(1, 2), keepdims=True)).mean()
        return Marks(
            metric="error",
            value=float(errors.mean()),
            interval=bootstrap(lambda chosen: float(errors[chosen].mean()), samples.groups),
            method=how(samples.groups),
            samples=len(rows),
            higher_is_better=False,
            baseline=float(flat),
        )

    def agreement(self, rows: Sequence[Row], reference: Sequence[Row]) -> float:
        """Rank correlation of the scores."""
        return rank_correlation(np.array([r.score for r in rows]), np.array([r.score for r in reference]))


class TranslationKit:
    """Rows and truths are `(H, W, C) uint8` pictures."""

    def __init__(self, labels: tuple[str, ...] = ()) -> None:
        self.labels: tuple[str, ...] = ()

    def read(self, split: Split, spec: InputSpec, progress: Progress | None = None) -> Samples:
        """See `TaskKit.read`."""
        found = read_examples(split, Preprocessor(spec), spec, progress)
        return Samples.of(split, found.x, [cast(PictureTarget, t).pixels for t in found.targets])

    def reader(self, decode: Decode, spec: InputSpec) -> Reader:
        """See `TaskKit.reader`."""
        assert isinstance(decode, TranslationDecode)
        return _pixels_reader(decode)

    def mark(self, rows: Sequence[Row], samples: Samples) -> Marks:
        """SSIM to the picture that was wanted, PSNR beside it; the input itself is the baseline."""
        similar = np.array([ssim(row, truth) for row, truth in zip(rows, samples.truth, strict=True)])
        untouched = [
            ssim(x, t) for x, t in zip(samples.inputs, samples.truth, strict=True) if x.shape == t.shape
        ]
        return Marks(
            metric="SSIM",
            value=float(similar.mean()),
            interval=bootstrap(lambda chosen: float(similar[chosen].mean()), samples.groups),
            method=how(samples.groups),
            samples=len(rows),
            others={"PSNR": float(np.mean([psnr(r, t) for r, t in zip(rows, samples.truth, strict=True)]))},
            baseline=float(np.mean(untouched)) if untouched else None,
        )

    def agreement(self, rows: Sequence[Row], reference: Sequence[Row]) -> float:
        """SSIM to the Keras model's pictures."""
        return float(np.mean([ssim(a, b) for a, b in zip(rows, reference, strict=True)]))


class GenerationKit:
    """Rows are `(H, W, C) uint8` pictures, truths are real frames; inputs are latents.

    Args:
        labels: None.
        seed: Of the latents.
    """

    def __init__(self, labels: tuple[str, ...] = (), seed: int = 0) -> None:
        self.labels: tuple[str, ...] = ()
        self._seed = seed

    def read(self, split: Split, spec: InputSpec, progress: Progress | None = None) -> Samples:
        """One latent per real frame of the split."""
        assert spec.latent is not None
        picture = msgspec.structs.replace(spec, latent=None, dtype="uint8")
        pixels = read_examples(split, Preprocessor(picture), picture, progress).x
        latents = np.random.default_rng(self._seed).standard_normal((len(pixels), spec.latent), np.float32)
        return Samples.of(split, latents, list(pixels))

    def reader(self, decode: Decode, spec: InputSpec) -> Reader:
        """See `TaskKit.reader`."""
        assert isinstance(decode, GenerationDecode)
        return _pixels_reader(decode)

    def mark(self, rows: Sequence[Row], samples: Samples) -> Marks:
        """Distance of the texture of drawn pictures from that of real ones.

        The baseline is the distance of noise with the real frames' mean and deviation; `halves` is that of
        one half of the real frames from the other, which nothing drawn can be expected to beat.
        """
        real = texture_features(np.stack(samples.truth))
        drawn = texture_features(np.stack(rows))
        pixels = np.stack(samples.truth).astype(np.float32)
        rng = np.random.default_rng(self._seed)
        noise = np.clip(rng.normal(pixels.mean(), pixels.std(), pixels.shape), 0, 255).astype(np.uint8)
        return Marks(
            metric="texture distance",
            value=frechet_distance(drawn, real),
            interval=half_sampling(lambda chosen: frechet_distance(drawn[chosen], real), len(rows)),
            method="delete-half jackknife over drawn pictures, 100 draws",
            samples=len(rows),
            higher_is_better=False,
            others={
                "halves": frechet_distance(real[::2], real[1::2]),
                "variety": _variety(np.stack(rows)) / max(1e-9, _variety(np.stack(samples.truth))),
            },
            baseline=frechet_distance(texture_features(noise), real),
        )

    def agreement(self, rows: Sequence[Row], reference: Sequence[Row]) -> float:
        """SSIM to the Keras model's pictures of the same latents."""
        return float(np.mean([ssim(a, b) for a, b in zip(rows, reference, strict=True)]))


def _variety(pictures: npt.NDArray[np.uint8]) -> float:
    """Mean absolute difference between pictures and their neighbours in the list: 0 where all are alike."""
    return float(np.abs(pictures.astype(np.float32) - np.roll(pictures, 1, axis=0)).mean())


def _pixels_reader(decode: TranslationDecode | GenerationDecode) -> Reader:
    """The whole picture, as the device's decoders read it before they cut padding off."""
    reader, index = PictureReader(decode.low, decode.high), decode.output

    def read(outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], pixels: Array) -> Row:
        check_finite(outputs, specs)
        return reader.pixels(outputs[index], specs[index], decode.color)

    return read
