"""`bundle.json`: the rules that its schema cannot say, and how it is read and written."""

from __future__ import annotations

import math
import re

import msgspec

from bedside.runtime.bundle.container import CARD
from bedside.runtime.bundle.decode import ClassificationDecode, RawDecode, ReconstructionDecode
from bedside.runtime.bundle.decode_rules import check_decode, takes_pixels, task_of
from bedside.runtime.bundle.manifest import FORMAT_VERSION, InputSpec, Manifest, Model, Variant

#: Runtime that first read bundles at all, and the one that reads every key of today's schema.
FIRST_RUNTIME, NEWEST_KEYS = "0.1.0", "0.2.0"


def check(manifest: Manifest) -> None:
    """Check what the schema alone cannot.

    Raises:
        ValueError: One line that names the key and both values.
    """
    if "main" not in manifest.models:
        raise ValueError("models: the role 'main' is missing")
    for role, model in manifest.models.items():
        _check_model(f"models.{role}", model)
    decode_task = task_of(manifest.main)
    if decode_task not in ("raw", manifest.task):
        raise ValueError(f"task is {manifest.task!r} but models.main.decode is {decode_task!r}")
    _check_guard(manifest)
    needed = oldest_runtime(manifest)
    if version_tuple(manifest.min_runtime) < version_tuple(needed):
        raise ValueError(f"min_runtime: {manifest.min_runtime!r}, but keys are used that need {needed!r}")
    if manifest.card.file != CARD:
        raise ValueError(f"card.file: {manifest.card.file!r}, the card is {CARD}")
    manifest.files()


def oldest_runtime(manifest: Manifest) -> str:
    """The oldest runtime that understands every key that a manifest uses.

    An older one would refuse an unknown key as damage, or, worse, leave a guard out.
    """
    if len(manifest.models) > 1 or any(_is_newer(m) for m in manifest.models.values()):
        return NEWEST_KEYS
    return FIRST_RUNTIME


def _is_newer(model: Model) -> bool:
    decode = model.decode
    if isinstance(decode, ClassificationDecode):
        newer = (decode.temperature, decode.conformal, decode.map) != (None, None, None)
    else:
        newer = not isinstance(decode, RawDecode)
    reports = [v.evaluation for v in model.variants if v.evaluation is not None]
    measured = any(e.others or e.kept_float or e.speed is not None for e in reports)
    return newer or measured or model.input.latent is not None


def _check_guard(manifest: Manifest) -> None:
    guard = manifest.models.get("guard")
    if guard is None:
        if manifest.guard_sees != "frame":
            raise ValueError(f"guard_sees: {manifest.guard_sees!r}, but there is no models.guard")
        return
    if not isinstance(guard.decode, ReconstructionDecode) or guard.decode.out is None:
        raise ValueError(f"models.guard.decode: {task_of(guard)!r}, a guard is a reconstruction with `out`")
    main = manifest.main.input
    if main.latent is not None:
        raise ValueError(f"models.guard: nothing to see, models.main draws a latent of {main.latent}")
    if manifest.guard_sees == "input" and not takes_pixels(main):
        raise ValueError(
            f"guard_sees: 'input', but models.main.input is {main.dtype} {main.layout}; "
            "a guard sees uint8 nhwc pixels without a quantization"
        )


def check_input(where: str, spec: InputSpec) -> None:
    """Check what the schema of an input alone cannot.

    Args:
        where: Path of the key, for the message.
        spec: The input.

    Raises:
        ValueError: One line that names the key and both values.
    """
    if (spec.color == "gray") != (spec.channels == 1):
        raise ValueError(f"{where}: color {spec.color!r} does not fit {spec.channels} channels")
    if spec.normalization is not None:
        for key, values in (("mean", spec.normalization.mean), ("std", spec.normalization.std)):
            if len(values) not in (1, spec.channels):
                raise ValueError(
                    f"{where}.normalization.{key}: {len(values)} values for {spec.channels} channels"
                )
            if not all(math.isfinite(v) for v in values):
                raise ValueError(f"{where}.normalization.{key}: not finite")
    if spec.quantization is not None and not math.isfinite(spec.quantization.scale):
        raise ValueError(f"{where}.quantization.scale: not finite")
    if spec.latent is not None:
        if spec.dtype != "float32":
            raise ValueError(
                f"{where}: a latent of {spec.latent} numbers is float32, dtype is {spec.dtype!r}"
            )
        if spec.quantization is not None or spec.normalization is not None:
            raise ValueError(
                f"{where}: a latent of {spec.latent} numbers has no quantization or normalization"
            )


