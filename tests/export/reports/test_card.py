from typing import Any

import msgspec
import pytest

from bedside.export.reports.card import card
from bedside.export.reports.outcome import RESEARCH_ONLY, ExportOutcome
from bedside.export.reports.wording import kilobytes, sentence
from bedside.runtime.bundle.decode import OutOfDistribution, ReconstructionDecode


@pytest.fixture(scope="module")
def outcome(exported: Any) -> ExportOutcome:
    found: ExportOutcome = exported.outcome
    return found


def test_it_says_what_a_reader_must_know(outcome: ExportOutcome) -> None:
    text = card(outcome)
    assert text.startswith("# ramps 1.0.0\n")
    assert text.count(RESEARCH_ONLY) == 1
    for heading in (
        "Intended use",
        "What it does",
        "How it was made",
        "Data",
        "How good it is",
        "Variants",
        "Known limits",
    ):
        assert f"\n## {heading}\n" in text
    assert "drawn ramps" in text
    assert "CC0" in text
    assert "| train | 180 | 180 | 60 | 60 | 60 |" in text
    assert "on 90 holdout frames: accuracy" in text
    assert "Wilson" in text
    assert all(f"`{v.id}`" in text for v in outcome.variants)
    assert "180 training frames" in text
    assert "known to their author alone" in text, "the weights came from elsewhere"


def test_it_does_not_depend_on_the_speed_of_this_host(outcome: ExportOutcome) -> None:
    def slower(v: Any) -> Any:
        return msgspec.structs.replace(v, measured=msgspec.structs.replace(v.measured, invoke_ms=1e3))

    slow = msgspec.structs.replace(outcome, variants=tuple(slower(v) for v in outcome.variants))
    assert card(slow) == card(outcome)


def test_refused_variants_and_mistakes_are_told(outcome: ExportOutcome) -> None:
    first, *rest = outcome.variants
    refused = msgspec.structs.replace(first, refused="recall of 'a|b' fell", shipped=False)
    confused = msgspec.structs.replace(outcome.reference, confusion=((30, 0, 0), (4, 26, 0), (0, 1, 29)))
    text = card(msgspec.structs.replace(outcome, variants=(refused, *rest), reference=confused))
    assert f"- `{first.id}`: recall of 'a\\|b' fell" in text
    assert "ramp down taken for flat (4), ramp right taken for ramp down (1)" in text


def test_hostile_text_stays_in_its_cell(outcome: ExportOutcome) -> None:
    labels = ("a|b\n# heading", *outcome.labels[1:])
    classes = tuple(
        msgspec.structs.replace(c, label=label)
        for c, label in zip(outcome.reference.classes, labels, strict=True)
    )
    reference = msgspec.structs.replace(outcome.reference, classes=classes)
    text = card(msgspec.structs.replace(outcome, labels=labels, reference=reference))
    assert "\n# heading" not in text
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| split")}
    assert widths == {8}


@pytest.mark.parametrize(
    ("task", "wanted"),
    [
        (
            "segmentation",
            ("gives every pixel a class: polyp, tool", "mean Dice 0.", "hides the frame", "| polyp |"),
        ),
        ("detection", ("draws a box around each", "AP50 1.000", "No box does not mean", "precision")),
        ("translation", ("another picture", "SSIM", "plausible, not true", "the input itself")),
        ("generation", ("draws pictures", "texture distance", "repeat training frames", "8 standard normal")),
    ],
)
def test_every_task_says_what_it_does_and_how_it_fails(told: Any, task: str, wanted: tuple[str, ...]) -> None:
    text = card(told[task].outcome)
    for words in (*wanted, RESEARCH_ONLY, "epoch 2 were kept"):
        assert words in text, words
    assert "None" not in text
    assert "nan" not in text


def test_a_guard_and_layers_in_float_are_told(told: Any) -> None:
    o = told["segmentation"].outcome
    out = OutOfDistribution(error_scale=4.0, threshold=1.25, false_alarm=0.01, samples=120)
    kept = msgspec.structs.replace(o.variants[0], kept_float=("head|1",))
    guarded = msgspec.structs.replace(
        o, guard=ReconstructionDecode(out=out), guard_bundle="colon 1.0.0", variants=(kept,)
    )
    text = card(guarded)
    assert "the autoencoder of colon 1.0.0" in text
    assert "1.00 % of frames like them are withheld" in text
    assert "keeps 1 layers in float, because int8 cost too much there: head\\|1." in text
    assert "out-of-distribution threshold was chosen on the holdout" in text


def test_small_helpers() -> None:
    assert (kilobytes(999), kilobytes(29_352), kilobytes(2_500_000), kilobytes(None)) == (
        "1.0 kB",
        "29.4 kB",
        "2.50 MB",
        "-",
    )
    assert (sentence("a note"), sentence("A note."), sentence("")) == ("A note.", "A note.", "")
