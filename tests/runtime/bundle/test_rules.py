"""`bundle.json`: what it may say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.runtime.bundle import rules
from bedside.runtime.bundle.manifest import MAX_TOLERANCE, Manifest
from bedside.runtime.errors import BundleError

Change = Callable[[dict[str, Any]], bytes]

VARIANT = "models.main.variants.0"
HERE = "0.1.0"


def refused(data: bytes) -> str:
    with pytest.raises(ValueError) as caught:
        rules.decode(data, HERE)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def test_it_comes_back(content: Any) -> None:
    stored = rules.encode(content[0])
    assert rules.decode(stored, HERE) == content[0]
    assert rules.encode(rules.decode(stored, HERE)) == stored


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """Every place in plain data, the root aside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        here = f"{path}.{key}" if path else str(key)
        yield here
        yield from _paths(inner, here)


def test_an_unknown_key_anywhere_is_refused_and_named(plain: dict[str, Any], change: Change) -> None:
    objects = [""]
    for path in _paths(plain):
        place: Any = plain
        for key in path.split("."):
            place = place[int(key)] if isinstance(place, list) else place[key]
        if isinstance(place, dict):
            objects.append(path + ".")
    assert len(objects) > 20
    for prefix in objects:
        assert "surprise" in refused(change({f"{prefix}surprise": 1})), prefix


def test_a_missing_key_anywhere_is_refused_or_has_a_default(plain: dict[str, Any], change: Change) -> None:
    required = 0
    for path in _paths(plain):
        if path.split(".")[-1].isdigit():
            continue
        try:
            rules.decode(change({path: ...}), HERE)
        except ValueError as error:
            required += 1
            assert "\n" not in str(error)
    assert required > 40


@given(data=st.data())
def test_whatever_it_says_nothing_but_a_value_error_comes_out(
    plain: dict[str, Any], change: Change, data: st.DataObject
) -> None:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    values = st.one_of(
        scalars,
        st.just([]),
        st.just({}),
        st.just(""),
        st.sampled_from(
            [-1, 0, 1, 2, 300, 1 << 31, 1 << 70, 1e308, "tflite", "main", "golden/x.npy", "a" * 5000]
        ),
        st.lists(scalars, max_size=3),
        st.dictionaries(st.text(max_size=4), scalars, max_size=2),
    )
    paths = list(_paths(plain))
    chosen = data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=2, unique=True))
    if len(chosen) == 2 and chosen[1].startswith(chosen[0]):
        chosen = chosen[:1]
    changed = change({path: data.draw(values) for path in chosen})
    try:
        manifest = rules.decode(changed, HERE)
    except ValueError as error:
        assert str(BundleError(str(error))).isprintable()
    else:
        assert rules.decode(rules.encode(manifest), HERE) == manifest


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(msgspec.json.encode)
)
def test_junk_is_refused(data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xef\xbb\xbf{}",
        b"null",
        b"[]",
        b"{",
        b"[" * 500_000,
        b'{"a":' * 500_000,
        b'{"format_version":1,"min_runtime":"0.1.0","x":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
        b'{"format_version":NaN,"min_runtime":"0.1.0"}',
        b'{"format_version":Infinity,"min_runtime":"0.1.0"}',
        b'{"format_version":1e999,"min_runtime":"0.1.0"}',
        b'{"format_version":"1","min_runtime":"0.1.0"}',
        b'{"format_version":1.5,"min_runtime":"0.1.0"}',
        b'{"format_version":true,"min_runtime":"0.1.0"}',
        b'{"format_version":' + b"9" * 100_000 + b',"min_runtime":"0.1.0"}',
        b'{"format_version":1,"min_runtime":1}',
        b'{"format_version":1,"min_runtime":"\xff"}',
        b'{"format_version":1,"min_runtime":"\\ud800"}',
        b'{"format_version":0,"min_runtime":"0.1.0"}',
        b'{"format_version":-1,"min_runtime":"0.1.0"}',
        b"{'format_version':1}",
        b'{"format_version":1,}',
        b'// comment\n{"format_version":1}',
    ],
    ids=lambda d: repr(d[:40]),
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    message = refused(data)
    assert message.startswith("bundle.json: ")
    assert len(message) < 300


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x10", "1_0", "01"])
def test_numbers_that_json_does_not_have_are_refused(plain: dict[str, Any], number: str) -> None:
    data = json.dumps({**plain, "eval_metrics": {"accuracy": 123.25}}).replace("123.25", number)
    refused(data.encode())


