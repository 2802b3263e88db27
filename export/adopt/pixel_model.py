"""A Keras model whose input is raw pixels: what is evaluated, converted and compared."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.backend import keras

#: Frames per call of the Keras model.
BATCH = 32


class PixelModel(msgspec.Struct, frozen=True):
    """A model that takes raw pixels, or a latent vector.

    The graphs are functional Keras models whose outputs are a list, in the order of `outputs`.

    Attributes:
        reference: `(N, *shape) float32`, pixels 0..255, to float32 outputs; what every variant is compared with.
        float32: The same with a batch of 1, for full-integer conversion, whose converters quantize the input
            themselves.
        uint8: `(1, *shape) uint8` to float32 outputs: a cast, then the same; for everything else. Of a latent
            input it is `float32`.
        shape: `(H, W, C)` of a frame, or `(D,)` of a latent.
        outputs: A name for every output; names of tensors in the bundle.
        normalization: For the report: what happens to pixels, and how that is known.
        color: Channel order that the model wants, where the preprocessing says so.
    """

    reference: Any
    float32: Any
    uint8: Any
    shape: tuple[int, ...]
    outputs: tuple[str, ...]
    normalization: str
    color: Literal["rgb", "bgr", "gray"] | None = None

    @property
    def latent(self) -> bool:
        """Whether the input is a latent vector instead of a frame."""
        return len(self.shape) == 1

    def predict(self, inputs: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], ...]:
        """Outputs of the Keras model.

        Args:
            inputs: `(N, *shape)`, uint8 pixels or float32 latents.

        Returns:
            One `(N, ...) float32` array per output.
        """
        rows: list[list[npt.NDArray[np.float32]]] = []
        for start in range(0, len(inputs), BATCH):
            found = self.reference(inputs[start : start + BATCH].astype(np.float32), training=False)
            parts = found if isinstance(found, list | tuple) else [found]
            rows.append([np.asarray(keras.ops.convert_to_numpy(part), np.float32) for part in parts])
        return tuple(np.concatenate(column) for column in zip(*rows, strict=True))
