"""The TOML that describes somebody else's model file for `bedside pack`."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import msgspec
import numpy as np
from msgspec import Meta

from bedside.runtime import __version__, strict_toml
from bedside.runtime.bundle.manifest import (
    ClassificationDecode,
    DataSource,
    Decode,
    Format,
    InputSpec,
    Line,
    Name,
    Precision,
    Provenance,
    RawDecode,
    Task,
    Text,
    Version,
)
from bedside.runtime.errors import RecipeError
from bedside.runtime.packing import BundleDraft, GoldenInput, ModelDraft, VariantDraft, drawn_goldens

_MAX_MODEL = 512 << 20


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen, and refuses unknown keys."""


class ModelSection(_Strict, frozen=True):
    """`[model]`.

    Attributes:
        precision: Of its arithmetic.
        outputs: A name for each output of the file.
        golden: Pictures to record as golden frames, relative to the TOML. They travel in the bundle.
            Synthetic frames are recorded beside them.
    """

    precision: Precision
    outputs: tuple[Line, ...] = ("output",)
    golden: tuple[str, ...] = ()


class DecodeSection(_Strict, frozen=True):
    """`[decode]`: how the outputs are read; absent for outputs that are handed on undecoded.

    Attributes:
        labels: One per class.
        labels_file: Or a text file with one per line, relative to the TOML.
        output: Index of the score tensor.
        scores: `probabilities` or `logits`.
    """

    labels: tuple[Line, ...] = ()
    labels_file: str | None = None
    output: Annotated[int, Meta(ge=0, le=15)] = 0
    scores: Literal["probabilities", "logits"] = "probabilities"


class PackFile(_Strict, frozen=True):
    """The whole file."""

    name: Name
    version: Version
    description: Text
    intended_use: Text
    licence: Line
    input: InputSpec
    model: ModelSection
    task: Task | Literal["raw"] = "raw"
    decode: DecodeSection | None = None
    authors: Line = ""
    copyright: Line = ""
    data_source: tuple[DataSource, ...] = ()
    notes: tuple[Text, ...] = ()


def read_packfile(path: Path) -> PackFile:
    """Read the TOML strictly.

    Raises:
        RecipeError: With the key's path, and what is allowed there.
    """
    data = strict_toml.read_file(path, error=RecipeError)
    return strict_toml.loads(data, PackFile, error=RecipeError, where=str(path))


def draft_from(packfile: PackFile, folder: Path, model: Path) -> BundleDraft:
    """What is to be packed.

    Args:
        packfile: As read.
        folder: That relative paths start from.
        model: The `.tflite` or `.onnx` file.

    Raises:
        RecipeError: A file is missing or is not what it should be.
    """
    kind = model.suffix.lower().lstrip(".")
    if kind not in ("tflite", "onnx"):
        raise RecipeError(
            f"a {model.suffix or 'nameless'} file", where=str(model), hint="pack takes .tflite and .onnx"
        )
    fmt: Format = "tflite" if kind == "tflite" else "onnx"
    try:
        if model.exists() and not model.is_file():
            raise RecipeError("is no regular file", where=str(model))
        if model.stat().st_size > _MAX_MODEL:
            raise RecipeError(f"larger than {_MAX_MODEL} bytes", where=str(model))
        data = model.read_bytes()
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}", where=str(model)) from None
    if not data:
        raise RecipeError("the file is empty", where=str(model))
    decode = _decode(packfile, folder)
    frames = tuple(_picture(folder / name) for name in packfile.model.golden)
    frames += drawn_goldens(packfile.input)
    variant = VariantDraft(
        id=f"{fmt}-{packfile.model.precision}", format=fmt, precision=packfile.model.precision, data=data
    )
    main = ModelDraft(
        input=packfile.input,
        outputs=packfile.model.outputs,
        decode=decode,
        variants=(variant,),
        frames=frames,
    )
    return BundleDraft(
        name=packfile.name,
        version=packfile.version,
        task=packfile.task,
        description=packfile.description,
        intended_use=packfile.intended_use,
        models={"main": main},
        card=_card(packfile, model.name),
        provenance=Provenance(
            created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            tools={"bedside": __version__},
            notes=("packed from a finished model file; its accuracy was not evaluated", *packfile.notes),
        ),
        data_source=packfile.data_source,
        authors=packfile.authors,
        copyright=packfile.copyright,
        licence=packfile.licence,
    )


def _decode(packfile: PackFile, folder: Path) -> Decode:
    section = packfile.decode
    if packfile.task == "classification" and section is None:
        raise RecipeError("task is classification, but there is no [decode]", hint="add [decode] with labels")
    if section is None:
        return RawDecode()
    if packfile.task != "classification":
        hint = 'set task = "classification", or leave [decode] out'
        raise RecipeError(f"[decode] reads class scores, but task is {packfile.task!r}", hint=hint)
    labels = section.labels
    if section.labels_file is not None:
        if labels:
            raise RecipeError("decode.labels and decode.labels_file are both given", hint="keep one")
        path = folder / section.labels_file
        try:
            labels = tuple(
                line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
            )
        except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL character in the name
            raise RecipeError(f"cannot be read: {_reason(error)}", where=str(path)) from None
    return ClassificationDecode(labels=labels, output=section.output, scores=section.scores)


def _picture(path: Path) -> GoldenInput:
    pixels: Any = None
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, ValueError, cv2.error) as error:
        raise RecipeError(f"cannot be read: {_reason(error)}", where=str(path)) from None
    if pixels is None:
        raise RecipeError("is no picture", where=str(path))
    return GoldenInput(pixels, "bgr")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _card(packfile: PackFile, file: str) -> str:
    lines = [
        f"# {packfile.name} {packfile.version}",
        "",
        packfile.description,
        "",
        f"Intended use: {packfile.intended_use}",
        "",
        "Research use only; not a medical device.",
        "",
        f"Packed from `{file}`, licence {packfile.licence}. Its accuracy was not evaluated by bedside.",
    ]
    lines += [
        f"- Data: {source.name}, {source.licence}. {source.citation} {source.note}".rstrip()
        for source in packfile.data_source
    ]
    return "\n".join(lines) + "\n"
