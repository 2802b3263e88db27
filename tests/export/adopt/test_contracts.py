import subprocess
import sys
from typing import get_args

import pytest

from bedside.export.adopt.contracts import LABELLED, TASKS, requirements
from bedside.export.adopt.options import AdoptOptions
from bedside.runtime.bundle.manifest import Task
from bedside.runtime.errors import UsageError


@pytest.mark.parametrize("task", TASKS)
def test_requirements_are_for_a_terminal(task: Task) -> None:
    text = requirements(task)
    assert "(N, " in text
    assert text == text.strip()
    assert max(map(len, text.splitlines())) <= 116
    assert "no Lambda layer" in text
    assert ("standard normal" in text) == (task == "generation")
    assert ("pixels 0..255" in text) == (task != "generation")


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("classification", ("--scores logits", "[1 - p, p]", "GlobalAveragePooling2D")),
        ("segmentation", ("background first", "argmax")),
        ("detection", ("--coding xyxy|yxyx|cxcywh", "--background first|last", "--units", "--activation")),
        ("reconstruction", ("--range LOW,HIGH", "(N, D)")),
        ("translation", ("--range LOW,HIGH",)),
        ("generation", ("standard normal",)),
    ],
)
def test_every_option_is_named(task: Task, words: tuple[str, ...]) -> None:
    for word in words:
        assert word in requirements(task)


def test_every_task_is_exported_but_embedding() -> None:
    assert {*TASKS, "embedding"} == set(get_args(Task))
    assert set(LABELLED) < set(TASKS)
    with pytest.raises(UsageError, match="embedding"):
        requirements("embedding")


def test_no_tensorflow_is_needed_to_read_them() -> None:
    code = (
        "import sys; from bedside.export.adopt import contracts, options; contracts.requirements('detection');"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (AdoptOptions(low=0.0), "two ends"),
        (AdoptOptions(low=1.0, high=0.0), "1 is not below 0"),
        (AdoptOptions(threshold=1.5), "1.5 is not within 0..1"),
        (AdoptOptions(iou=-0.5), "--iou"),
        (AdoptOptions(boxes=(0, 1), box_scores=(2,)), "2 box outputs and 1 score outputs"),
        (AdoptOptions(limit=0), "1..1000"),
    ],
)
def test_options_that_contradict_themselves(options: AdoptOptions, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        options.check()
    assert words in str(caught.value)


def test_the_defaults_hold_together() -> None:
    AdoptOptions().check()
    AdoptOptions(low=-1.0, high=1.0, iou=None, boxes=("b",), box_scores=("s",)).check()
