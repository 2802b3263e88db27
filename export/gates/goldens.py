"""Golden samples: inputs whose answers are known, and in which there is no patient.

Frames are drawn (`bedside.runtime.synthetic`), so that no image leaves the workstation inside a bundle unless
somebody asks for that.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bedside.export.data.types import Split
from bedside.runtime.bundle.manifest import InputSpec
from bedside.runtime.packing import GoldenInput, drawn_goldens


def golden_inputs(
    spec: InputSpec, holdout: Split | None = None, from_data: int = 0
) -> tuple[GoldenInput, ...]:
    """Captured frames to record.

    Args:
        spec: Of the model's input.
        holdout: Where `from_data` frames are taken from.
        from_data: How many real frames go in, spread over the holdout; these then are in the bundle for
            everybody to see.
    """
    frames = list(drawn_goldens(spec))
    items = holdout.items if holdout is not None else ()
    if from_data > 0 and items:
        for index in np.unique(np.linspace(0, len(items) - 1, min(from_data, len(items))).astype(int)):
            pixels, color = items[index].load()
            frames.append(GoldenInput(pixels=pixels, color=color))
    return tuple(frames)


def golden_samples(spec: InputSpec, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Engine-level samples that reach what pictures do not: all grey levels, every frequency.

    Returns:
        `(3, H, W, C) uint8`: noise over the whole range, a ramp from black to white along each axis, and
        blocks of noise (flat areas with hard edges).
    """
    rng = np.random.default_rng(seed)
    h, w, c = spec.height, spec.width, spec.channels
    noise = rng.integers(0, 256, (h, w, c), np.uint8)
    down = np.linspace(0, 255, h)[:, None, None]
    across = np.linspace(255, 0, w)[None, :, None]
    ramp = (
        (down * np.linspace(1.0, 0.0, c) + across * np.linspace(0.0, 1.0, c))
        if c > 1
        else (down + across) / 2
    )
    side = max(2, min(h, w) // 8)
    coarse = rng.integers(0, 256, (-(-h // side), -(-w // side), c), np.uint8)
    blocks = coarse.repeat(side, axis=0).repeat(side, axis=1)[:h, :w]
    return np.stack([noise, np.broadcast_to(ramp, (h, w, c)).round().astype(np.uint8), blocks])


def golden_latents(size: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Engine-level samples of a generator.

    Returns:
        `(4, size) float32`: zeros, and three standard normal draws.
    """
    drawn = np.random.default_rng(seed).standard_normal((3, size), np.float32)
    return np.concatenate([np.zeros((1, size), np.float32), drawn])
