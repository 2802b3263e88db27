"""What a model expects of its input, as an affine map of pixels 0..255. Importable without TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.runtime.errors import UsageError

Color = Literal["rgb", "bgr", "gray"]

#: Named preprocessings; the last two are for three channels.
NAMES = ("none", "unit", "symmetric", "imagenet", "caffe")

#: ImageNet statistics of pixels / 255, red, green, blue (torchvision.transforms; keras.applications mode
#: "torch").
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
#: ImageNet mean of pixels 0..255, blue, green, red (keras.applications mode "caffe").
_CAFFE_MEAN = (103.939, 116.779, 123.68)


class Preprocessing(msgspec.Struct, frozen=True):
    """`real = pixel * scale + offset`, per channel or one value for all, in the model's channel order.

    Attributes:
        name: One of `NAMES`, or `explicit`.
        scale: One value or one per channel.
        offset: One value or one per channel.
        color: Channel order that goes with it, None where it goes with any.
    """

    name: str
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    color: Color | None = None

    def arrays(self, channels: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Scale and offset, `(1,)` or `(channels,) float32`.

        Raises:
            UsageError: The number of values does not fit.
        """
        for key, values in (("scale", self.scale), ("offset", self.offset)):
            if len(values) not in (1, channels):
                raise UsageError(
                    f"{self.name} preprocessing has {len(values)} values of {key} for {channels} channels"
                )
        return np.asarray(self.scale, np.float32), np.asarray(self.offset, np.float32)

    def __str__(self) -> str:
        """One line for reports."""
        scale, offset = (", ".join(f"{v:.6g}" for v in values) for values in (self.scale, self.offset))
        return f"{self.name} (pixel * [{scale}] + [{offset}])"


def named(name: str, color: Color | None = None) -> Preprocessing:
    """A preprocessing by name.

    Args:
        name: `none` (0..255), `unit` (0..1), `symmetric` (-1..1), `imagenet` (torch mean and std) or `caffe`
            (BGR mean).
        color: Channel order that the model wants; None for the usual one.

    Raises:
        UsageError: No such name, or it contradicts the channel order.
    """
    if name not in NAMES:
        raise UsageError(
            f"no preprocessing is called {name!r}", where="--preprocessing", hint=", ".join(NAMES)
        )
    if name in ("imagenet", "caffe") and color == "gray":
        raise UsageError(f"{name} is for three channels, not for gray", where="--preprocessing")
    if name == "caffe":
        if color == "rgb":
            raise UsageError(
                "caffe goes with bgr, not with rgb", where="--preprocessing", hint="leave --color out"
            )
        return Preprocessing(name=name, offset=tuple(-m for m in _CAFFE_MEAN), color="bgr")
    if name == "imagenet":
        order = -1 if color == "bgr" else 1
        pairs = list(zip(_IMAGENET_MEAN, _IMAGENET_STD, strict=True))[::order]
        scale = tuple(1.0 / (255.0 * s) for _, s in pairs)
        return Preprocessing(
            name=name, scale=scale, offset=tuple(-m / s for m, s in pairs), color=color or "rgb"
        )
    factor, shift = {"none": (1.0, 0.0), "unit": (1.0 / 255.0, 0.0), "symmetric": (1.0 / 127.5, -1.0)}[name]
    return Preprocessing(name=name, scale=(factor,), offset=(shift,))


def scaled(scale: float, offset: float = 0.0) -> Preprocessing:
    """`real = pixel * scale + offset`, as Keras' Rescaling says it.

    Raises:
        UsageError: Not finite, or a scale of 0.
    """
    if not (math.isfinite(scale) and math.isfinite(offset) and scale != 0.0):
        raise UsageError(f"--scale {scale} --offset {offset} is no scaling")
    return Preprocessing(name="explicit", scale=(scale,), offset=(offset,))


def standardized(mean: Sequence[float], std: Sequence[float]) -> Preprocessing:
    """`real = (pixel - mean) / std`, pixel in 0..255, in the model's channel order.

    Raises:
        UsageError: Lengths differ, a std is not positive, or the values are meant for pixels 0..1.
    """
    if len(mean) != len(std) or len(mean) not in (1, 3):
        raise UsageError(
            f"--mean has {len(mean)} values and --std {len(std)}", hint="one each, or one per channel"
        )
    if not all(math.isfinite(v) for v in (*mean, *std)) or min(std) <= 0.0:
        raise UsageError(f"--mean {list(mean)} --std {list(std)}: a std must be positive")
    if 0.0 < max(mean) <= 1.0 and max(std) <= 1.0:
        raise UsageError(
            f"--mean {list(mean)} --std {list(std)} looks made for pixels 0..1",
            hint="give them for pixels 0..255: multiply both by 255",
        )
    scale = tuple(1.0 / s for s in std)
    return Preprocessing(
        name="explicit", scale=scale, offset=tuple(-m / s for m, s in zip(mean, std, strict=True))
    )
