"""Inference engines behind one protocol: LiteRT, tflite-runtime, ONNX Runtime, OpenVINO."""

from bedside.runtime.engines.protocol import Array, Session, SessionOptions
from bedside.runtime.engines.registry import EngineStatus, compile_model, preference, status, statuses
from bedside.runtime.engines.threads import default_threads

__all__ = [
    "Array",
    "EngineStatus",
    "Session",
    "SessionOptions",
    "compile_model",
    "default_threads",
    "preference",
    "status",
    "statuses",
]
