"""K exports of one recipe, each with another fold of the data held out: means with confidence intervals."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
from scipy import stats

from bedside.export.data.folds import Fold
from bedside.export.pipeline import export_recipe
from bedside.export.recipe import Recipe
from bedside.export.steps import Silent, Steps
from bedside.export.writable import check_writable
from bedside.runtime.bundle.writer import replacing
from bedside.runtime.errors import GateError, UsageError


class FoldVariant(msgspec.Struct, frozen=True):
    """One variant on one fold.

    Attributes:
        id: Of the variant.
        value: Of the task's metric, through the device's own code.
        others: Further metrics.
        agreement: With the Keras model.
        refused: Why the gate refused it.
        bytes: Of the file.
    """

    id: str
    value: float
    others: dict[str, float]
    agreement: float
    refused: str | None
    bytes: int | None


class FoldResult(msgspec.Struct, frozen=True):
    """One fold.

    Attributes:
        index: From 0.
        samples: Held out.
        groups: Held out.
        sha256: Digest of what was held out.
        value: Of the Keras model.
        others: Further metrics of the Keras model.
        variants: On the same frames.
        seconds: Of training.
    """

    index: int
    samples: int
    groups: int
    sha256: str
    value: float
    others: dict[str, float]
    variants: tuple[FoldVariant, ...]
    seconds: float


class Mean(msgspec.Struct, frozen=True):
    """Over folds.

    Attributes:
        name: `Keras fp32`, or a variant.
        mean: Of the metric.
        interval: 95 % interval of the mean (Student's t over folds; folds share training data, so it is rather
            too narrow: Bengio & Grandvalet, JMLR 2004); None for a single fold.
        drop: Mean of `Keras - variant` (for errors of `variant - Keras`); None for Keras itself.
        passed: On how many folds the gate let it through.
    """

    name: str
    mean: float
    interval: tuple[float, float] | None
    drop: float | None = None
    passed: int | None = None


class FoldsResult(msgspec.Struct, frozen=True):
    """All folds.

    Attributes:
        recipe: Its name.
        metric: Of the task.
        folds: One by one.
        means: Keras and every variant.
        parameters: Of the network.
        sha256: Digest of the recipe and of how many folds were asked for: what an interrupted call goes on from.
    """

    recipe: str
    metric: str
    folds: tuple[FoldResult, ...]
    means: tuple[Mean, ...]
    parameters: int
    sha256: str = ""


def cross_validate(
    recipe: Recipe,
    count: int,
    out: Path,
    *,
    work_dir: str | Path | None = None,
    data_root: Path | None = None,
    steps: Steps | None = None,
) -> FoldsResult:
    """Train and export once per fold. Which group is in which fold follows from its content alone.

    Args:
        recipe: Nothing in it may have been chosen on these folds, or the means flatter it.
        count: Folds, at least 2.
        out: The JSON to write; a call that was interrupted goes on from it.
        work_dir: Where training states are kept; None: beside `out`, removed at the end.
        data_root: Where the recipe's relative paths start.
        steps: Who watches.

    Raises:
        UsageError: Fewer than two folds.
        BedsideError: See `export_recipe`.
    """
    if count < 2:
        raise UsageError(f"{count} folds, at least 2 are needed", where="--folds")
    check_writable(out)
    steps = steps or Silent()
    work = out.with_name(f"{out.stem}.work") if work_dir is None else Path(work_dir)
    digest = hashlib.sha256(msgspec.json.encode((recipe, count))).hexdigest()
    done = _resume(out, digest, count)
    parameters = 0 if done is None else done.parameters
    folds = [] if done is None else list(done.folds)
    for index in range(len(folds), count):
        steps.say(f"fold {index + 1} of {count}")
        with tempfile.TemporaryDirectory(prefix="bedside-") as folder:
            try:
                result = export_recipe(
                    recipe,
                    Path(folder) / "fold.bedside",
                    work_dir=work,
                    data_root=data_root,
                    fold=Fold(index, count),
                    steps=steps,
                )
            except GateError as error:
                raise GateError(f"fold {index + 1} of {count}: {error.what}", where=error.where) from None
        assert result is not None
        o = result.outcome
        parameters = o.parameters
        held_out = next(s for s in o.splits if s.name == "holdout")
        folds.append(
            FoldResult(
                index=index,
                samples=held_out.samples,
                groups=held_out.groups,
                sha256=held_out.sha256,
                value=o.reference.value,
                others=o.reference.others,
                variants=tuple(
                    FoldVariant(
                        v.id,
                        v.measured.marks.value,
                        v.measured.marks.others,
                        v.measured.agreement,
                        v.refused,
                        v.bytes,
                    )
                    for v in o.variants
                    if v.measured is not None
                ),
                seconds=0.0 if o.training is None else o.training.seconds,
            )
        )
        sign = 1.0 if o.reference.higher_is_better else -1.0
        done = FoldsResult(
            recipe.name, o.reference.metric, tuple(folds), _means(folds, sign), parameters, digest
        )
        with replacing(out) as file:
            file.write(msgspec.json.format(msgspec.json.encode(done), indent=1))
    if work_dir is None:
        shutil.rmtree(work, ignore_errors=True)
    assert done is not None
    return done


def _resume(out: Path, digest: str, count: int) -> FoldsResult | None:
    try:
        found = msgspec.json.decode(out.read_bytes(), type=FoldsResult)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.sha256 == digest and len(found.folds) < count else None


def _means(folds: list[FoldResult], sign: float) -> tuple[Mean, ...]:
    keras = [f.value for f in folds]
    means = [Mean("Keras fp32", float(np.mean(keras)), _interval(keras))]
    ids = dict.fromkeys(v.id for f in folds for v in f.variants)
    for name in ids:
        found = [(f.value, v) for f in folds for v in f.variants if v.id == name]
        values = [v.value for _, v in found]
        means.append(
            Mean(
                name,
                float(np.mean(values)),
                _interval(values),
                float(np.mean([sign * (k - v.value) for k, v in found])),
                sum(v.refused is None for _, v in found),
            )
        )
    return tuple(means)


def _interval(values: list[float]) -> tuple[float, float] | None:
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return None
    half = float(stats.t.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean - half, mean + half
