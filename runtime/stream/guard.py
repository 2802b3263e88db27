"""Out of distribution: a second model that decides whether the first one may speak."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from bedside.runtime.bundle.decode import ReconstructionDecode
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import BundleError
from bedside.runtime.frame import Color, Pixels
from bedside.runtime.loading import Loaded
from bedside.runtime.preprocess import Preprocess
from bedside.runtime.result import GuardScore
from bedside.runtime.tasks import ReconstructionDecoder

Sees = Literal["frame", "input"]


class Guard:
    """An autoencoder that scores how far a picture is from those that the main model was made for.

    One thread owns it, the one that owns the main model.

    Args:
        loaded: A session of the role `guard` whose goldens were replayed.
        preprocess: For its input; without region of interest and masks where it sees the main model's input,
            which has them already.
        sees: The captured `frame`, or the main model's `input`; `Manifest.guard_sees`.

    Attributes:
        loaded: As given.
        sees: As given.
        threshold: Scores beyond it are out of distribution.

    Raises:
        BundleError: The model does not reconstruct, or has no threshold.
    """

    def __init__(self, loaded: Loaded, preprocess: Preprocess, sees: Sees) -> None:
        decode = loaded.model.decode
        if not isinstance(decode, ReconstructionDecode) or decode.out is None:
            raise BundleError("a guard is a reconstruction with a threshold", where="models.guard")
        self.sees = sees
        self.loaded = loaded
        self.threshold = decode.out.threshold
        self._false_alarm = decode.out.false_alarm
        self._session = loaded.session
        self._specs = loaded.variant.outputs
        self._preprocess = preprocess
        self._decoder = ReconstructionDecoder(decode)
        # Engines may overwrite their input, and the score compares with it.
        self._seen: Array = np.empty(loaded.model.input.shape, loaded.model.input.dtype)

    def look(self, pixels: Pixels, color: Color) -> GuardScore:
        """Score one picture.

        Args:
            pixels: `(H, W, C) uint8`, what `sees` says.
            color: Its channel order.

        Raises:
            FrameError: It does not fit.
            NotFiniteError: The guard answers NaN or infinity.
            EngineError: The engine failed.
        """
        self._preprocess(pixels, color, self._seen)
        self._session.input()[...] = self._seen
        outputs = self._session.invoke()
        _, _, score = self._decoder.score(outputs, self._specs, self._seen)
        return GuardScore(score, self.threshold)

    def describe(self) -> dict[str, Any]:
        """What runs, as plain data for summaries."""
        session = self.loaded.session
        return {
            "variant": self.loaded.variant.id,
            "precision": self.loaded.variant.precision,
            "engine": session.engine,
            "hint": session.options.hint,
            "threads": session.options.threads,
            "sees": self.sees,
            "threshold": self.threshold,
            "false_alarm": self._false_alarm,
        }

    def close(self) -> None:
        """Free the engine. May be called more than once."""
        self._session.close()