def _check_model(where: str, model: Model) -> None:
    check_input(f"{where}.input", model.input)
    ids = [v.id for v in model.variants]
    if len(set(ids)) != len(ids):
        raise ValueError(f"{where}.variants: an id appears twice in {ids}")
    if not model.shipped:
        raise ValueError(f"{where}.variants: none is shipped")
    default = model.variant(model.default)
    if default is None or default.file is None:
        raise ValueError(f"{where}.default: {model.default!r} is not a shipped variant")
    for v in model.variants:
        _check_variant(f"{where}.variants.{v.id}", model, v)
    with_golden = [g.variant for g in model.golden.variants]
    if sorted(with_golden) != sorted(v.id for v in model.shipped):
        raise ValueError(f"{where}.golden.variants: {with_golden} are not the shipped variants")
    for g in model.golden.variants:
        if len(g.outputs) != len(model.outputs):
            raise ValueError(
                f"{where}.golden.{g.variant}: {len(g.outputs)} outputs, the model has {len(model.outputs)}"
            )
    golden = [model.golden.engine.input, *(f.frame for f in model.golden.frames)]
    golden += [output for g in model.golden.variants for output in g.outputs]
    for ref in golden:
        if not (ref.file.startswith("golden/") and ref.file.endswith(".npy")):
            raise ValueError(f"{where}.golden: {ref.file!r} is no golden/*.npy")
    check_decode(where, model)


def _check_variant(where: str, model: Model, v: Variant) -> None:
    if v.refused is not None and v.file is not None:
        raise ValueError(f"{where}: refused, but its file {v.file!r} is shipped")
    if v.file is not None and not (v.file.startswith("models/") and v.file.endswith("." + v.format)):
        raise ValueError(f"{where}.file: {v.file!r} is no models/*.{v.format}")
    if len(v.outputs) != len(model.outputs):
        raise ValueError(f"{where}.outputs: {len(v.outputs)}, the model names {len(model.outputs)}")
    if len(v.inputs) != 1:
        raise ValueError(f"{where}.inputs: {len(v.inputs)} tensors; format 1 feeds one")
    tensor, spec = v.inputs[0], model.input
    if tensor.shape != spec.shape:
        raise ValueError(f"{where}.inputs: shape {list(tensor.shape)}, input says {list(spec.shape)}")
    if tensor.dtype != spec.dtype:
        raise ValueError(f"{where}.inputs: dtype {tensor.dtype}, input says {spec.dtype}")
    for t in (*v.inputs, *v.outputs):
        if t.quantization is not None and not math.isfinite(t.quantization.scale):
            raise ValueError(f"{where}: quantization scale of {t.name!r} is not finite")


class _Header(msgspec.Struct):
    """What is read leniently, before anything else."""

    format_version: int
    min_runtime: str


_VERSION = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?(?:\.([0-9]{1,6}))?")


def version_tuple(text: str) -> tuple[int, int, int]:
    """`1.2.3.dev0` as `(1, 2, 3)`, `1.2` as `(1, 2, 0)`; an unreadable one as `(0, 0, 0)`."""
    match = _VERSION.match(text)
    major, minor, patch = match.groups("0") if match else ("0", "0", "0")
    return int(major), int(minor), int(patch)


def decode(data: bytes, runtime_version: str) -> Manifest:
    """Read `bundle.json`: first whether this runtime is new enough, then strictly.

    Args:
        data: The member as stored.
        runtime_version: Version of this runtime.

    Raises:
        ValueError: One line that says what is wrong, with the path of the key.
    """
    try:
        header = msgspec.json.decode(data, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"bundle.json: {error}") from None
    if header.format_version > FORMAT_VERSION or version_tuple(header.min_runtime) > version_tuple(
        runtime_version
    ):
        raise ValueError(
            f"too new: format {header.format_version} for runtime {header.min_runtime} or later; "
            f"this is runtime {runtime_version} with format {FORMAT_VERSION}"
        )
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"bundle.json: {error}") from None
    try:
        check(manifest)
    except ValueError as error:
        raise ValueError(f"bundle.json: {error}") from None
    return manifest


def encode(manifest: Manifest) -> bytes:
    """Write `bundle.json`, keys in schema order, indented for people.

    Raises:
        ValueError: The manifest breaks its own rules.
    """
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    decode(data, "999999.0.0")
    return data
