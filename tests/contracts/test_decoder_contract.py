"""What every decoder promises, run over every task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.runtime.answers import (
    Classification,
    Detections,
    Generation,
    Raw,
    Reconstruction,
    Segmentation,
    TaskResult,
    Translation,
)
from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    Conformal,
    Decode,
    DetectionDecode,
    GenerationDecode,
    OutOfDistribution,
    RawDecode,
    ReconstructionDecode,
    SegmentationDecode,
    TranslationDecode,
)
from bedside.runtime.bundle.manifest import Quantization, TensorSpec
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import EngineError
from bedside.runtime.tasks import NotFiniteError, TaskDecoder, View, make_task
from bedside.runtime.testing.views import make_view

SIZE = 32
LABELS = ("background", "nerve", "vessel")
RNG = np.random.default_rng(11)
PIXELS = RNG.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)


class Case(msgspec.Struct, frozen=True):
    """One way to read outputs, with outputs in 0..1."""

    decode: Decode
    outputs: tuple[Array, ...]
    kind: type
    #: Shapes that no such model has, for the output of that index.
    wrong: tuple[tuple[int, tuple[int, ...]], ...]


def blobs(channels: int) -> Array:
    """Scores that differ clearly from place to place, `(1, 32, 32, channels) float32`."""
    coarse = RNG.permutation(np.linspace(0.1, 0.9, 8 * 8 * channels)).reshape(1, 8, 8, channels)
    return coarse.repeat(4, 1).repeat(4, 2).astype(np.float32)


def boxes() -> Array:
    x, y = np.meshgrid([0.1, 0.4, 0.7], [0.1, 0.4, 0.7])
    corners = np.stack([x, y, x + 0.2, y + 0.2], axis=-1).reshape(1, 9, 4)
    return corners.astype(np.float32)


SCORES = np.array([[0.2, 0.7, 0.1]], np.float32)
MAP = np.linspace(0, 1, 4 * 4 * 3, dtype=np.float32).reshape(1, 4, 4, 3)
BOX_SCORES = np.linspace(0.05, 0.95, 27, dtype=np.float32).reshape(1, 9, 3)
PICTURE = (PIXELS / 255).astype(np.float32)
CODE = np.array([[0.9, 0.1, 0.5]], np.float32)
OUT = OutOfDistribution(error_scale=2.0, distance_scale=1.0, threshold=1.0, false_alarm=0.01, samples=100)

CASES = {
    "classification": Case(
        ClassificationDecode(
            labels=LABELS,
            temperature=1.5,
            conformal=Conformal(coverage=0.9, threshold=0.2, samples=100),
            map=1,
        ),
        (SCORES, MAP),
        Classification,
        ((0, (1, 4)), (1, (1, 4, 4, 2)), (1, (1, 4, 3))),
    ),
    "segmentation": Case(
        SegmentationDecode(labels=LABELS), (blobs(3),), Segmentation, ((0, (1, SIZE, SIZE, 4)), (0, (1, 3)))
    ),
    "one foreground class": Case(
        SegmentationDecode(labels=LABELS[:2]), (blobs(1),), Segmentation, ((0, (1, SIZE, SIZE, 3)),)
    ),
    "detection": Case(
        DetectionDecode(labels=LABELS), (boxes(), BOX_SCORES), Detections, ((0, (1, 9, 3)), (1, (1, 8, 3)))
    ),
    "reconstruction": Case(
        ReconstructionDecode(code=1, out=OUT),
        (PICTURE, CODE),
        Reconstruction,
        ((0, (1, SIZE, SIZE, 1)), (1, (1, 3, 1))),
    ),
    "translation": Case(
        TranslationDecode(), (PICTURE,), Translation, ((0, (1, SIZE, SIZE, 4)), (0, (1, SIZE, SIZE)))
    ),
    "generation": Case(
        GenerationDecode(low=0.0), (PICTURE,), Generation, ((0, (1, SIZE, SIZE, 1)), (0, (1, 100)))
    ),
    "raw": Case(RawDecode(), (SCORES, MAP), Raw, ()),
}


def specs_of(outputs: tuple[Array, ...], quantization: Quantization | None = None) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=f"out{k}", shape=o.shape, dtype=o.dtype.name, quantization=quantization)  # type: ignore[arg-type]
        for k, o in enumerate(outputs)
    )


def view(task: TaskDecoder, **options: Any) -> View:
    return make_view(
        (SIZE, SIZE), frame=(640, 480), pixels=PIXELS.copy() if task.needs_input else None, **options
    )


def decoded(case: Case, outputs: tuple[Array, ...] | None = None, **options: Any) -> TaskResult:
    task = make_task(case.decode)
    outputs = case.outputs if outputs is None else outputs
    return task.decode(outputs, specs_of(outputs), view(task, **options))


every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_case
def test_it_gives_its_kind_of_answer(case: Case) -> None:
    found = decoded(case)
    assert type(found) is case.kind
    again = msgspec.json.decode(msgspec.json.encode(found), type=TaskResult)
    assert again == found


@every_case
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_the_same_tensors_give_the_same_answer(case: Case, resize: str) -> None:
    task = make_task(case.decode)
    specs, seen = specs_of(case.outputs), view(task, resize=resize)
    kept = [o.copy() for o in case.outputs]
    first = task.decode(case.outputs, specs, seen)
    # Another frame in between leaves nothing behind.
    task.decode(tuple(np.ascontiguousarray(o[..., ::-1]) for o in case.outputs), specs, seen)
    task.reset()
    assert task.decode(case.outputs, specs, seen) == first
    assert decoded(case, resize=resize) == first
    for before, after in zip(kept, case.outputs, strict=True):
        np.testing.assert_array_equal(after, before)


@every_case
@pytest.mark.fault("B12")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_withheld_whichever_output_it_is_in(case: Case, bad: float) -> None:
    for k in range(len(case.outputs)):
        outputs = [o.copy() for o in case.outputs]
        outputs[k].reshape(-1)[-1] = bad
        with pytest.raises(NotFiniteError, match=f"1 of .* values of the output 'out{k}'"):
            decoded(case, tuple(outputs))


@every_case
@pytest.mark.fault("B8")
def test_a_wrong_shape_is_an_engine_error(case: Case) -> None:
    for k, shape in case.wrong:
        outputs = list(case.outputs)
        outputs[k] = np.full(shape, 0.5, np.float32)
        with pytest.raises(EngineError, match=f"'out{k}'|'out0'"):
            decoded(case, tuple(outputs))


def close(a: Any, b: Any, codes: float) -> None:
    """Two answers, number by number."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            if key not in ("codes", "pixels", "contours"):
                close(a[key], b[key], codes)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            close(x, y, codes)
    elif isinstance(a, float):
        assert a == pytest.approx(b, abs=codes)
    else:
        assert a == b


