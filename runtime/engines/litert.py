"""LiteRT (`ai_edge_litert`) and its predecessor `tflite_runtime`: one interpreter, two packages."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from bedside.runtime.bundle.manifest import Format, Quantization, TensorSpec
from bedside.runtime.engines import inspection
from bedside.runtime.engines.buffers import aligned_empty, dtype_name, engine_error, fixed_shape
from bedside.runtime.engines.protocol import Array, SessionOptions
from bedside.runtime.engines.quiet import TFLITE_CHATTER, filtered_stderr
from bedside.runtime.errors import EngineError

#: Import name of the package behind each engine id.
PACKAGES = {"litert": "ai_edge_litert", "tflite": "tflite_runtime"}


def load(engine: str) -> Any:
    """The interpreter module of an engine.

    Raises:
        ImportError: With the vendor's reason.
    """
    module = importlib.import_module(f"{PACKAGES[engine]}.interpreter")
    if engine == "tflite" and int(np.__version__.partition(".")[0]) >= 2:
        # It imports, and breaks off with a page about ABIs as soon as it is used.
        raise ImportError(f"is built for NumPy 1, this is NumPy {np.__version__}")
    return module


def hints(engine: str) -> tuple[str, ...]:
    """Precision hints that this host can honour: none."""
    del engine
    return ()


def compile_model(engine: str, data: bytes, format: Format, options: SessionOptions) -> LiteRTSession:
    """Compile a `.tflite` file; see `bedside.runtime.engines.compile_model`."""
    file = inspection.inspect(data, format)
    for tensor in (*file.inputs, *file.outputs):
        fixed_shape(tensor.shape, engine, f"tensor {tensor.name!r}")
    return LiteRTSession(engine, load(engine), file, data, options)


class LiteRTSession:
    """A TFLite interpreter with allocated tensors.

    The input is the interpreter's own memory: the array from `input` has to be let go before `invoke`, since
    the interpreter could move what it points to; it refuses to run otherwise. Outputs are copied out, into
    arrays that are made once.

    Args:
        engine: `litert` or `tflite`.
        module: Its interpreter module.
        file: What the file says of itself.
        data: Verified bytes of the file.
        options: Threads; there are no precision hints.

    Raises:
        EngineError: The interpreter refuses the model.
    """

    def __init__(
        self, engine: str, module: Any, file: inspection.ModelFile, data: bytes, options: SessionOptions
    ) -> None:
        self.engine = engine
        self.options = options
        with filtered_stderr(TFLITE_CHATTER):
            try:
                interpreter = module.Interpreter(model_content=data, num_threads=options.threads)
                interpreter.allocate_tensors()
                entries, answers = interpreter.get_input_details(), interpreter.get_output_details()
            except (RuntimeError, ValueError, MemoryError, SystemError) as error:
                raise engine_error("refuses the model", error, engine) from None
        self.inputs = tuple(_spec(entry, engine, "input") for entry in entries)
        self.outputs = tuple(_spec(answer, engine, "output") for answer in answers)
        self._interpreter: Any = interpreter
        self._stateful = file.stateful
        # Functions, not arrays: an array of the interpreter's memory that lives on makes `invoke` fail.
        self._entries: tuple[Callable[[], Array], ...] = tuple(
            interpreter.tensor(e["index"]) for e in entries
        )
        self._results = tuple(aligned_empty(spec.shape, spec.dtype) for spec in self.outputs)
        self._copies = [
            (result, interpreter.tensor(answer["index"]))
            for result, answer in zip(self._results, answers, strict=True)
        ]

    def input(self, index: int = 0) -> Array:
        """The interpreter's own input tensor, to be written in place. Let go of it before `invoke`."""
        self._check_open()
        try:
            return self._entries[index]()
        except (RuntimeError, ValueError) as error:
            raise engine_error("has no memory for its input", error, self.engine) from None

    def invoke(self) -> tuple[Array, ...]:
        """Run; see `Session.invoke`."""
        self._check_open()
        try:
            if self._stateful:
                # A fused LSTM keeps its state in variable tensors. Frames are independent here: a frame that
                # was dropped, or a golden that was replayed, must not change what the next one gives.
                self._interpreter.reset_all_variables()
            self._interpreter.invoke()
            for result, view in self._copies:
                answer = view()
                if answer.shape != result.shape:  # copyto would broadcast
                    raise _changed_shape(self.engine, result, answer)
                np.copyto(result, answer)
        except (RuntimeError, ValueError) as error:
            if "reference to internal data" in str(error):
                raise EngineError(
                    "an array from input() is still held",
                    where=self.engine,
                    hint="let go of the input buffer before invoke()",
                ) from None
            raise engine_error("inference failed", error, self.engine) from None
        return self._results

    def close(self) -> None:
        """Free the interpreter; see `Session.close`."""
        self._interpreter = None
        self._entries = ()
        self._copies = []

    def _check_open(self) -> None:
        if self._interpreter is None:
            raise EngineError("the session is closed", where=self.engine)


def _changed_shape(engine: str, before: Array, after: Array) -> EngineError:
    return EngineError(
        f"an output changed its shape from {list(before.shape)} to {list(after.shape)}",
        where=engine,
        hint="models whose output size depends on the picture are not supported",
    )


def _spec(details: dict[str, Any], engine: str, role: str) -> TensorSpec:
    name = str(details["name"])
    what = f"{role} {name!r}"
    declared = [int(d) for d in details["shape_signature"]]
    fixed_shape(declared, engine, what)
    scales = details["quantization_parameters"]["scales"]
    zeros = details["quantization_parameters"]["zero_points"]
    quantization = None
    if len(scales) == 1 and scales[0] > 0:
        quantization = Quantization(scale=float(scales[0]), zero_point=int(zeros[0]) if len(zeros) else 0)
    return TensorSpec(
        name=name,
        shape=fixed_shape([int(d) for d in details["shape"]], engine, what),
        dtype=dtype_name(details["dtype"], engine, what),
        quantization=quantization,
    )
