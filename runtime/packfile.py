"""The TOML that describes somebody else's model file for `bedside pack`."""

from __future__ import annotations

import datetime
import typing
from pathlib import Path
from typing import Any, Literal

import cv2
import msgspec
import numpy as np

from bedside.runtime import __version__, strict_toml
from bedside.runtime.bundle.decode import Decode, RawDecode
from bedside.runtime.bundle.fields import Line, Name, Text, Version
from bedside.runtime.bundle.manifest import DataSource, Format, InputSpec, Precision, Provenance, Task
from bedside.runtime.errors import RecipeError
from bedside.runtime.packing import BundleDraft, GoldenInput, ModelDraft, VariantDraft, drawn_goldens

_MAX_MODEL = 512 << 20
_DECODED = tuple(str(kind.__struct_config__.tag) for kind in typing.get_args(Decode) if kind is not RawDecode)


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


class _Shared(_Strict, frozen=True, kw_only=True):
    """All of the file but how its outputs are read."""

    name: Name
    version: Version
    description: Text
    intended_use: Text
    licence: Line
    input: InputSpec
    model: ModelSection
    authors: Line = ""
    copyright: Line = ""
    data_source: tuple[DataSource, ...] = ()
    notes: tuple[Text, ...] = ()


class _Written(_Shared, frozen=True, kw_only=True):
    """The file as it was written: which keys `[decode]` may have, its task says."""

    task: Task | Literal["raw"] | None = None
    decode: dict[str, Any] | None = None


class _Decoding(_Strict, frozen=True):
    """`[decode]`, checked."""

    decode: Decode


class PackFile(_Shared, frozen=True, kw_only=True):
    """The whole file.

    Attributes:
        task: At the top level or in `[decode]`.
        decode: `[decode]` has the keys of its task in `bedside.runtime.bundle.decode`, and `labels_file`, a
            text file with one label per line, relative to the TOML, in place of `labels`. Without it, outputs
            are handed on undecoded.
    """

    task: Task | Literal["raw"]
    decode: Decode


def read_packfile(path: Path) -> PackFile:
    """Read the TOML strictly, and the labels that it names.

    Raises:
        RecipeError: With the key's path, and what is allowed there.
    """
    data = strict_toml.read_file(path, error=RecipeError)
    written = strict_toml.loads(data, _Written, error=RecipeError, where=str(path))
    decode = _decode(written, path)
    named = msgspec.structs.asdict(written)
    if isinstance(decode, RawDecode):
        return PackFile(**{**named, "task": written.task or "raw", "decode": decode})
    return PackFile(**{**named, "task": decode.__struct_config__.tag, "decode": decode})


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
    frames = tuple(_picture(folder / name) for name in packfile.model.golden)
    frames += drawn_goldens(packfile.input)
    variant = VariantDraft(
        id=f"{fmt}-{packfile.model.precision}", format=fmt, precision=packfile.model.precision, data=data
    )
    main = ModelDraft(
        input=packfile.input,
        outputs=packfile.model.outputs,
        decode=packfile.decode,
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


def _decode(written: _Written, path: Path) -> Decode:
    """How the outputs are read.

    Raises:
        RecipeError: The task is missing or named twice, or a key is not one of the task's.
    """
    if written.decode is None:
        if written.task in _DECODED:
            hint = "add [decode], see the manual for its keys"
            raise RecipeError(f"task is {written.task}, but there is no [decode]", where=str(path), hint=hint)
        return RawDecode()
    table = dict(written.decode)
    task = table.setdefault("task", written.task)
    if task is None or written.task not in (None, task):
        said = "names no task" if task is None else f"is for {task!r}, but task is {written.task!r}"
        raise RecipeError(f"[decode] {said}", where=str(path), hint=f"one of {', '.join(_DECODED)}")
    if "labels_file" in table:
        table["labels"] = _labels(table, path)
    return strict_toml.convert({"decode": table}, _Decoding, error=RecipeError, where=str(path)).decode


def _labels(table: dict[str, Any], path: Path) -> list[str]:
    """The lines of the file that `labels_file` names; the key is taken out."""
    name = table.pop("labels_file")
    if "labels" in table:
        raise RecipeError(
            "decode.labels and decode.labels_file are both given", where=str(path), hint="keep one"
        )
    if not isinstance(name, str):
        raise RecipeError("decode.labels_file: expected text", where=str(path))
    file = path.parent / name
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL character in the name
        raise RecipeError(f"cannot be read: {_reason(error)}", where=str(file)) from None
    return [line.strip() for line in lines if line.strip()]


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
