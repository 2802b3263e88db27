"""Everything an export found out, as plain data: what the card, the report and its JSON are made of."""

from __future__ import annotations

import msgspec

from bedside.export.convert.rescue import LayerError
from bedside.export.gates.marks import Marks, Measured
from bedside.export.recipe import GateRecipe
from bedside.export.trust import Confidence
from bedside.runtime.bundle.decode import Decode
from bedside.runtime.bundle.manifest import DataSource, Format, HostSpeed, InputSpec, Precision, Task

#: Version of the report's JSON.
SCHEMA = 1
RESEARCH_ONLY = "Research use only, not a medical device."


class SplitSummary(msgspec.Struct, frozen=True):
    """One split of the data.

    Attributes:
        name: `train`, `validation`, `calibration` or `holdout`.
        samples: How many frames.
        groups: How many groups; no group is in two splits.
        sha256: Digest over keys, labels and contents, in order.
        counts: Samples per class.
    """

    name: str
    samples: int
    groups: int
    sha256: str
    counts: tuple[int, ...]


class Training(msgspec.Struct, frozen=True):
    """How the weights came to be, where they were trained here.

    Attributes:
        history: Per metric one number per epoch.
        best_epoch: From 1; its weights were kept.
        seconds: Spent, over all calls.
        resumed_from: Epochs that an interrupted call had finished, None where there was none.
    """

    history: dict[str, tuple[float, ...]]
    best_epoch: int
    seconds: float
    resumed_from: int | None = None


class VariantResult(msgspec.Struct, frozen=True):
    """One variant, judged.

    Attributes:
        id: For example `tflite-int8`.
        format: Of the file.
        precision: Of its arithmetic.
        bytes: Of the file, None where it could not be converted.
        measured: On the holdout, None where it could not be run.
        refused: Why it stays out, None where it passed.
        shipped: Whether its file is in the bundle.
        kept_float: Layers that a rescue left in float.
        layers: Error of every layer on the calibration set, in the order of the graph, where it was measured.
        speed: On this host, beside fp32.
    """

    id: str
    format: Format
    precision: Precision
    bytes: int | None
    measured: Measured | None
    refused: str | None
    shipped: bool
    kept_float: tuple[str, ...] = ()
    layers: tuple[LayerError, ...] = ()
    speed: HostSpeed | None = None


class EngineCheck(msgspec.Struct, frozen=True):
    """One shipped variant on one engine of this host, on the golden samples.

    Attributes:
        variant: Its id.
        engine: Engine and version.
        threads: Of the engine.
        error: Largest relative error of a golden output; None where it did not run.
        tolerance: What the manifest allows.
        invoke_ms: Median time of an invocation.
        samples: Invocations behind it.
        failed: Why it did not run.
    """

    variant: str
    engine: str
    threads: int
    error: float | None
    tolerance: float
    invoke_ms: float | None
    samples: int
    failed: str | None = None

    @property
    def passed(self) -> bool:
        """Whether a device with this engine would accept the variant."""
        return self.failed is None and self.error is not None and self.error <= self.tolerance


class ExportOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """An export from data to verdicts.

    Attributes:
        name: Of the bundle.
        version: Of the bundle.
        task: What the model does.
        description: Of the bundle.
        intended_use: Of the bundle.
        authors: Of the bundle.
        licence: Of weights and card.
        origin: Where the weights are from.
        labels: In the order of the output.
        input: From captured frame to tensor.
        normalization: What happens to pixels inside the graph, and how that is known.
        parameters: Of the Keras model.
        decode: How outputs are read, with what was fitted beside the model.
        sources: Data, with licences and citations.
        splits: Of the data.
        calibration_samples: Training frames that int8 calibration saw.
        seed: Of everything random.
        tools: Versions.
        created_utc: ISO 8601.
        gate: What was asked for.
        reference: The Keras model on the holdout.
        variants: In the order they were asked for.
        default: Runs where a device has measured nothing.
        training: None where the weights came from elsewhere.
        confidence: What calibration did; classification.
        guard: How the guard decides, where there is one.
        guard_bundle: Name and version of the bundle that the guard is from.
        guard_scores: Of the guard, on the holdout.
        notes: What a reader must know.
    """

    name: str
    version: str
    task: Task
    description: str
    intended_use: str
    authors: str
    licence: str
    origin: str
    labels: tuple[str, ...]
    input: InputSpec
    normalization: str
    parameters: int
    decode: Decode
    sources: tuple[DataSource, ...]
    splits: tuple[SplitSummary, ...]
    calibration_samples: int | None
    seed: int
    tools: dict[str, str]
    created_utc: str
    gate: GateRecipe
    reference: Marks
    variants: tuple[VariantResult, ...]
    default: str
    training: Training | None = None
    confidence: Confidence | None = None
    guard: Decode | None = None
    guard_bundle: str = ""
    guard_scores: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def shipped(self) -> tuple[VariantResult, ...]:
        """Variants whose file is in the bundle."""
        return tuple(v for v in self.variants if v.shipped)

    @property
    def refused(self) -> tuple[VariantResult, ...]:
        """Variants that stay out, and why."""
        return tuple(v for v in self.variants if v.refused is not None)
