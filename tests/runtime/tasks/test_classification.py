"""Classification: top-k, logits, quantized scores, smoothing, and what is refused."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.answers import Classification, PredictionSet, Score, Smoothing
from bedside.runtime.bundle.decode import ClassificationDecode, Conformal
from bedside.runtime.bundle.manifest import Quantization, TensorSpec
from bedside.runtime.errors import EngineError, UsageError
from bedside.runtime.geometry import Box
from bedside.runtime.tasks import ClassificationDecoder, NotFiniteError, TaskDecoder, heatmap, make_task
from bedside.runtime.testing.views import make_view

LABELS = ("ultrasound", "endoscopy", "neither")
MAPS = TensorSpec(name="map", shape=(1, 2, 2, 3), dtype="float32")


def scores(values: Any, quantization: Quantization | None = None) -> tuple[npt.NDArray[Any], TensorSpec]:
    array = np.asarray(values)[None]
    array = array.astype(np.float32) if array.dtype == np.float64 else array
    name = array.dtype.name
    return array, TensorSpec(name="scores", shape=array.shape, dtype=name, quantization=quantization)  # type: ignore[arg-type]


def decode(task: TaskDecoder, values: Any, quantization: Quantization | None = None) -> Classification:
    array, spec = scores(values, quantization)
    found = task.decode((array,), (spec,), make_view())
    assert isinstance(found, Classification)
    return found


def test_the_best_comes_first() -> None:
    found = decode(make_task(ClassificationDecode(labels=LABELS), top_k=2), [0.25, 0.5, 0.125])
    assert found == Classification(
        label="endoscopy",
        index=1,
        score=0.5,
        top=(Score(1, "endoscopy", 0.5), Score(0, "ultrasound", 0.25)),
    )


def test_there_are_no_more_than_there_are_classes() -> None:
    assert len(decode(make_task(ClassificationDecode(labels=LABELS), top_k=10), [0.1, 0.2, 0.3]).top) == 3


@given(
    st.integers(1, 20),
    st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), min_size=2, max_size=60),
)
def test_top_k_is_a_stable_sort(k: int, values: list[float]) -> None:
    labels = tuple(str(i) for i in range(len(values)))
    found = decode(make_task(ClassificationDecode(labels=labels), top_k=k), values)
    expected = sorted(range(len(values)), key=lambda i: (-np.float32(values[i]), i))[:k]
    assert [score.index for score in found.top] == expected
    assert [score.label for score in found.top] == [labels[i] for i in expected]


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_logits_become_probabilities(shift: float) -> None:
    logits = np.array([1.0, 3.0, 2.0]) + shift
    task = ClassificationDecoder(ClassificationDecode(labels=LABELS, scores="logits"))
    found = decode(task, logits)
    e = np.exp(np.array([1.0, 3.0, 2.0]))
    assert found.index == 1
    assert found.score == pytest.approx(e[1] / e.sum(), abs=1e-3)
    array, spec = scores(logits)
    assert task.probabilities((array,), (spec,)).sum() == pytest.approx(1.0, abs=1e-6)


def test_quantized_scores_are_dequantized() -> None:
    quantization = Quantization(scale=1 / 256, zero_point=-128)
    codes = np.array([-128, 127, 0], np.int8)
    found = decode(make_task(ClassificationDecode(labels=LABELS)), codes, quantization)
    assert [(s.index, s.score) for s in found.top] == [(1, 255 / 256), (2, 0.5), (0, 0.0)]


def test_quantized_logits() -> None:
    quantization = Quantization(scale=0.1, zero_point=5)
    task = make_task(ClassificationDecode(labels=LABELS, scores="logits"))
    found = decode(task, np.array([25, 5, 15], np.int8), quantization)
    e = np.exp([2.0, 0.0, 1.0])
    assert [s.score for s in found.top] == pytest.approx(
        [e[0] / e.sum(), e[2] / e.sum(), e[1] / e.sum()], rel=1e-5
    )


def test_the_named_output_is_read() -> None:
    features, other = scores(np.zeros(7, np.float32))
    array, spec = scores([0.1, 0.7, 0.2])
    task = make_task(ClassificationDecode(labels=LABELS, output=1))
    assert task.decode((features, array), (other, spec), make_view()).label == "endoscopy"  # type: ignore[union-attr]


def test_extra_axes_do_not_matter() -> None:
    array = np.array([0.1, 0.7, 0.2], np.float32).reshape(1, 1, 1, 3)
    spec = TensorSpec(name="scores", shape=array.shape, dtype="float32")
    task = ClassificationDecoder(ClassificationDecode(labels=LABELS))
    assert task.probabilities((array,), (spec,)).shape == (3,)


class TestSmoothing:
    def test_it_is_a_moving_average_and_says_so(self) -> None:
        task = make_task(ClassificationDecode(labels=LABELS), smoothing=0.25)
        frames = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]], float)
        average = frames[0]
        for n, frame in enumerate(frames, 1):
            average = frame if n == 1 else 0.25 * frame + 0.75 * average
            found = decode(task, frame)
            assert found.smoothing == Smoothing(method="ema", alpha=0.25, frames=n)
            by_index = sorted(found.top, key=lambda s: s.index)
            assert [s.score for s in by_index] == pytest.approx(average.tolist(), rel=1e-6)
        assert found.label == "endoscopy"

    def test_alpha_1_is_the_frame_itself(self) -> None:
        task = make_task(ClassificationDecode(labels=LABELS), smoothing=1.0)
        decode(task, [1.0, 0.0, 0.0])
        assert decode(task, [0.0, 0.0, 1.0]).top[0] == Score(2, "neither", 1.0)

    def test_without_it_results_do_not_mention_it(self) -> None:
        assert decode(make_task(ClassificationDecode(labels=LABELS)), [1.0, 0.0, 0.0]).smoothing is None

    def test_reset_forgets(self) -> None:
        task = make_task(ClassificationDecode(labels=LABELS), smoothing=0.1)
        decode(task, [1.0, 0.0, 0.0])
        task.reset()
        found = decode(task, [0.0, 1.0, 0.0])
        assert (found.label, found.score) == ("endoscopy", 1.0)
        assert found.smoothing == Smoothing("ema", 0.1, 1)

    def test_probabilities_are_of_this_frame_alone_and_leaves_the_state(self) -> None:
        task = ClassificationDecoder(ClassificationDecode(labels=LABELS), smoothing=0.5)
        decode(task, [1.0, 0.0, 0.0])
        array, spec = scores([0.0, 1.0, 0.0])
        alone = task.probabilities((array,), (spec,))
        assert alone.tolist() == [0.0, 1.0, 0.0]
        found = decode(task, [0.0, 1.0, 0.0])
        assert found.smoothing == Smoothing("ema", 0.5, 2)
        assert found.score == 0.5
        assert alone.tolist() == [0.0, 1.0, 0.0]

    @pytest.mark.fault("B12")
    def test_a_frame_that_is_not_finite_leaves_the_state(self) -> None:
        task = make_task(ClassificationDecode(labels=LABELS), smoothing=0.5)
        decode(task, [1.0, 0.0, 0.0])
        with pytest.raises(NotFiniteError):
            decode(task, [np.nan, 0.0, 0.0])
        found = decode(task, [0.0, 1.0, 0.0])
        assert found.smoothing == Smoothing("ema", 0.5, 2)
        assert found.score == 0.5

    @pytest.mark.parametrize("alpha", [0.0, -0.1, 1.5, float("nan")])
    def test_alpha_out_of_range(self, alpha: float) -> None:
        with pytest.raises(UsageError, match="above 0 and at most 1"):
            make_task(ClassificationDecode(labels=LABELS), smoothing=alpha)


@pytest.mark.fault("B12")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_nan_and_infinity_are_withheld(bad: float, kind: Any) -> None:
    task = ClassificationDecoder(ClassificationDecode(labels=LABELS, scores=kind))
    array, spec = scores([0.1, bad, 0.2])
    for call in (lambda: decode(task, [0.1, bad, 0.2]), lambda: task.probabilities((array,), (spec,))):
        with pytest.raises(NotFiniteError, match="1 of 3 values of the output 'scores'"):
            call()


@pytest.mark.fault("B12")
def test_nan_in_any_output_counts() -> None:
    array, spec = scores([0.1, 0.8, 0.1])
    features, other = scores(np.full(4, np.nan, np.float16))
    with pytest.raises(NotFiniteError, match="4 of 4"):
        make_task(ClassificationDecode(labels=LABELS)).decode((array, features), (spec, other), make_view())


@pytest.mark.fault("B8")
def test_another_number_of_scores_than_labels() -> None:
    with pytest.raises(EngineError, match="'scores' gives 4 scores for 3 labels"):
        decode(make_task(ClassificationDecode(labels=LABELS)), [0.1, 0.2, 0.3, 0.4])


def test_outputs_are_not_changed() -> None:
    array, spec = scores([1.0, 3.0, 2.0])
    kept = array.copy()
    task = make_task(ClassificationDecode(labels=LABELS, scores="logits"), smoothing=0.5)
    task.decode((array,), (spec,), make_view())
    np.testing.assert_array_equal(array, kept)


def test_top_k_below_one() -> None:
    with pytest.raises(UsageError, match="top_k is 0"):
        make_task(ClassificationDecode(labels=LABELS), top_k=0)


class TestCalibration:
    def test_the_temperature_is_applied_and_told(self) -> None:
        plain = decode(make_task(ClassificationDecode(labels=LABELS)), [0.2, 0.7, 0.1])
        found = decode(make_task(ClassificationDecode(labels=LABELS, temperature=2.0)), [0.2, 0.7, 0.1])
        assert (plain.temperature, found.temperature) == (None, 2.0)
        root = np.sqrt([0.2, 0.7, 0.1])
        assert found.score == pytest.approx(root[1] / root.sum(), rel=1e-5)
        assert found.label == plain.label

    def test_of_logits(self) -> None:
        task = ClassificationDecoder(ClassificationDecode(labels=LABELS, scores="logits", temperature=4.0))
        array, spec = scores([1.0, 3.0, 2.0])
        e = np.exp(np.array([1.0, 3.0, 2.0]) / 4)
        np.testing.assert_allclose(task.probabilities((array,), (spec,)), e / e.sum(), rtol=1e-5)

    def test_a_prediction_set_is_of_this_frame_alone(self) -> None:
        conformal = Conformal(coverage=0.9, threshold=0.25, samples=500)
        task = make_task(ClassificationDecode(labels=LABELS, conformal=conformal), smoothing=0.01)
        first = decode(task, [0.6, 0.3, 0.1])
        second = decode(task, [0.0, 0.0, 1.0])
        assert first.set == PredictionSet(0.9, ("ultrasound", "endoscopy"))
        assert second.label == "ultrasound"
        assert second.set == PredictionSet(0.9, ("neither",))

    def test_a_set_is_never_empty(self) -> None:
        conformal = Conformal(coverage=0.5, threshold=0.95, samples=500)
        found = decode(make_task(ClassificationDecode(labels=LABELS, conformal=conformal)), [0.2, 0.5, 0.3])
        assert found.set == PredictionSet(0.5, ("endoscopy",))


class TestMap:
    DECODE = ClassificationDecode(labels=LABELS, map=1)

    def test_it_is_that_of_the_best_class(self) -> None:
        array, spec = scores([0.1, 0.7, 0.2])
        maps = np.zeros((1, 2, 2, 3), np.float32)
        maps[0, :, :, 1] = [[0.0, 1.0], [2.0, 4.0]]
        maps[0, :, :, 0] = 99.0
        found = make_task(self.DECODE).decode((array, maps), (spec, MAPS), make_view(frame=(64, 32)))
        assert isinstance(found, Classification)
        assert found.map is not None
        assert found.map.box == Box(0, 0, 64, 32)
        assert found.map.codes == bytes([0, 64, 128, 255])

    def test_only_its_codes_are_read(self) -> None:
        array, spec = scores([0.1, 0.7, 0.2])
        maps = np.zeros((1, 2, 2, 3), np.int8)
        maps[0, :, :, 1] = [[-10, 0], [10, 20]]
        quantized = TensorSpec(
            name="map", shape=maps.shape, dtype="int8", quantization=Quantization(scale=0.5, zero_point=-10)
        )
        found = make_task(self.DECODE).decode((array, maps), (spec, quantized), make_view())
        assert isinstance(found, Classification)
        assert found.map is not None
        assert (found.map.low, found.map.high) == (0.0, 15.0)
        np.testing.assert_allclose(heatmap.values(found.map), [[0, 5], [10, 15]], atol=0.03)

    @pytest.mark.fault("B8")
    @pytest.mark.parametrize("shape", [(1, 2, 2, 4), (1, 2, 3), (1, 3, 2, 2)])
    def test_another_shape_is_refused_and_leaves_the_state(self, shape: tuple[int, ...]) -> None:
        task = make_task(self.DECODE, smoothing=0.5)
        array, spec = scores([0.1, 0.7, 0.2])
        good = np.zeros((1, 2, 2, 3), np.float32)
        with pytest.raises(EngineError, match=r"'map' is \[.*class activation maps of 3 labels"):
            task.decode((array, np.zeros(shape, np.float32)), (spec, MAPS), make_view())
        found = task.decode((array, good), (spec, MAPS), make_view())
        assert isinstance(found, Classification)
        assert found.smoothing == Smoothing("ema", 0.5, 1)
