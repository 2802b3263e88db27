"""Which engines there are, which this host has, and why it lacks the others."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from types import ModuleType
from typing import Any, Protocol, cast

import msgspec

from bedside.runtime.bundle.manifest import Format
from bedside.runtime.engines.protocol import Session, SessionOptions
from bedside.runtime.errors import EngineError, UsageError


class EngineSpec(msgspec.Struct, frozen=True):
    """One engine.

    Attributes:
        id: As it is written in results, profiles and options.
        package: Import name of the vendor's package; its absence means "not installed".
        distributions: Names it is distributed under, for the version.
        formats: What it reads.
        adapter: Module of this package that drives it.
        install: What to type to get it.
    """

    id: str
    package: str
    distributions: tuple[str, ...]
    formats: tuple[Format, ...]
    adapter: str
    install: str


#: In the order of preference, for every format: the declared default where nothing was measured.
ENGINES: tuple[EngineSpec, ...] = (
    EngineSpec(
        "litert",
        "ai_edge_litert",
        ("ai-edge-litert", "ai-edge-litert-nightly"),
        ("tflite",),
        "litert",
        "pip install ai-edge-litert",
    ),
    EngineSpec(
        "tflite",
        "tflite_runtime",
        ("tflite-runtime", "tflite-runtime-nightly"),
        ("tflite",),
        "litert",
        'pip install "bedside[tflite]" (CPython 3.11 and NumPy 1)',
    ),
    EngineSpec(
        "onnxruntime",
        "onnxruntime",
        ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
        ("onnx",),
        "ort",
        'pip install "bedside[onnx]"',
    ),
    EngineSpec(
        "openvino",
        "openvino",
        ("openvino", "openvino-nightly"),
        ("tflite", "onnx"),
        "openvino",
        'pip install "bedside[openvino]"',
    ),
)


class EngineStatus(msgspec.Struct, frozen=True):
    """What this host has of an engine.

    Attributes:
        id: Of the engine.
        version: Of the installed package; None when the engine cannot be used.
        reason: Why it cannot be used, with what to do; None when it can.
        formats: What it reads.
        hints: Precision hints that it honours on this processor, its default first; empty where it has none.
    """

    id: str
    version: str | None
    reason: str | None
    formats: tuple[Format, ...]
    hints: tuple[str, ...] = ()

    @property
    def available(self) -> bool:
        """Whether models can be compiled for it."""
        return self.reason is None


class _Adapter(Protocol):
    """What an adapter module offers."""

    def load(self, engine: str) -> Any: ...

    def hints(self, engine: str) -> tuple[str, ...]: ...

    def compile_model(self, engine: str, data: bytes, format: Format, options: SessionOptions) -> Session: ...


def spec(engine: str) -> EngineSpec:
    """The engine with that id.

    Raises:
        UsageError: There is none.
    """
    for candidate in ENGINES:
        if candidate.id == engine:
            return candidate
    raise UsageError(f"unknown engine {engine!r}", hint=f"one of {', '.join(e.id for e in ENGINES)}")


def preference(format: Format) -> tuple[str, ...]:
    """Engines that read a format, in the order in which they are tried where nothing was measured.

    `tflite`: litert, tflite, openvino. `onnx`: onnxruntime, openvino.
    """
    return tuple(e.id for e in ENGINES if format in e.formats)


@functools.cache
def status(engine: str) -> EngineStatus:
    """Whether an engine works here. The first call imports it; the answer holds for the life of the process.

    Raises:
        UsageError: Unknown engine.
    """
    wanted = spec(engine)
    reason: str | None = None
    version: str | None = None
    hints: tuple[str, ...] = ()
    adapter = _adapter(wanted)
    try:
        adapter.load(engine)
        hints = adapter.hints(engine)
        version = _version(wanted)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        reason = "not installed" if missing == wanted.package else f"its dependency {error.name} is missing"
    except Exception as error:  # a vendor's import can fail in any way; the reason is what matters
        _raise_interruption(error)
        reason = f"does not load: {' '.join(str(error).split())[:200] or type(error).__name__}"
    if reason is not None:
        reason = f"{reason}: {wanted.install}"
    return EngineStatus(engine, version, reason, wanted.formats, hints)


def _raise_interruption(error: BaseException) -> None:
    """pybind11 modules turn a Ctrl-C that hits their initialization into an ImportError with it as the cause:
    that engine is not absent, the user wants to stop."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt | SystemExit):
            raise cause
        cause = cause.__cause__ or cause.__context__


def statuses() -> tuple[EngineStatus, ...]:
    """The state of every engine, in the order of preference."""
    return tuple(status(e.id) for e in ENGINES)


def compile_model(engine: str, data: bytes, format: Format, options: SessionOptions) -> Session:
    """Compile a model from verified bytes, for exactly this engine: there is no falling back.

    Args:
        engine: `litert`, `tflite`, `onnxruntime` or `openvino`.
        data: The whole model file.
        format: `tflite` or `onnx`.
        options: Threads and precision hint.

    Raises:
        EngineError: The engine is not available (with what to install), does not read the format, or refuses
            the model (custom op, dynamic shape, damage, ...), each named.
        UsageError: Unknown engine, or threads below 1.
    """
    wanted = spec(engine)
    if options.threads < 1:
        raise UsageError(f"threads is {options.threads}, at least 1 is needed")
    if format not in wanted.formats:
        raise EngineError(
            f"does not read .{format} files",
            where=engine,
            hint=f"it reads {', '.join(wanted.formats)}; use one of {', '.join(preference(format))}",
        )
    state = status(engine)
    if state.reason is not None:
        raise EngineError(f"not available: {state.reason}", where=engine)
    if options.hint is not None and options.hint not in state.hints:
        known = f"it offers {', '.join(state.hints)}" if state.hints else "it has no precision hints"
        raise EngineError(
            f"cannot run with the precision hint {options.hint!r} here", where=engine, hint=known
        )
    return _adapter(wanted).compile_model(engine, data, format, options)


def _adapter(wanted: EngineSpec) -> _Adapter:
    module: ModuleType = importlib.import_module(f"bedside.runtime.engines.{wanted.adapter}")
    return cast(_Adapter, module)


def _version(wanted: EngineSpec) -> str:
    for name in wanted.distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"
