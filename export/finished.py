"""An export after the gate, before it is written."""

from __future__ import annotations

import msgspec

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.data.types import DataSet
from bedside.export.gates.evaluate import Holdout
from bedside.export.guarding import Guard
from bedside.export.plan import Plan
from bedside.export.reports.outcome import ExportOutcome
from bedside.export.stages import Judged


class Finished(msgspec.Struct, frozen=True):
    """Everything that bundle and report are made of.

    Attributes:
        outcome: What was found out.
        judged: Variants, with their files.
        model: The Keras model.
        holdout: Frames, truth, and what Keras said of them.
        data: All splits.
        guard: Travels along, where there is one.
        plan: What was wanted.
    """

    outcome: ExportOutcome
    judged: Judged
    model: PixelModel
    holdout: Holdout
    data: DataSet
    guard: Guard | None
    plan: Plan
