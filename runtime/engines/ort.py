"""ONNX Runtime on the processor."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from bedside.runtime.bundle.manifest import Format, TensorSpec
from bedside.runtime.engines import inspection
from bedside.runtime.engines.buffers import (
    aligned_empty,
    check_count,
    dtype_name,
    engine_error,
    fixed_shape,
    is_dynamic,
)
from bedside.runtime.engines.protocol import Array, SessionOptions
from bedside.runtime.engines.quiet import disable_onnxruntime_telemetry
from bedside.runtime.errors import EngineError

_PROVIDER = "CPUExecutionProvider"
_FATAL = 4  # errors come as exceptions; printing them as well would break the one-line rule

#: `NodeArg.type` to NumPy, where the name differs.
_TYPES = {"float": "float32", "double": "float64"}


def load(engine: str) -> Any:
    """The onnxruntime module, its telemetry off.

    Raises:
        ImportError: With the vendor's reason.
    """
    del engine
    disable_onnxruntime_telemetry()
    module = importlib.import_module("onnxruntime")
    # A host program may have imported it before us: then this stops what can still be stopped.
    module.disable_telemetry_events()
    return module


def hints(engine: str) -> tuple[str, ...]:
    """Precision hints that this host can honour: none."""
    del engine
    return ()


def compile_model(engine: str, data: bytes, format: Format, options: SessionOptions) -> OrtSession:
    """Compile an `.onnx` file; see `bedside.runtime.engines.compile_model`."""
    return OrtSession(engine, load(engine), inspection.inspect(data, format), data, options)


class OrtSession:
    """An inference session bound to arrays of its own, so that a run neither copies nor allocates at the
    border.

    Args:
        engine: `onnxruntime`.
        module: Its module.
        file: What the file says of itself.
        data: Verified bytes of the file.
        options: Threads; there are no precision hints.

    Raises:
        EngineError: onnxruntime refuses the model, or would run it elsewhere than on the processor.
    """

    def __init__(
        self, engine: str, module: Any, file: inspection.ModelFile, data: bytes, options: SessionOptions
    ) -> None:
        self.engine = engine
        self.options = options
        shapes = [fixed_shape(t.shape, engine, f"input {t.name!r}") for t in file.inputs]
        settings = _settings(module, file, options)
        try:
            # With its own fallback on, a failure prints a banner and is tried again with other providers.
            session = module.InferenceSession(
                data, settings, providers=[_PROVIDER], enable_fallback=0, read_config_from_model=0
            )
            providers = session.get_providers()
            entries, answers = session.get_inputs(), session.get_outputs()
        except Exception as error:  # onnxruntime's exceptions share no base class below Exception
            raise engine_error("refuses the model", error, engine) from None
        if providers != [_PROVIDER]:
            raise EngineError(f"runs on {providers}, asked for {_PROVIDER}", where=engine)
        check_count(len(entries), len(shapes), engine)
        open_batch = any(is_dynamic(t.shape[0]) for t in file.inputs if t.shape)
        self.inputs = tuple(
            _spec(e, engine, "input", shape) for e, shape in zip(entries, shapes, strict=True)
        )
        self.outputs = tuple(
            _spec(
                a, engine, "output", fixed_shape(a.shape, engine, f"output {a.name!r}", open_batch=open_batch)
            )
            for a in answers
        )
        self._entries = tuple(aligned_empty(spec.shape, spec.dtype) for spec in self.inputs)
        self._results = tuple(aligned_empty(spec.shape, spec.dtype) for spec in self.outputs)
        binding = session.io_binding()
        for bind, specs, arrays in (
            (binding.bind_input, self.inputs, self._entries),
            (binding.bind_output, self.outputs, self._results),
        ):
            for spec, array in zip(specs, arrays, strict=True):
                bind(spec.name, "cpu", 0, array.dtype.type, list(spec.shape), array.ctypes.data)
        self._session: Any = session
        self._binding: Any = binding

    def input(self, index: int = 0) -> Array:
        """The bound input array, to be written in place."""
        self._check_open()
        return self._entries[index]

    def invoke(self) -> tuple[Array, ...]:
        """Run; see `Session.invoke`."""
        self._check_open()
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # as above
            raise engine_error("inference failed", error, self.engine) from None
        return self._results

    def close(self) -> None:
        """Free the session; see `Session.close`."""
        self._binding = None
        self._session = None

    def _check_open(self) -> None:
        if self._session is None:
            raise EngineError("the session is closed", where=self.engine)


def _settings(module: Any, file: inspection.ModelFile, options: SessionOptions) -> Any:
    settings = module.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = module.ExecutionMode.ORT_SEQUENTIAL
    settings.log_severity_level = _FATAL
    # Spinning workers burn a whole core between two frames of a paced stream.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Bytes can also be ORT's own format, which nothing here has inspected.
    settings.add_session_config_entry("session.load_model_format", "ONNX")
    for tensor in file.inputs:
        if tensor.shape and isinstance(tensor.shape[0], str):
            settings.add_free_dimension_override_by_name(tensor.shape[0], 1)
    return settings


def _spec(node: Any, engine: str, role: str, shape: Sequence[int]) -> TensorSpec:
    what = f"{role} {node.name!r}"
    kind = str(node.type)
    element = kind.removeprefix("tensor(").removesuffix(")")
    try:
        dtype = np.dtype(_TYPES.get(element, element))
    except TypeError:
        raise EngineError(f"{what} is of type {kind}, which has no NumPy counterpart", where=engine) from None
    return TensorSpec(name=str(node.name), shape=tuple(shape), dtype=dtype_name(dtype, engine, what))
