"""Tiny networks behind raw pixels, or behind a latent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.backend import keras

Wrap = Callable[..., PixelModel]


@pytest.fixture(scope="session")
def wrap() -> Wrap:
    """From `body`, a function of a float32 tensor that gives a list of tensors, to a `PixelModel`."""

    def made(
        body: Callable[[Any], list[Any]], shape: tuple[int, ...], outputs: tuple[str, ...]
    ) -> PixelModel:
        pixels = keras.Input(shape, name="pixels")
        reference = keras.Model(pixels, body(pixels), name="bedside")

        def fixed(dtype: str) -> Any:
            entry = keras.Input(batch_shape=(1, *shape), dtype=dtype, name="pixels")
            x = entry if dtype == "float32" else keras.ops.cast(entry, "float32")
            found = reference(x, training=False)
            return keras.Model(entry, found if isinstance(found, list) else [found], name="bedside")

        single = fixed("float32")
        return PixelModel(
            reference=reference,
            float32=single,
            uint8=single if len(shape) == 1 else fixed("uint8"),
            shape=shape,
            outputs=outputs,
            normalization="inside",
        )

    return made
