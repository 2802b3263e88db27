"""From a task to its kit."""

from __future__ import annotations

from bedside.export.tasks.classification import ClassificationKit
from bedside.export.tasks.detection import DetectionKit
from bedside.export.tasks.pictures import GenerationKit, ReconstructionKit, TranslationKit
from bedside.export.tasks.protocol import TaskKit
from bedside.export.tasks.segmentation import SegmentationKit
from bedside.runtime.bundle.manifest import Task
from bedside.runtime.errors import UsageError


def kit_for(task: Task, labels: tuple[str, ...]) -> TaskKit:
    """The kit of a task.

    Raises:
        UsageError: Nothing is exported for this task.
    """
    match task:
        case "classification":
            return ClassificationKit(labels)
        case "segmentation":
            return SegmentationKit(labels)
        case "detection":
            return DetectionKit(labels)
        case "reconstruction":
            return ReconstructionKit()
        case "translation":
            return TranslationKit()
        case "generation":
            return GenerationKit()
        case _:
            raise UsageError(f"{task} models are not exported", hint="bedside pack takes finished files")
