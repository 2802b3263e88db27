"""Pictures out of a generator: as many as are wanted, without a stream."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bedside.runtime.bundle.decode import GenerationDecode
from bedside.runtime.errors import UsageError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.geometry import Rect, fit
from bedside.runtime.latent import LatentDrawer
from bedside.runtime.loading import Loaded
from bedside.runtime.tasks import GenerationDecoder, View


def draw(loaded: Loaded, count: int, *, seed: int = 0) -> Iterator[tuple[Pixels, Color]]:
    """Draw pictures from a generator.

    The n-th picture depends on the seed and on n alone (`LatentDrawer`), on one engine and variant.

    Args:
        loaded: A session of a generator whose goldens were replayed; stays the caller's.
        count: How many.
        seed: At least 0.

    Yields:
        `(H, W, C) uint8` and its channel order; the array is the reader's own.

    Raises:
        UsageError: The model does not generate.
        NotFiniteError: It answers NaN or infinity.
        EngineError: The engine failed.
    """
    decode, spec = loaded.model.decode, loaded.model.input
    if not isinstance(decode, GenerationDecode) or spec.latent is None:
        raise UsageError(
            "the model takes frames and does not draw any", hint="give a bundle whose task is generation"
        )
    decoder, latents = GenerationDecoder(decode), LatentDrawer(spec, seed=seed)
    session = loaded.session
    # Nothing was captured: the view is the whole of the picture itself.
    view = View(fit(Rect(0, 0, spec.width, spec.height), spec.width, spec.height, "stretch"))
    for _ in range(count):
        np.copyto(session.input(), latents.draw(1))
        picture = decoder.decode(session.invoke(), loaded.variant.outputs, view).picture
        assert picture is not None
        flat = np.frombuffer(picture.pixels, np.uint8)
        yield flat.reshape(picture.height, picture.width, -1).copy(), picture.color
