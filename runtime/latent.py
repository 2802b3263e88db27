"""Models that make pictures out of nothing: their input is drawn, not captured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import BundleError, EngineError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.geometry import Fit, Rect, fit
from bedside.runtime.preprocess import Preprocess, Preprocessor

#: Golden samples of a model that has no frames.
GOLDENS = 4


def make_preprocess(
    spec: InputSpec, *, roi: Rect | None = None, masks: Sequence[Rect] = (), seed: int = 0
) -> Preprocess:
    """What fills the input that a manifest describes.

    Args:
        spec: Of the manifest.
        roi: See `Preprocessor`; without a meaning for latents, likewise `masks`.
        masks: See `Preprocessor`.
        seed: Of latents.

    Raises:
        BundleError: `spec` contradicts itself.
    """
    if spec.latent is not None:
        return LatentDrawer(spec, seed=seed)
    return Preprocessor(spec, roi=roi, masks=masks)


class LatentDrawer:
    """Draws a standard normal vector for every frame; the frame is only what asks for it.

    The n-th vector depends on the seed and on n alone (Philox, a counter-based generator: Salmon et al.,
    "Parallel random numbers: as easy as 1, 2, 3", SC 2011), so that a run can be repeated.

    Args:
        spec: What the model wants.
        seed: At least 0.

    Raises:
        BundleError: `spec` is not that of a latent of float32.
    """

    def __init__(self, spec: InputSpec, *, seed: int = 0) -> None:
        if spec.latent is None or spec.dtype != "float32":
            raise BundleError(f"input: a latent is float32 numbers, not {spec.dtype} pixels")
        self.spec = spec
        self._seed = seed
        self._drawn = 0
        self._fit: Fit | None = None

    def __call__(self, pixels: Pixels, color: Color, out: Array) -> Fit:
        """Draw the next vector into `out`.

        Args:
            pixels: `(H, W, C) uint8`; only its size counts.
            color: Of the frame; does not matter.
            out: The whole input tensor, `(1, latent) float32`, C-contiguous; written in place.

        Returns:
            The frame on the picture to come, as if it had been stretched.

        Raises:
            EngineError: `out` is not the tensor that the spec describes.
        """
        if out.shape != self.spec.shape or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise EngineError(
                f"the input buffer is {list(out.shape)} {out.dtype}, "
                f"the manifest says {list(self.spec.shape)} float32, contiguous"
            )
        self._draw(out)
        height, width = pixels.shape[:2]
        if self._fit is None or (self._fit.crop.width, self._fit.crop.height) != (width, height):
            self._fit = fit(Rect(0, 0, width, height), self.spec.width, self.spec.height, "stretch")
        return self._fit

    def draw(self, count: int) -> npt.NDArray[np.float32]:
        """The next `count` vectors, `(count, latent) float32`."""
        drawn = np.empty((count, *self.spec.shape), np.float32)
        for row in drawn:
            self._draw(row)
        return drawn[:, 0]

    def _draw(self, out: Array) -> None:
        # The highest word of the counter: every vector begins a stretch of 2^192 numbers of its own.
        stream = np.random.Philox(key=self._seed, counter=(0, 0, 0, self._drawn))
        np.random.Generator(stream).standard_normal(out=out, dtype=np.float32)
        self._drawn += 1
