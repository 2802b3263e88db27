"""OpenVINO on the processor, for `.onnx` and `.tflite` files alike."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

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
from bedside.runtime.engines.quiet import without_openvino_telemetry
from bedside.runtime.errors import EngineError

_DEVICE = "CPU"
_OTHERWISE = "use an .onnx variant or another engine"

#: OpenVINO's own default is bf16 where the processor has it: faster, and a hundred times less exact.
_DEFAULT_HINT = "f32"

#: Hint to the capability that the processor must have (`OPTIMIZATION_CAPABILITIES`), and its name read back.
_HINTS = {"f32": ("FP32", "float32"), "bf16": ("BF16", "bfloat16"), "f16": ("FP16", "float16")}


def load(engine: str) -> Any:
    """The openvino module, imported without its telemetry.

    Raises:
        ImportError: With the vendor's reason.
    """
    del engine
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    with without_openvino_telemetry():
        return importlib.import_module("openvino")


def hints(engine: str) -> tuple[str, ...]:
    """Precision hints that this host can honour, the default first."""
    capabilities = load(engine).Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    return tuple(hint for hint, (capability, _) in _HINTS.items() if capability in capabilities)


def compile_model(engine: str, data: bytes, format: Format, options: SessionOptions) -> OpenVinoSession:
    """Compile an `.onnx` or `.tflite` file; see `bedside.runtime.engines.compile_model`."""
    file = inspection.inspect(data, format)
    for tensor in file.inputs:
        fixed_shape(tensor.shape, engine, f"input {tensor.name!r}")
    module = load(engine)
    core = module.Core()
    try:
        model = _read(core, data, format)
        _fix_batch(module, model)
    except RuntimeError as error:
        raise engine_error("refuses the model", error, engine) from None
    return OpenVinoSession(engine, module, core, model, file, options)


class OpenVinoSession:
    """A compiled model with one infer request, bound to arrays of its own.

    Args:
        engine: `openvino`.
        module: Its module.
        core: What read the model.
        model: As read, with fixed shapes.
        file: What the file says of itself: OpenVINO keeps neither the order of tensors nor their
            quantization.
        options: Threads, and the precision hint: `f32` (default), `bf16` or `f16`.

    Raises:
        EngineError: OpenVINO refuses the model, or would run it in another precision or on another device.
    """

    def __init__(
        self,
        engine: str,
        module: Any,
        core: Any,
        model: Any,
        file: inspection.ModelFile,
        options: SessionOptions,
    ) -> None:
        self.engine = engine
        hint = _checked_hint(core, engine, options.hint or _DEFAULT_HINT)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": options.threads,
            "NUM_STREAMS": 1,
            # Sessions share the device with capture and drawing; pinned workers would all sit on the first
            # cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            compiled = core.compile_model(model, _DEVICE, settings)
            devices = list(compiled.get_property("EXECUTION_DEVICES"))
            granted = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
            request = compiled.create_infer_request()
        except RuntimeError as error:
            raise engine_error("refuses the model", error, engine) from None
        _check_granted(engine, devices, hint, granted)
        self.options = msgspec.structs.replace(options, threads=threads, hint=hint)
        entries = _in_file_order(compiled.inputs, file.inputs, engine)
        answers = _in_file_order(compiled.outputs, file.outputs, engine)
        self.inputs = tuple(
            _spec(port, tensor, engine, "input")
            for (_, port), tensor in zip(entries, file.inputs, strict=True)
        )
        self.outputs = tuple(
            _spec(port, tensor, engine, "output")
            for (_, port), tensor in zip(answers, file.outputs, strict=True)
        )
        self._entries = tuple(aligned_empty(spec.shape, spec.dtype) for spec in self.inputs)
        self._results = tuple(aligned_empty(spec.shape, spec.dtype) for spec in self.outputs)
        # The tensors share the arrays' memory and have to live as long as the request.
        self._tensors = [
            module.Tensor(array, shared_memory=True) for array in (*self._entries, *self._results)
        ]
        for (position, _), tensor in zip(entries, self._tensors, strict=False):
            request.set_input_tensor(position, tensor)
        for (position, _), tensor in zip(answers, self._tensors[len(entries) :], strict=True):
            request.set_output_tensor(position, tensor)
        self._request: Any = request
        self._compiled: Any = compiled
        self._core: Any = core

    def input(self, index: int = 0) -> Array:
        """The bound input array, to be written in place."""
        self._check_open()
        return self._entries[index]

    def invoke(self) -> tuple[Array, ...]:
        """Run; see `Session.invoke`."""
        self._check_open()
        try:
            self._request.infer(share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise engine_error("inference failed", error, self.engine) from None
        return self._results

    def close(self) -> None:
        """Free the model; see `Session.close`."""
        self._request = None
        self._tensors = []
        self._compiled = None
        self._core = None

    def _check_open(self) -> None:
        if self._request is None:
            raise EngineError("the session is closed", where=self.engine)


def _checked_hint(core: Any, engine: str, hint: str) -> str:
    if hint not in _HINTS:
        raise EngineError(f"knows no precision hint {hint!r}, only {', '.join(_HINTS)}", where=engine)
    capabilities = core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    if _HINTS[hint][0] not in capabilities:
        raise EngineError(
            f"this processor has no {hint} arithmetic",
            where=engine,
            hint=f"it offers {', '.join(capabilities)}",
        )
    return hint


def _check_granted(engine: str, devices: list[str], hint: str, granted: str) -> None:
    """Nothing runs elsewhere or in another precision unsaid: f16 would become bf16 in silence."""
    if devices != [_DEVICE]:
        raise EngineError(f"runs on {', '.join(devices)}, asked for {_DEVICE}", where=engine)
    if granted not in (hint, _HINTS[hint][1]):
        raise EngineError(f"runs in {granted}, asked for {hint}", where=engine)


def _read(core: Any, data: bytes, format: Format) -> Any:
    """Hand the verified bytes over. A `.tflite` model is only read from a path that ends so."""
    if format == "onnx":
        return core.read_model(data)
    with _sealed(data) as path:
        return core.read_model(str(path))


@contextlib.contextmanager
def _sealed(data: bytes) -> Iterator[Path]:
    """The bytes as a path that ends in `.tflite`: a link to anonymous memory that nobody can change any more.

    `memfd_create(2)`, `F_ADD_SEALS` of `fcntl(2)`. What OpenVINO opens is what was verified (fault B10),
    whatever happens to files on the disk.

    Raises:
        EngineError: The platform is not Linux, or there is no folder for the link.
    """
    if not hasattr(os, "memfd_create"):
        raise EngineError("reads .tflite files only on Linux", where="openvino", hint=_OTHERWISE)
    import fcntl

    with contextlib.ExitStack() as stack:
        try:
            descriptor = os.memfd_create("bedside-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            memory = stack.enter_context(os.fdopen(descriptor, "wb"))
            memory.write(data)
            memory.flush()
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bedside-"))
            path = Path(folder) / "model.tflite"
            path.symlink_to(f"/proc/self/fd/{descriptor}")
        except OSError as error:
            what = f"cannot be given a .tflite file: {error.strerror or error}"
            raise EngineError(what, where="openvino", hint=f"set TMPDIR, or {_OTHERWISE}") from None
        yield path


def _fix_batch(module: Any, model: Any) -> None:
    """Set open batches to 1, so that everything behind them is static."""
    shapes = {}
    for position, port in enumerate(model.inputs):
        partial = port.get_partial_shape()
        if partial.rank.is_static and partial.rank.get_length() and partial[0].is_dynamic:
            partial[0] = module.Dimension(1)
            shapes[position] = partial
    if shapes:
        model.reshape(shapes)


def _in_file_order(
    ports: Any, tensors: tuple[inspection.FileTensor, ...], engine: str
) -> list[tuple[int, Any]]:
    """OpenVINO's ports with their positions, sorted as in the file; by position where names do not decide."""
    check_count(len(ports), len(tensors), engine)
    named = list(enumerate(ports))
    found = [[pair for pair in named if tensor.name in pair[1].get_names()] for tensor in tensors]
    if all(len(pairs) == 1 for pairs in found) and len({pairs[0][0] for pairs in found}) == len(named):
        return [pairs[0] for pairs in found]
    return named


def _spec(port: Any, tensor: inspection.FileTensor, engine: str, role: str) -> TensorSpec:
    what = f"{role} {tensor.name!r}"
    partial = port.get_partial_shape()
    if partial.rank.is_dynamic:
        raise EngineError(f"{what} has any number of dimensions", where=engine)
    shape = [d.get_length() if d.is_static else None for d in partial]
    return TensorSpec(
        name=tensor.name,
        shape=fixed_shape(shape, engine, what, open_batch=any(is_dynamic(d) for d in tensor.shape[:1])),
        dtype=dtype_name(port.get_element_type().to_dtype(), engine, what),
        quantization=tensor.quantization,
    )
