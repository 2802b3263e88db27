from typing import Any

import numpy as np
import pytest

from bedside.export.reports import drawing
from bedside.export.reports.charts import histogram, reliability


def groups(told: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for one in told.shown:
        found.setdefault(one.group, []).append(one)
    return found


def test_the_lowest_and_the_highest_dice_are_shown(told: Any) -> None:
    found = groups(told["segmentation"])
    low, high = found["Lowest Dice of tflite-int8"], found["Highest Dice of tflite-int8"]
    assert (len(low), len(high)) == (8, 4)
    values = [[float(s.verdict.removeprefix("Dice ")) for s in part] for part in (low, high)]
    assert values[0] == sorted(values[0])
    assert values[1] == sorted(values[1], reverse=True)
    assert max(values[0]) <= min(values[1])
    numbers = [int(s.key.rsplit("/")[-1]) // 2 for s in low]
    assert len(set(numbers)) == len(numbers), "one frame per group, where there are enough"


def test_false_boxes_come_first_and_are_drawn_in_their_own_colour(told: Any) -> None:
    found = groups(told["detection"])
    worst = found["Most mistakes of tflite-int8"]
    assert all(s.verdict == "1 of 1 found, 1 false" and s.good is False for s in worst)
    assert all(s.lines == ("Keras: 1 of 1 found",) for s in worst)
    wrong = np.array(drawing.bgr_of(drawing.WRONG))
    assert all((s.picture == wrong).all(axis=2).any() for s in worst)
    best = found["Everything found, best fit"]
    assert all(s.verdict == "1 of 1 found" and s.good for s in best)
    assert not any((s.picture == wrong).all(axis=2).any() for s in best)


def test_pictures_that_come_out_stand_beside_what_they_should_be(told: Any) -> None:
    for one in told["translation"].shown:
        height, width, _ = one.picture.shape
        assert width == 3 * height + 8, "input, output, target"
    sheets = told["generation"].shown
    assert [s.verdict for s in sheets] == [
        "Drawn by tflite-int8",
        "Drawn by Keras from the same latents",
        "Real frames of the holdout",
    ]
    assert len({s.picture.shape for s in sheets}) == 1


def test_what_the_pipeline_shows_of_a_classifier(exported: Any) -> None:
    page = exported.report.read_text()
    assert "Right, and least sure" in page
    assert "Right, and surest of each class" in page
    assert all(f"holdout/{i:04d}" not in page or i < 90 for i in range(200))


def test_a_map_is_drawn_where_the_evidence_is_and_nowhere_else() -> None:
    canvas = np.full((40, 40, 3), 100, np.uint8)
    evidence = np.zeros((4, 4), np.float32)
    evidence[0, 0], evidence[3, 3] = 2.0, -5.0
    shown = drawing.heated(canvas, evidence)
    assert not np.array_equal(shown[:5, :5], canvas[:5, :5])
    assert np.array_equal(shown[20:, 20:], canvas[20:, 20:]), "evidence against the class is not shown"
    assert np.array_equal(drawing.heated(canvas, -np.ones((4, 4), np.float32)), canvas)


@pytest.mark.parametrize(("side", "shown"), [(28, 308), (320, 320), (700, 320), (3, 321)])
def test_pictures_are_about_one_width(side: int, shown: int) -> None:
    assert drawing.picture(np.zeros((side, side, 1), np.uint8), "gray").shape == (shown, shown, 3)


def test_colours_come_out_as_they_went_in() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[:, :, 0] = 255
    assert drawing.picture(red, "rgb")[0, 0].tolist() == [0, 0, 255]
    assert drawing.picture(red, "bgr")[0, 0].tolist() == [255, 0, 0]
    assert drawing.bgr_of("#010203") == (3, 2, 1)


def test_a_histogram_splits_at_its_limit() -> None:
    values = [0.1] * 5 + [1.0] * 3 + [1.2]
    page = histogram(values, title="t", x_label="x", y_label="y", limit=1.0, limit_label="limit")
    assert page.count("fill bad") == 1, "what is at the limit is within it"
    assert "nan" not in page
    one = histogram([0.5], title="t", x_label="x", y_label="y", limit=0.7, limit_label="limit")
    assert one.count("<rect") == 1


def test_a_reliability_diagram_has_a_dot_per_bin() -> None:
    bins = ((0.5, 0.5, 0.4, 10), (0.9, 0.9, 0.95, 40))
    page = reliability([("a", bins), ("b", bins[:1])], title="t", x_label="x", y_label="y")
    assert page.count("<circle") == 3
    assert "0.90 stated, 0.95 right, 40 samples" in page


def test_class_activation_maps_of_the_default_variant_stand_beside_the_frames(
    data: Any, tmp_path: Any
) -> None:
    from bedside.export.backend import keras
    from bedside.export.pipeline import Plan, export_model
    from bedside.export.recipe import GateRecipe, QuantizationRecipe

    # Brightness alone tells flat frames from ramps: better than guessing, and mistakes remain to be shown.
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    x = np.stack([item.load()[0] for item in data.train.items]).astype(np.float32)
    y = np.array([item.label for item in data.train.items])
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=15, verbose=0)
    plan = Plan(
        name="maps",
        quantization=QuantizationRecipe(variants=("tflite-fp32",)),
        gate=GateRecipe(relative=0.5, worst_class=0.0, min_agreement=0.0),
    )
    result = export_model(model, data, tmp_path / "maps.bedside", plan)
    assert result.outcome.decode.map is not None
    page = result.report.read_text()
    assert "Surest mistakes of Keras" in page
    # 16 px are shown 20 times as large; frame and map stand side by side with a gap of 4.
    assert 'width="644" height="320"' in page
