"""One frame to an answer: the guard before the model, the input before it is overwritten, views without garbage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bedside.runtime.answers import Classification, Reconstruction
from bedside.runtime.bundle.decode import (
    ClassificationDecode,
    Decode,
    OutOfDistribution,
    RawDecode,
    ReconstructionDecode,
)
from bedside.runtime.bundle.manifest import (
    EngineGolden,
    FileRef,
    Golden,
    InputSpec,
    Model,
    TensorSpec,
    Variant,
    VariantGolden,
)
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.clock import ManualClock, MonotonicClock
from bedside.runtime.engines.protocol import Array
from bedside.runtime.errors import BundleError, EngineError
from bedside.runtime.frame import Frame, Region
from bedside.runtime.geometry import Rect, fit
from bedside.runtime.golden import GoldenReport
from bedside.runtime.latent import make_preprocess
from bedside.runtime.loading import Loaded, open_session
from bedside.runtime.preprocess import Preprocessor
from bedside.runtime.result import Outcome, Result, Withheld
from bedside.runtime.scenarios import run_scenario
from bedside.runtime.stream.guard import Guard
from bedside.runtime.stream.inference import Inference, spacing_of
from bedside.runtime.stream.ledger import LedgerSnapshot
from bedside.runtime.stream.pipeline import Pipeline, StreamIdentity
from bedside.runtime.tasks import make_task
from bedside.runtime.testing.sessions import FakeSession
from bedside.runtime.testing.sources import ArraySource

SIZE = 16
LABELS = ("a", "b", "c", "d", "e")
IDENTITY = StreamIdentity(session="s", stream="main", boot="b", task="classification", bundle="0" * 64)
REF = FileRef(file="golden/x.npy", sha256="0" * 64, bytes=1)
PIXELS = TensorSpec(name="pixels", shape=(1, SIZE, SIZE, 3), dtype="uint8")
SCORES = TensorSpec(name="scores", shape=(1, len(LABELS)), dtype="float32")
PICTURE = TensorSpec(name="picture", shape=PIXELS.shape, dtype="float32")
OUT = OutOfDistribution(error_scale=10.0, threshold=1.0, false_alarm=0.01, samples=500)


def loaded(session: FakeSession, decode: Decode, **fields: Any) -> Loaded:
    variant = Variant(
        id="v",
        format="tflite",
        precision="fp32",
        sha256="0" * 64,
        bytes=1,
        inputs=session.inputs,
        outputs=session.outputs,
    )
    model = Model(
        input=InputSpec(width=SIZE, height=SIZE, **fields),
        outputs=tuple(o.name for o in session.outputs),
        decode=decode,
        variants=(variant,),
        golden=Golden(
            engine=EngineGolden(input=REF),
            variants=(VariantGolden(variant="v", outputs=(REF,), tolerance=0.01),),
        ),
        default="v",
    )
    report = GoldenReport(engine="fake", variant="v", tolerance=0.01, samples=1, error=0.0, errors=(0.0,))
    return Loaded(session, model, variant, report)


def classifier() -> Loaded:
    """Says class `first pixel % 5`."""

    def answer(inputs: tuple[Array, ...]) -> Sequence[Array]:
        scores = np.zeros((1, len(LABELS)), np.float32)
        scores[0, int(inputs[0][0, 0, 0, 0]) % len(LABELS)] = 1.0
        return [scores]

    return loaded(FakeSession((PIXELS,), (SCORES,), answer), ClassificationDecode(labels=LABELS))


def autoencoder(level: float = 100.0, decode: Decode | None = None) -> Loaded:
    """Reconstructs everything as one grey level: the error is the distance of a flat frame from it. It
    overwrites its input, as engines may."""
    session: FakeSession

    def answer(inputs: tuple[Array, ...]) -> Sequence[Array]:
        session._entries[0][...] = 0
        return [np.full(PICTURE.shape, level / 255, np.float32)]

    session = FakeSession((PIXELS,), (PICTURE,), answer)
    return loaded(session, decode or ReconstructionDecode(out=OUT))


def frame(level: int, seq: int = 0, size: tuple[int, int] = (48, 64)) -> Frame:
    return Frame(np.full((*size, 3), level, np.uint8), seq, 0)


def inference(main: Loaded, guard: Guard | None = None, **options: Any) -> Inference:
    task = make_task(main.model.decode)
    return Inference(main, make_preprocess(main.model.input), task, MonotonicClock(), guard=guard, **options)


def guard_of(sees: Any = "frame", **options: Any) -> Guard:
    model = autoencoder(**options)
    return Guard(model, make_preprocess(model.model.input), sees)


def invocations(model: Loaded) -> int:
    assert isinstance(model.session, FakeSession)
    return model.session.invocations


class TestGuard:
    @pytest.mark.parametrize("sees", ["frame", "input"])
    def test_beyond_the_threshold_the_model_is_not_invoked(self, sees: Any) -> None:
        main, guard = classifier(), guard_of(sees)
        infer = inference(main, guard)
        inside, outside = infer(frame(104)), infer(frame(111))
        assert isinstance(inside.result, Classification)
        assert inside.guard is not None
        assert (inside.reason, inside.guard.score) == (None, pytest.approx(0.4, abs=1e-4))
        assert (outside.result, outside.reason) == (None, Withheld.OUT_OF_DISTRIBUTION)
        assert outside.guard is not None
        assert (outside.guard.score, outside.guard.threshold) == (pytest.approx(1.1, abs=1e-4), 1.0)
        assert invocations(main) == 1
        assert invocations(guard.loaded) == 2

    def test_what_it_sees(self) -> None:
        """A region of interest is at work in the main model's input, and not in the frame."""
        pixels = np.full((48, 64, 3), 100, np.uint8)
        pixels[:, :32] = 255
        main = classifier()
        for sees, withheld in (("frame", True), ("input", False)):
            infer = Inference(
                main,
                Preprocessor(main.model.input, roi=Rect(32, 0, 32, 48)),
                make_task(main.model.decode),
                MonotonicClock(),
                guard=guard_of(sees),
            )
            assert (infer(Frame(pixels, 0, 0)).reason is not None) is withheld

    def test_the_colours_of_the_input_are_those_of_the_model(self) -> None:
        """A red frame in BGR becomes RGB in the main input; the guard's own order is gray."""
        seen: list[Array] = []
        gray = TensorSpec(name="x", shape=(1, SIZE, SIZE, 1), dtype="uint8")
        out = TensorSpec(name="y", shape=gray.shape, dtype="float32")

        def answer(inputs: tuple[Array, ...]) -> Sequence[Array]:
            seen.append(inputs[0])
            return [inputs[0] / 255]

        model = loaded(
            FakeSession((gray,), (out,), answer), ReconstructionDecode(out=OUT), color="gray", channels=1
        )
        red = np.zeros((48, 64, 3), np.uint8)
        red[..., 2] = 255
        for sees in ("frame", "input"):
            guard = Guard(model, make_preprocess(model.model.input), sees)  # type: ignore[arg-type]
            inference(classifier(), guard)(Frame(red, 0, 0))
        # ITU-R BT.601: 0.299 of 255.
        assert [int(s[0, 0, 0, 0]) for s in seen] == [76, 76]

    def test_it_is_timed(self) -> None:
        plain, guarded = inference(classifier()), inference(classifier(), guard_of())
        assert plain.stages == ("preprocess", "invoke", "decode")
        assert guarded.stages == ("preprocess", "guard", "invoke", "decode")
        assert len(plain(frame(100)).spent_ns) == 3
        assert len(guarded(frame(100)).spent_ns) == 4

    def test_smoothing_begins_anew(self) -> None:
        main = classifier()
        task = make_task(main.model.decode, smoothing=0.5)
        infer = Inference(main, make_preprocess(main.model.input), task, MonotonicClock(), guard=guard_of())
        for level, frames in ((100, 1), (100, 2), (200, None), (100, 1)):
            found = infer(frame(level)).result
            if frames is not None:
                assert isinstance(found, Classification)
                assert found.smoothing is not None
                assert found.smoothing.frames == frames

    @pytest.mark.fault("B12")
    def test_a_guard_that_is_not_finite_withholds(self) -> None:
        main = classifier()
        answer = inference(main, guard_of(level=float("nan")))(frame(100))
        assert (answer.result, answer.reason, answer.guard) == (None, Withheld.NOT_FINITE, None)
        assert invocations(main) == 0

    def test_only_to_measure_the_model_runs_all_the_same(self) -> None:
        answer = inference(classifier(), guard_of(), enforce=False)(frame(255))
        assert isinstance(answer.result, Classification)
        assert answer.guard is not None
        assert answer.guard.score > answer.guard.threshold

    @pytest.mark.parametrize("decode", [ReconstructionDecode(), RawDecode()])
    def test_it_needs_a_threshold(self, decode: Decode) -> None:
        with pytest.raises(BundleError, match="a guard is a reconstruction with a threshold"):
            guard_of(decode=decode)

    def test_a_guard_that_fails_ends_the_stream(self) -> None:
        guard = guard_of()
        guard.close()
        source = ArraySource([np.full((48, 64, 3), 100, np.uint8)])
        main = classifier()
        summary = Pipeline(
            source,
            main,
            make_preprocess(main.model.input),
            make_task(main.model.decode),
            [],
            IDENTITY,
            guard=guard,
        ).run()
        assert isinstance(summary.error, EngineError)
        assert summary.ledger == LedgerSnapshot(captured=1, failed={"engine": 1})


