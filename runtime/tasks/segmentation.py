"""A map of class scores to regions with outlines and areas."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from bedside.runtime.answers import Region, Segmentation
from bedside.runtime.bundle.decode import SegmentationDecode
from bedside.runtime.bundle.manifest import TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import EngineError
from bedside.runtime.frame import Pixels
from bedside.runtime.geometry import Box, Fit
from bedside.runtime.tasks.codes import logit, over, sigmoid
from bedside.runtime.tasks.outlines import outlines
from bedside.runtime.tasks.protocol import View, check_finite, dequantize

#: What `cv2.resize` interpolates as it is; codes of other types become float32 first.
_RESIZED = np.dtype(np.float32)


class SegmentationDecoder:
    """The classes that are present, their outlines and areas in the captured frame.

    Classes are found on the codes of a quantized tensor: scale and zero point are the same for all of it, so
    the largest code is the largest score. A tensor that is smaller than the model input is enlarged first,
    bilinearly. Padding of a letterbox never counts.

    Args:
        decode: How the tensor is read, from the manifest.
    """

    needs_input = False

    def __init__(self, decode: SegmentationDecode) -> None:
        self._decode = decode
        self._buffers: dict[tuple[str, tuple[int, ...], np.dtype[np.generic]], Array] = {}

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], view: View) -> Segmentation:
        """Regions, largest first; see `TaskDecoder.decode`."""
        width, height = view.fit.size
        planes, spec = self._planes(outputs, specs, (height, width))
        classes, best = self._classify(planes, spec)
        inner = view.fit.inner
        seen = (slice(inner.y, inner.y1), slice(inner.x, inner.x1))
        classes = classes[seen]
        found = [
            self._region(k, count, classes, None if best is None else best[seen], planes, spec, view)
            for k, count in enumerate(_histogram(classes, len(self._decode.labels)))
            if k > 0 and count > 0 and self._decode.min_area * classes.size <= count
        ]
        return Segmentation(tuple(sorted(found, key=lambda region: -region.area_px)))

    def reset(self) -> None:
        """Nothing to forget."""

    def classes(
        self,
        outputs: tuple[Array, ...],
        specs: tuple[TensorSpec, ...],
        size: tuple[int, int] | None = None,
    ) -> Pixels:
        """The class of every pixel, as `decode` finds them.

        Args:
            outputs: Of the session, batch of 1 included.
            specs: Of the outputs.
            size: `(height, width)` of the model input; None for that of the tensor.

        Returns:
            `(height, width) uint8`.

        Raises:
            NotFiniteError: An output holds NaN or infinity.
            EngineError: The tensor does not fit the labels.
        """
        return self._classify(*self._planes(outputs, specs, size))[0].copy()

    def probabilities(
        self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]
    ) -> npt.NDArray[np.float32]:
        """The probability of every class at every place of the tensor; 0 and 1 where it holds classes alone.

        Returns:
            `(h, w, labels) float32`.

        Raises:
            NotFiniteError: An output holds NaN or infinity.
            EngineError: The tensor does not fit the labels.
        """
        planes, spec = self._planes(outputs, specs, None)
        decode = self._decode
        if decode.scores == "labels":
            sure: npt.NDArray[np.float32] = np.eye(len(decode.labels), dtype=np.float32)[planes[0]]
            return sure
        real = dequantize(planes, spec)
        if len(real) == 1:
            foreground = sigmoid(real[0]) if decode.scores == "logits" else real[0]
            return np.stack((1 - foreground, foreground), axis=-1)
        if decode.scores == "logits":
            real -= real.max(axis=0)
            np.exp(real, out=real)
            real /= real.sum(axis=0)
        return np.ascontiguousarray(real.transpose(1, 2, 0))

    def _planes(
        self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...], size: tuple[int, int] | None
    ) -> tuple[Array, TensorSpec]:
        """Scores or classes as `(K, h, w)`, still in codes, enlarged to `size`."""
        check_finite(outputs, specs)
        decode, spec = self._decode, specs[self._decode.output]
        tensor = outputs[decode.output]
        if decode.scores == "labels":
            return self._enlarged(self._labels(tensor, spec), size, cv2.INTER_NEAREST), spec
        if tensor.ndim == 3:
            tensor = tensor[..., None] if decode.layout == "nhwc" else tensor[:, None]
        if tensor.ndim != 4:
            raise EngineError(f"the output {spec.name!r} of shape {list(tensor.shape)} is no map of scores")
        channels = tensor.shape[3 if decode.layout == "nhwc" else 1]
        wanted = (1, 2) if len(decode.labels) == 2 else (len(decode.labels),)
        if channels not in wanted:
            raise EngineError(
                f"the output {spec.name!r} gives {channels} channels for {len(decode.labels)} labels"
            )
        if decode.layout == "nchw":
            planes = tensor[0]
        elif channels == 1:
            planes = tensor[0, :, :, 0][None]
        else:
            # A transposition of OpenCV costs a tenth of what numpy's argmax over a last, short axis does.
            height, width = tensor.shape[1:3]
            planes = self._buffer("planes", (channels, height, width), tensor.dtype)
            cv2.transpose(np.ascontiguousarray(tensor[0]).reshape(-1, channels), planes.reshape(channels, -1))
        return self._enlarged(planes, size, cv2.INTER_LINEAR), spec

    def _labels(self, tensor: Array, spec: TensorSpec) -> Array:
        if spec.quantization is not None:
            tensor = np.rint(dequantize(tensor, spec))
        squeezed = tensor.reshape(tensor.shape[:3]) if tensor.ndim == 4 and tensor.shape[3] == 1 else tensor
        if squeezed.ndim != 3:
            raise EngineError(f"the output {spec.name!r} of shape {list(tensor.shape)} is no map of classes")
        low, high = squeezed.min(), squeezed.max()
        if low < 0 or high >= len(self._decode.labels):
            raise EngineError(
                f"the output {spec.name!r} names the classes {low} to {high}, there are "
                f"{len(self._decode.labels)} labels"
            )
        return squeezed.astype(np.uint8)

    def _enlarged(self, planes: Array, size: tuple[int, int] | None, method: int) -> Array:
        if size is None or planes.shape[1:] == size:
            return planes
        if method == cv2.INTER_LINEAR and planes.dtype != _RESIZED:
            planes = planes.astype(_RESIZED)
        large = self._buffer("large", (len(planes), *size), planes.dtype)
        for plane, target in zip(planes, large, strict=True):
            np.copyto(target, cv2.resize(plane, size[::-1], dst=target, interpolation=method))
        return large

    def _classify(self, planes: Array, spec: TensorSpec) -> tuple[Pixels, Array | None]:
        """Class and winning code of every pixel; no code where the tensor holds classes or one channel."""
        decode = self._decode
        if decode.scores == "labels":
            return planes[0], None
        if len(planes) == 1:
            level = logit(decode.threshold) if decode.scores == "logits" else decode.threshold
            shown = self._buffer("shown", planes[0].shape, np.dtype(np.bool_))
            return over(planes[0], spec, level, out=shown).view(np.uint8), None
        shape = planes.shape[1:]
        classes: Pixels = self._buffer("classes", shape, np.dtype(np.uint8))
        claimed = self._buffer("claimed", shape, np.dtype(np.uint8))
        better = self._buffer("better", shape, np.dtype(np.bool_))
        best = self._buffer("best", shape, planes.dtype)
        classes.fill(0)
        np.copyto(best, planes[0])
        for k, plane in enumerate(planes[1:], start=1):
            # Strictly better, so that of equal ones the first stays; k only grows, so the maximum is the last.
            np.greater(plane, best, out=better)
            np.multiply(better.view(np.uint8), np.uint8(k), out=claimed)
            np.maximum(classes, claimed, out=classes)
            np.maximum(best, plane, out=best)
        return classes, best

    def _region(
        self,
        k: int,
        count: int,
        classes: Pixels,
        best: Array | None,
        planes: Array,
        spec: TensorSpec,
        view: View,
    ) -> Region:
        fit = view.fit
        found = self._buffer("mask", classes.shape, np.dtype(np.bool_))
        mask = np.equal(classes, k, out=found).view(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        part = (slice(y, y + height), slice(x, x + width))
        left, top = fit.inner.x + x, fit.inner.y + y
        area = count / (fit.transform.sx * fit.transform.sy)
        spacing = view.spacing_mm
        return Region(
            index=k,
            label=self._decode.labels[k],
            score=self._score(mask[part].view(np.bool_), best, part, planes, spec, fit),
            area_px=area,
            fraction=count / classes.size,
            box=_rounded(fit.transform.box_to_frame(Box(left, top, left + width, top + height))),
            contours=outlines(mask[part], fit.transform, (left, top)),
            area_mm2=None if spacing is None else area * spacing[0] * spacing[1],
        )

    def _score(
        self,
        mask: npt.NDArray[np.bool_],
        best: Array | None,
        part: tuple[slice, slice],
        planes: Array,
        spec: TensorSpec,
        fit: Fit,
    ) -> float:
        """Mean probability where the mask is; only its pixels are dequantized."""
        decode, inner = self._decode, fit.inner
        if decode.scores == "labels":
            return 1.0
        seen = planes[:, inner.y : inner.y1, inner.x : inner.x1][(slice(None), *part)]
        if best is None:
            real = dequantize(seen[0][mask], spec)
            return float((sigmoid(real) if decode.scores == "logits" else real).mean())
        won = dequantize(best[part][mask], spec)
        if decode.scores == "logits":
            won = 1 / np.exp(dequantize(seen[:, mask], spec) - won).sum(axis=0)
        return float(won.mean())

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        """Made once per shape; a model has one."""
        key = (name, shape, dtype)
        if key not in self._buffers:
            self._buffers[key] = np.empty(shape, dtype)
        return self._buffers[key]


def _histogram(classes: Pixels, bins: int) -> list[int]:
    counts = cv2.calcHist([np.ascontiguousarray(classes)], [0], None, [bins], [0, bins])
    # (bins, 1) from OpenCV 4, (bins,) from OpenCV 5.
    return [int(n) for n in counts.ravel().tolist()]


def _rounded(box: Box) -> Box:
    return Box(round(box.x0, 2), round(box.y0, 2), round(box.x1, 2), round(box.y1, 2))