def test_a_newer_format_says_so_whatever_else_it_has(plain: dict[str, Any]) -> None:
    for extra in ({"surprise": 1}, {"models": None}, {"min_runtime": "9.0.0"}):
        message = refused(msgspec.json.encode({**plain, "format_version": 2, **extra}))
        assert message.startswith("too new: format 2")
        assert HERE in message
    assert refused(b'{"format_version":2,"min_runtime":"1.0.0"}').startswith("too new")
    assert refused(b'{"format_version":123456789012345678901234567890,"min_runtime":"1"}').startswith(
        "too new"
    )


@pytest.mark.parametrize(
    ("asked", "here", "new_enough"),
    [
        ("0.1.0", "0.1.0", True),
        ("0.1.0", "0.1", True),
        ("0.1.0", "0.1.0.dev3", True),
        ("0.1.0", "0.1.0+local", True),
        ("0.1.0", "0.2.0", True),
        ("0.1.0", "0.10.0", True),
        ("0.2.0", "0.10.0", True),
        ("0.1.1", "0.1.0", False),
        ("0.2.0", "0.1.9", False),
        ("1.0.0", "0.9.9", False),
        ("0.10.0", "0.9.0", False),
        ("10.0.0", "9.0.0", False),
        ("0.1.0", "unknown", False),
    ],
)
def test_min_runtime(asked: str, here: str, new_enough: bool, change: Change) -> None:
    data = change({"min_runtime": asked})
    if new_enough:
        rules.decode(data, here)
    else:
        with pytest.raises(ValueError, match="too new"):
            rules.decode(data, here)