def test_through_the_pipeline_every_frame_says_what_the_guard_said() -> None:
    main, results = classifier(), list[Result]()
    levels = [100, 255, 95, 0, 106]
    stream = Pipeline(
        ArraySource([np.full((48, 64, 3), level, np.uint8) for level in levels]),
        main,
        make_preprocess(main.model.input),
        make_task(main.model.decode),
        [],
        IDENTITY,
        guard=guard_of(),
        on_result=results.append,
    )
    summary = stream.run()
    assert summary.ledger == LedgerSnapshot(captured=5, processed=3, withheld={"out-of-distribution": 2})
    assert [r.outcome for r in results] == [
        Outcome.WITHHELD if level in (0, 255) else Outcome.OK for level in levels
    ]
    for result, level in zip(results, levels, strict=True):
        assert result.guard is not None
        assert result.guard.score == pytest.approx(abs(level - 100) / 10, abs=1e-4)
        assert (result.result is None) is (result.reason == "out-of-distribution")
    assert stream.latency.stages == ("preprocess", "guard", "invoke", "decode", "age")
    assert stream.latency.count == 3


@pytest.mark.parametrize("sees", ["frame", "input"])
def test_a_real_guard_knows_its_own(sees: Any, guarded_bundle: Path, smooth_frames: Any) -> None:
    """Noise reconstructs badly; a black frame reconstructs well, and lies far in the code."""
    with open_bundle(guarded_bundle) as bundle:
        main, model = open_session(bundle), open_session(bundle, role="guard")
    guard = Guard(model, make_preprocess(model.model.input), sees)
    infer = inference(main, guard)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    noise = noise[:16, :16].repeat(3, 0).repeat(4, 1)
    known = [infer(Frame(g.pixels, 0, 0, color="rgb")) for g in smooth_frames]
    unknown = [infer(Frame(p, 0, 0)) for p in (noise, np.zeros((48, 64, 3), np.uint8))]
    assert all(a.reason is None and isinstance(a.result, Classification) for a in known)
    assert [a.reason for a in unknown] == [Withheld.OUT_OF_DISTRIBUTION] * 2
    main.session.close()
    guard.close()
    with pytest.raises(EngineError, match="closed"):
        model.session.invoke()
    told = guard.describe()
    assert (told["sees"], told["threshold"], told["false_alarm"]) == (sees, 1.0, 0.01)


