"""Where results go. One thread writes to a sink; `bedside.runtime.stream.delivery` puts a queue in front of it."""

from bedside.devices.sinks.jsonl import JsonlSink
from bedside.devices.sinks.memory import ListSink, NullSink
from bedside.devices.sinks.uri import SCHEMES, make_sink
from bedside.devices.sinks.video import VideoSink

__all__ = ["SCHEMES", "JsonlSink", "ListSink", "NullSink", "VideoSink", "make_sink"]
