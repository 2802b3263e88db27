"""The device side of bedside: frames in, results out, every frame accounted for. No training framework, ever."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("bedside")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0.0.0"