def test_the_input_is_kept_for_a_task_that_compares_with_it() -> None:
    """Also where the engine overwrites its own."""
    infer = inference(autoencoder(level=100.0, decode=ReconstructionDecode()))
    for level in (100, 130):
        found = infer(frame(level)).result
        assert isinstance(found, Reconstruction)
        assert found.error == pytest.approx(level - 100, abs=1e-3)


def test_the_view_is_the_same_object_while_the_geometry_is() -> None:
    infer = inference(classifier())
    views = []
    for shape in ((48, 64), (48, 64), (64, 64), (64, 64)):
        infer(frame(0, size=shape))
        views.append(infer._view)
    assert views[0] is views[1]
    assert views[1] is not views[2]
    assert views[2] is views[3]


class TestSpacing:
    FIT = fit(Rect(10, 10, 20, 20), 16, 16, "stretch")

    def spacing(self, **fields: Any) -> Any:
        return spacing_of(Frame(np.zeros((48, 64, 3), np.uint8), 0, 0, **fields), self.FIT)

    def test_of_the_whole_picture_comes_first(self) -> None:
        region = Region(Rect(0, 0, 64, 48), (0.5, 0.5))
        assert self.spacing(spacing_mm=(0.1, 0.2), regions=(region,)) == (0.1, 0.2)
        assert self.spacing() is None

    @pytest.mark.parametrize(
        ("rect", "known"),
        [
            (Rect(10, 10, 20, 20), True),
            (Rect(0, 0, 64, 48), True),
            (Rect(11, 10, 20, 20), False),
            (Rect(10, 10, 20, 19), False),
            (Rect(40, 0, 20, 48), False),
        ],
    )
    def test_a_region_counts_where_it_holds_all_that_is_seen(self, rect: Rect, known: bool) -> None:
        assert self.spacing(regions=(Region(rect, (0.3, 0.4)),)) == ((0.3, 0.4) if known else None)

    def test_the_first_region_that_does(self) -> None:
        m_mode = Region(Rect(0, 0, 64, 48), None, "m-mode")
        b_mode = Region(Rect(5, 5, 40, 40), (0.3, 0.4), "b-mode")
        assert self.spacing(regions=(b_mode, m_mode)) == (0.3, 0.4)
        assert self.spacing(regions=(m_mode, b_mode)) is None


class TestScenario:
    def test_a_frame_costs_all_its_stages_whatever_the_guard_says(self) -> None:
        main = classifier()
        measured = run_scenario(
            "SingleStream",
            main,
            make_preprocess(main.model.input),
            make_task(main.model.decode),
            [(np.full((48, 64, 3), 255, np.uint8), "bgr")],
            MonotonicClock(),
            guard=guard_of(),
            min_seconds=0.0,
            min_queries=70,
        )
        assert list(measured.latency_ms) == ["preprocess", "guard", "invoke", "decode", "total"]
        assert measured.latency_ms["guard"]["samples"] == measured.queries == 70
        assert invocations(main) == 90

    def test_an_answer_that_is_withheld_is_no_measurement(self) -> None:
        main = classifier()
        assert isinstance(main.session, FakeSession)
        main.session._answer = lambda _: [np.full((1, 5), np.nan, np.float32)]
        with pytest.raises(EngineError, match="the answer to frame 0 is withheld: not-finite"):
            run_scenario(
                "Offline",
                main,
                make_preprocess(main.model.input),
                make_task(main.model.decode),
                [(np.zeros((48, 64, 3), np.uint8), "bgr")],
                ManualClock(),
            )