#: What is changed, and what the refusal must name.
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"models.main": ...}, "main"),
    ({"models": {}}, "main"),
    ({"models.spare": {}}, "spare"),
    ({"task": "segmentation"}, "task"),
    ({"name": "Small"}, "name"),
    ({"name": "small\n"}, "name"),
    ({"name": "../small"}, "name"),
    ({"name": ""}, "name"),
    ({"name": "a" * 65}, "name"),
    ({"version": "1.0"}, "version"),
    ({"version": "1.0.0\n"}, "version"),
    ({"version": "1.0.0-rc1"}, "version"),
    ({"version": "\u0661.0.0"}, "version"),
    ({"min_runtime": "abc"}, "min_runtime"),
    ({"card.sha256": "0" * 63}, "sha256"),
    ({"card.sha256": "0" * 64 + "\n"}, "sha256"),
    ({"card.sha256": "A" * 64}, "sha256"),
    ({"card.bytes": 0}, "bytes"),
    ({"card.bytes": -1}, "bytes"),
    ({"card.bytes": 1 << 40}, "bytes"),
    ({"card.bytes": 1.5}, "bytes"),
    ({"card.bytes": "7"}, "bytes"),
    ({"card.file": "bundle.json"}, "card"),
    ({"card.file": "signatures.json"}, "card"),
    ({"card.file": "golden/main-input.npy"}, "card"),
    ({"eval_metrics": {"x" * 300: 1.0}}, "eval_metrics"),
    ({"eval_metrics": {"x": "high"}}, "eval_metrics"),
    ({"description": "x" * 5000}, "description"),
    ({"models.main.default": "nothing"}, "default"),
    ({"models.main.variants": []}, "variants"),
    ({"models.main.variants.1.id": "tflite-fp32"}, "twice"),
    ({f"{VARIANT}.id": "renamed"}, "default"),
    ({f"{VARIANT}.id": "renamed", "models.main.default": "renamed"}, "golden.variants"),
    ({f"{VARIANT}.refused": "drops 3 points"}, "refused"),
    ({f"{VARIANT}.file": ...}, "default"),
    ({f"{VARIANT}.file": ..., "models.main.default": "onnx-fp32"}, "golden.variants"),
    ({f"{VARIANT}.file": "models/main-onnx-fp32.onnx"}, "file"),
    ({f"{VARIANT}.file": "golden/main-tflite-fp32.tflite"}, "file"),
    ({f"{VARIANT}.file": "README.md"}, "file"),
    ({f"{VARIANT}.inputs": []}, "inputs"),
    ({f"{VARIANT}.inputs.0.shape": [1, 2, 3, 3]}, "shape"),
    ({f"{VARIANT}.inputs.0.shape": [1, 3, 2, 2]}, "shape"),
    ({f"{VARIANT}.inputs.0.dtype": "float32"}, "dtype"),
    ({f"{VARIANT}.inputs.0.dtype": "object"}, "dtype"),
    ({f"{VARIANT}.inputs.0.quantization": {"scale": 0.0}}, "scale"),
    ({f"{VARIANT}.inputs.0.quantization": {"scale": -1.0}}, "scale"),
    ({f"{VARIANT}.outputs": []}, "outputs"),
    ({f"{VARIANT}.outputs.0.shape": []}, "labels"),
    ({f"{VARIANT}.outputs.0.shape": [1, 3]}, "labels"),
    ({f"{VARIANT}.outputs.0.shape": [2, 2]}, "labels"),
    ({f"{VARIANT}.outputs.0.shape": [1, 0]}, "shape"),
    ({f"{VARIANT}.outputs.0.shape": [1, -2]}, "shape"),
    ({f"{VARIANT}.outputs.0.shape": [1 << 20, 2]}, "shape"),
    ({f"{VARIANT}.outputs.0.shape": [1] * 8 + [2]}, "shape"),
    ({"models.main.outputs": []}, "outputs"),
    ({"models.main.outputs": ["a", "b"]}, "outputs"),
    ({"models.main.decode.output": 1}, "output"),
    ({"models.main.decode.output": -1}, "output"),
    ({"models.main.decode.labels": ["one"]}, "labels"),
    ({"models.main.decode.labels": ["a", "b", "c"]}, "labels"),
    ({"models.main.decode.labels": ["a", "b" * 300]}, "labels"),
    ({"models.main.decode.task": "mystery"}, "task"),
    ({"models.main.input.width": 0}, "width"),
    ({"models.main.input.width": 1 << 20}, "width"),
    ({"models.main.input.channels": 1}, "channels"),
    ({"models.main.input.channels": 4}, "channels"),
    ({"models.main.input.color": "gray"}, "channels"),
    ({"models.main.input.resize": "squash"}, "resize"),
    ({"models.main.input.pad": 256}, "pad"),
    ({"models.main.input.quantization": {"scale": 1.0, "zero_point": 1 << 20}}, "zero_point"),
    ({"models.main.input.normalization": {"mean": [], "std": [1.0]}}, "mean"),
    ({"models.main.input.normalization": {"mean": [0.0, 1.0], "std": [1.0]}}, "mean"),
    ({"models.main.input.normalization": {"mean": [0.0], "std": [1.0, 1.0]}}, "std"),
    ({"models.main.input.normalization": {"mean": [0.0], "std": [0.0]}}, "std"),
    ({"models.main.golden.variants": []}, "variants"),
    ({"models.main.golden.variants.0.variant": "other"}, "golden.variants"),
    ({"models.main.golden.variants.1.variant": "tflite-fp32"}, "golden.variants"),
    ({"models.main.golden.variants.0.outputs": []}, "outputs"),
    ({"models.main.golden.variants.0.tolerance": MAX_TOLERANCE * 1.001}, "tolerance"),
    ({"models.main.golden.variants.0.tolerance": -0.1}, "tolerance"),
    ({"models.main.golden.pixel_tolerance": 5}, "pixel_tolerance"),
    ({"models.main.golden.engine.input.file": "models/main-onnx-fp32.onnx"}, "golden"),
    ({"models.main.golden.engine.input.file": "README.md"}, "golden"),
    ({"models.main.golden.engine.input.file": "golden/main-frame-0.npy"}, "twice"),
    ({"models.main.golden.frames.0.sample": -1}, "sample"),
    ({"provenance": {}}, "created_utc"),
]


@pytest.mark.parametrize(("values", "named"), BROKEN, ids=lambda v: str(v)[:70])
def test_what_contradicts_itself_is_refused_and_named(
    values: dict[str, Any], named: str, change: Change
) -> None:
    message = refused(change(values))
    assert named in message
    assert len(message) < 6000


def test_a_refused_variant_is_recorded_without_its_file(change: Change) -> None:
    decoded = rules.decode(
        change(
            {
                f"{VARIANT}.file": ...,
                f"{VARIANT}.refused": "accuracy fell from 0.95 to 0.60",
                "models.main.golden.variants.0": ...,
                "models.main.default": "onnx-fp32",
            }
        ),
        HERE,
    )
    assert [v.id for v in decoded.main.shipped] == ["onnx-fp32"]
    assert decoded.main.variants[0].refused


def test_what_is_not_finite_cannot_be_written(content: Any) -> None:
    manifest: Manifest = content[0]
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError):
            rules.encode(msgspec.structs.replace(manifest, eval_metrics={"accuracy": value}))


@given(st.text(max_size=20))
def test_any_text_as_a_version_gives_three_numbers(text: str) -> None:
    assert len(rules.version_tuple(text)) == 3
