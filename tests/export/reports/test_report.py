import html.parser
import json
from typing import Any

import msgspec
import numpy as np
import pytest

from bedside.export.reports.outcome import RESEARCH_ONLY, EngineCheck, Training
from bedside.export.reports.record import Bundled, report_json
from bedside.export.reports.report import Shown, report_html

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
    assert record["reference"]["interval_95_wilson"][0] < record["reference"]["accuracy"]
    assert [v["id"] for v in record["variants"]] == [v.id for v in exported.outcome.variants]
    for variant in record["variants"]:
        assert np.array(variant["confusion"]).sum() == 90
        assert variant["drop"] == pytest.approx(record["reference"]["accuracy"] - variant["accuracy"])
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
    shown = Shown("a<script>", np.zeros((16, 16, 3), np.uint8), 1, (0.9, 0.1, 0.0), (0.8, 0.1, 0.1))
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


def test_one_grey_frame_can_be_shown(exported: Any) -> None:
    spec = msgspec.structs.replace(exported.outcome.input, channels=1, color="gray")
    outcome = msgspec.structs.replace(exported.outcome, input=spec)
    shown = Shown("k", np.full((16, 16, 1), 9, np.uint8), 0, (0.9, 0.1, 0.0), (0.8, 0.1, 0.1))
    assert "data:image/png" in report_html(outcome, (), BUNDLE, (shown,))


def test_json_without_training(exported: Any) -> None:
    assert json.loads(report_json(exported.outcome, (), BUNDLE))["training"] is None