@every_case
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_codes_and_the_reals_they_stand_for_agree(case: Case, dtype: Any) -> None:
    quantization = Quantization(scale=1 / 256, zero_point=-128 if dtype == "int8" else 0)
    zero = quantization.zero_point
    limits = np.iinfo(dtype)
    codes = tuple(
        np.clip(np.rint(o * 256) + zero, limits.min, limits.max).astype(dtype) for o in case.outputs
    )
    real = tuple(((c.astype(np.float64) - zero) / 256).astype(np.float32) for c in codes)
    task = make_task(case.decode)
    of_codes = task.decode(codes, specs_of(codes, quantization), view(task))
    of_reals = task.decode(real, specs_of(real), view(task))
    if isinstance(of_codes, Raw):
        quick: Callable[[Any], Any] = msgspec.to_builtins
        close(quick(of_codes), quick(of_reals), 1e-6)
        return
    # One code is one grey level where there are pixels.
    close(msgspec.to_builtins(of_codes), msgspec.to_builtins(of_reals), 1e-3)
    for name in ("picture", "map"):
        one, other = getattr(of_codes, name, None), getattr(of_reals, name, None)
        if one is not None:
            field = "pixels" if name == "picture" else "codes"
            a = np.frombuffer(getattr(one, field), np.uint8).astype(int)
            b = np.frombuffer(getattr(other, field), np.uint8)
            assert np.abs(a - b).max() <= 1
