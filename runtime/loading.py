"""From a bundle to a session that may be used: compiled from verified bytes, compared, and replayed."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from bedside.runtime import engines
from bedside.runtime.bundle.manifest import Format, Model, TensorSpec, Variant
from bedside.runtime.bundle.reader import Bundle
from bedside.runtime.engines.protocol import Session, SessionOptions
from bedside.runtime.engines.registry import spec
from bedside.runtime.errors import BundleError, EngineError, UsageError
from bedside.runtime.golden import GoldenReport, replay

#: float32 scales travel through JSON and through engines that keep them in either width.
_SCALE_TOLERANCE = 1e-6


class Loaded(msgspec.Struct, frozen=True):
    """A session whose goldens held.

    Attributes:
        session: Open; the caller closes it.
        model: Of the bundle.
        variant: That was compiled.
        golden: How it did on its goldens.
    """

    session: Session
    model: Model
    variant: Variant
    golden: GoldenReport


def open_session(
    bundle: Bundle,
    *,
    role: str = "main",
    variant: str | None = None,
    engine: str | None = None,
    options: SessionOptions | None = None,
) -> Loaded:
    """Compile one variant on one engine, and check it before anybody sees a result of it.

    Args:
        bundle: Open.
        role: `main` or `guard`.
        variant: Id; None for the model's default, or, where a named engine does not read that one's format,
            the first shipped variant that it reads, of the default's precision if there is one.
        engine: Id; None for the first available one that reads the format (`engines.preference`).
        options: Threads and precision hint; None for the host's default threads.

    Returns:
        The session and what is in it.

    Raises:
        UsageError: No such role, variant or engine in this bundle or bedside.
        BundleError: A member is damaged, or the model's tensors differ from the manifest (fault B8).
        EngineError: The engine is absent or refuses the file, or the goldens do not hold (B11), with the
            engine, the variant, the error and the tolerance.
    """
    model = _model(bundle, role)
    chosen = _variant(bundle, model, variant, engine)
    runs_on = engine or _engine(chosen.format)
    data = bundle.read(chosen.file or "")
    options = options or SessionOptions(threads=engines.default_threads())
    session = engines.compile_model(runs_on, data, chosen.format, options)
    try:
        where = f"{runs_on}, {chosen.id}"
        check_tensors(session, chosen, where)
        report = replay(session, bundle, role=role, variant=chosen)
        if not report.ok:
            raise EngineError(
                f"goldens do not hold: {report.reason}",
                where=where,
                hint="this engine answers differently here than where the bundle was made; "
                "choose another engine, variant or thread count",
            )
    except BaseException:
        session.close()
        raise
    return Loaded(session, model, chosen, report)


def check_tensors(session: Session, variant: Variant, where: str) -> None:
    """Compare what the engine reports with the manifest, tensor by tensor, by position: names change with
    engines.

    Raises:
        BundleError: They differ; both are named.
    """
    for role, reported, stated in (
        ("inputs", session.inputs, variant.inputs),
        ("outputs", session.outputs, variant.outputs),
    ):
        if len(reported) != len(stated):
            raise BundleError(
                f"the model has {len(reported)} {role}, the manifest names {len(stated)}", where=where
            )
        for k, (have, want) in enumerate(zip(reported, stated, strict=True)):
            if not _same(have, want, variant.format):
                raise BundleError(
                    f"{role}[{k}] of the model is {_show(have)}, the manifest says {_show(want)}", where=where
                )


def _model(bundle: Bundle, role: str) -> Model:
    models: dict[Literal["main", "guard"], Model] = bundle.manifest.models
    for name, model in models.items():
        if name == role:
            return model
    raise UsageError(f"the bundle has no model in the role {role!r}", hint=f"it has {', '.join(models)}")


def _variant(bundle: Bundle, model: Model, variant: str | None, engine: str | None) -> Variant:
    shipped = {v.id: v for v in model.shipped}
    if variant is not None:
        if variant in shipped:
            return shipped[variant]
        record = model.variant(variant)
        if record is None:
            what = f"no variant {variant!r}"
        else:
            what = f"the variant {variant!r} is not shipped" + (
                f": {record.refused}" if record.refused else ""
            )
        raise UsageError(what, where=str(bundle.path), hint=f"there is {', '.join(shipped)}")
    default = shipped[model.default]
    if engine is None or default.format in spec(engine).formats:
        return default
    readable = [v for v in model.shipped if v.format in spec(engine).formats]
    if not readable:
        raise EngineError(
            f"reads {', '.join(spec(engine).formats)}, the bundle has only {', '.join(shipped)}", where=engine
        )
    return next((v for v in readable if v.precision == default.precision), readable[0])


def _engine(format: Format) -> str:
    """The first available engine that reads a format: a declared default, not a fallback."""
    candidates = []
    for engine in engines.preference(format):
        # No further than to the first: asking an engine imports it, and OpenVINO alone takes 50 MB.
        candidate = engines.status(engine)
        if candidate.available:
            return candidate.id
        candidates.append(candidate)
    reasons = "; ".join(f"{c.id} {c.reason}" for c in candidates)
    raise EngineError(f"no engine here reads .{format}: {reasons}")


def _same(have: TensorSpec, want: TensorSpec, format: Format) -> bool:
    if have.shape != want.shape or have.dtype != want.dtype:
        return False
    if format == "onnx":
        return True  # an .onnx file carries no quantization at its border; the manifest may add it
    if have.quantization is None or want.quantization is None:
        return have.quantization is want.quantization
    return have.quantization.zero_point == want.quantization.zero_point and math.isclose(
        have.quantization.scale, want.quantization.scale, rel_tol=_SCALE_TOLERANCE
    )


def _show(tensor: TensorSpec) -> str:
    text = f"{list(tensor.shape)} {tensor.dtype}"
    if tensor.quantization is not None:
        text += f" with scale {tensor.quantization.scale:.8g} and zero point {tensor.quantization.zero_point}"
    return text
