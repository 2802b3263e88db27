import html.parser
import json
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.export.convert.sensitivity import LayerError
from bedside.export.reports.cases import Shown
from bedside.export.reports.outcome import RESEARCH_ONLY, EngineCheck, Training
from bedside.export.reports.record import Bundled, report_json
from bedside.export.reports.report import report_html
from bedside.runtime.bundle.decode import OutOfDistribution, ReconstructionDecode
from bedside.runtime.bundle.manifest import HostSpeed

BUNDLE = Bundled(file="ramps.bedside", digest="ab" * 32, bytes=1234)


class Reader(html.parser.HTMLParser):
    """Collects text, and every place a browser would go to."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_on_disk_needs_nothing_but_itself(exported: Any) -> None:
    reader = read(exported.report.read_text())
    assert "script" not in reader.tags
    assert reader.links
    assert all(link.startswith("data:image/") for link in reader.links)


def test_the_page_tells_everything(exported: Any) -> None:
    text = " ".join(read(exported.report.read_text()).text)
    for wanted in (
        exported.digest,
        *(v.id for v in exported.outcome.variants),
        *exported.outcome.labels,
        *(s.sha256[:16] for s in exported.outcome.splits),
        *exported.outcome.tools,
        "drawn ramps",
        "Rescaling",
        "180 training frames",
        "trained elsewhere",
        RESEARCH_ONLY,
    ):
        assert wanted in text, wanted


def test_the_json_says_the_same(exported: Any) -> None:
    record = json.loads(exported.report_json.read_text())
    assert record["schema"] == 1
    assert record["bundle"] == {
        "file": "ramps.bedside",
        "digest": exported.digest,
        "bytes": exported.path.stat().st_size,
    }
    assert record["reference"]["samples"] == 90
    assert record["reference"]["metric"] == "accuracy"
    assert record["reference"]["interval_95"][0] < record["reference"]["value"]
    assert [v["id"] for v in record["variants"]] == [v.id for v in exported.outcome.variants]
    for variant in record["variants"]:
        assert np.array(variant["confusion"]).sum() == 90
        assert variant["drop"] == pytest.approx(record["reference"]["value"] - variant["value"])
        assert variant["shipped"]
    assert all(check["passed"] for check in record["engines"])
    assert record["gate"]["relative"] == 0.99


def test_training_refusals_and_disagreements_are_shown(exported: Any) -> None:
    refused = msgspec.structs.replace(exported.outcome.variants[2], refused="it collapsed <b>", shipped=False)
    outcome = msgspec.structs.replace(
        exported.outcome,
        variants=(*exported.outcome.variants[:2], refused, *exported.outcome.variants[3:]),
        training=Training(
            {"loss": (1.0, 0.5), "val_loss": (1.1, 0.7)}, best_epoch=2, seconds=3.2, resumed_from=1
        ),
    )
    checks = (
        EngineCheck("tflite-int8", "litert 2", 1, 0.0, 0.05, 0.1, 40),
        EngineCheck("tflite-int8", "openvino 2026", 1, 0.2, 0.05, 0.1, 40),
        EngineCheck("onnx-fp32", "openvino 2026", 1, None, 0.05, None, 0, "cannot read it"),
    )
    shown = Shown(
        group="Worst", key="a<script>", picture=np.zeros((16, 16, 3), np.uint8), verdict="flat 0.90",
        good=False, lines=("is ramp down",), legend=(("truth", "#56b4e9"),),
    )  # fmt: skip
    page = report_html(outcome, checks, BUNDLE, (shown,))
    text = " ".join(read(page).text)
    assert "<b>" not in page
    assert "<script>" not in page
    for wanted in (
        "it collapsed <b>",
        "2 epochs in 3 s, resumed after epoch 1",
        "cannot read it",
        "is ramp down",
    ):
        assert wanted in text, wanted
    assert text.count("would be refused") == 2
    assert page.count("<polyline") + page.count("<path") >= 2


ALWAYS = {
    "Result",
    "Variants",
    "Data",
    "Input and outputs",
    "Provenance",
    "Frames of the holdout",
    "Training",
}


@pytest.mark.parametrize(
    ("task", "sections"),
    [
        ("segmentation", {"Per class"}),
        ("detection", {"Per class", "Confidence"}),
        ("translation", set()),
        ("generation", set()),
    ],
)
def test_a_task_has_the_sections_that_apply_and_no_others(told: Any, task: str, sections: set[str]) -> None:
    one = told[task]
    page = report_html(one.outcome, (), BUNDLE, one.shown)
    reader = read(page)
    headings = {part.split("</h2>")[0] for part in page.split("<h2>")[1:]}
    assert headings == ALWAYS | sections
    assert page.count("data:image/") == len(one.shown) == reader.tags.count("img")
    assert "nan" not in " ".join(reader.text).lower().split()
    assert (
        json.loads(report_json(one.outcome, (), BUNDLE))["reference"]["metric"]
        == one.outcome.reference.metric
    )


def test_layers_speed_and_the_guard_are_shown(told: Any) -> None:
    o = told["segmentation"].outcome
    layers = (
        LayerError("enc<1>", "CONV_2D", 0.02),
        LayerError("head", "CONV_2D", 0.4),
        LayerError("up", "X", None),
    )
    speed = HostSpeed(host="A CPU, litert 2", threads=1, invoke_ms=1.0, reference_ms=2.5, faster=True)
    variant = msgspec.structs.replace(o.variants[0], kept_float=("head",), layers=layers, speed=speed)
    out = OutOfDistribution(error_scale=4.0, threshold=1.25, false_alarm=0.01, samples=5)
    outcome = msgspec.structs.replace(
        o, variants=(variant,), guard=ReconstructionDecode(out=out), guard_bundle="colon 1.0.0",
        guard_scores=(0.5, 0.6, 0.7, 1.25, 1.4),
    )  # fmt: skip
    page = report_html(outcome, (), BUNDLE)
    text = " ".join(read(page).text)
    for wanted in (
        "1 of 3 float", "head (float)", "enc<1>", "Kept in float: 1 of 3 layers: head.",
        "faster here", "On this host alone (A CPU, litert 2)", "0.40",
        "Out of distribution", "colon 1.0.0", "1 of 5", "withheld beyond",
    ):  # fmt: skip
        assert wanted in text, wanted
    record = json.loads(report_json(outcome, (), BUNDLE))
    assert record["variants"][0]["layers"][2] == {"name": "up", "op": "X", "error": None}
    assert record["variants"][0]["host_speed"]["faster"] is True
    assert "rows" not in record["variants"][0]


def test_confidence_before_and_after(exported: Any) -> None:
    assert exported.outcome.confidence is not None, "the data has a calibration split"
    text = " ".join(read(exported.report.read_text()).text)
    for wanted in (
        "before calibration, ECE",
        "after calibration, ECE",
        "Coverage on the holdout",
        "60 frames of the",
    ):
        assert wanted in text, wanted


def test_json_without_training(exported: Any) -> None:
    assert json.loads(report_json(exported.outcome, (), BUNDLE))["training"] is None
