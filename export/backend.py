"""Keras and its backend, imported once and quietly: `from bedside.export.backend import keras`.

TensorFlow writes to file descriptor 2 from C++ while it is imported and again when it first looks for
devices: that it found no GPU, which optimizations it has. `TF_CPP_MIN_LOG_LEVEL` does not reach the lines
that are written before its logging is set up, so both happen here with the descriptor turned away.
"""

from __future__ import annotations

import os

from bedside.export.convert.quiet import gist, quiet
from bedside.runtime.errors import UsageError

# Errors stay visible, notes about processors and drivers do not.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_INSTALL = "training and conversion need the export extra: pip install 'bedside[export]'"

try:
    with quiet():
        import keras

        # Collective operations have to be set up before any device is looked for (`training.strategy`).
        if keras.backend.backend() == "tensorflow" and "TF_CONFIG" not in os.environ:
            import tensorflow

            tensorflow.config.list_logical_devices()
except ImportError as error:
    raise UsageError(f"Keras cannot be imported: {gist(error)}", where="export", hint=_INSTALL) from None

__all__ = ["keras"]
