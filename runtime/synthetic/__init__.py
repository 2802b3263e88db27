"""Seeded pictures with ground truth: ultrasound, endoscopy, and what is neither."""

from bedside.runtime.synthetic.classes import LABELS, ClassesScene, Label, labelled_sample
from bedside.runtime.synthetic.endoscopy import EndoscopyScene
from bedside.runtime.synthetic.golden import golden_frames
from bedside.runtime.synthetic.patterns import PATTERNS, PatternKind, PatternScene, pattern_sample
from bedside.runtime.synthetic.scene import LoopedScene, Scene, SyntheticFrame, Truth, frame
from bedside.runtime.synthetic.ultrasound import UltrasoundScene

__all__ = [
    "LABELS",
    "PATTERNS",
    "ClassesScene",
    "EndoscopyScene",
    "Label",
    "LoopedScene",
    "PatternKind",
    "PatternScene",
    "Scene",
    "SyntheticFrame",
    "Truth",
    "UltrasoundScene",
    "frame",
    "golden_frames",
    "labelled_sample",
    "pattern_sample",
]
