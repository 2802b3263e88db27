"""An autoencoder whose code comes out whitened: centred, uncorrelated, every dimension of variance 1.

The distance of a frame from the frames that an autoencoder knows is then a root mean square, which a device
computes from the output as it is (`bedside.runtime.bundle.decode.OutOfDistribution`). The map is fitted
elsewhere, on codes of the training split; here it becomes the last layer of the graph, quantized like any
other.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from bedside.export.adopt.pixel_model import PixelModel
from bedside.export.backend import keras
from bedside.runtime.errors import UsageError

#: Name of the output that is whitened, see `bedside.export.adopt.picture_outputs.reconstruction`.
CODE = "code"


def whitened(
    model: PixelModel, mean: npt.NDArray[np.floating], matrix: npt.NDArray[np.floating]
) -> PixelModel:
    """The same autoencoder with `(code - mean) @ matrix` in place of its code.

    Args:
        model: With an output `code (N, D)`.
        mean: `(D,)`.
        matrix: `(D, d)`. Columns of zeros say nothing and are left out; rows of zeros leave dead dimensions of
            the code out.

    Returns:
        Graphs whose output `code` is `(N, d')`, d' the number of columns that are not zero. The layers are
        shared with `model`.

    Raises:
        UsageError: There is no code, or the shapes do not fit it.
    """
    if CODE not in model.outputs:
        raise UsageError(f"has no output {CODE!r} to whiten, only {', '.join(model.outputs)}", where="code")
    index = model.outputs.index(CODE)
    depth = int(model.reference.outputs[index].shape[-1])
    mean, matrix = np.asarray(mean, np.float64), np.asarray(matrix, np.float64)
    if mean.shape != (depth,) or matrix.ndim != 2 or matrix.shape[0] != depth:
        raise UsageError(
            f"a mean {mean.shape} and a matrix {matrix.shape} do not fit a code of {depth}", where="code"
        )
    if not (np.isfinite(mean).all() and np.isfinite(matrix).all()):
        raise UsageError("the whitening holds NaN or Inf", where="code")
    matrix = matrix[:, np.any(matrix != 0.0, axis=0)]
    if matrix.shape[1] == 0:
        raise UsageError(
            "every dimension of the code is dead", where="code", hint="train the autoencoder further"
        )
    kernel, bias = matrix.astype(np.float32), (-mean @ matrix).astype(np.float32)
    made: dict[str, Any] = {}
    for field in ("reference", "float32", "uint8"):
        graph = getattr(model, field)
        # A latent model's two graphs of batch 1 are one; so are ours.
        same = next((made[f] for f in made if getattr(model, f) is graph), None)
        made[field] = same if same is not None else _appended(graph, index, kernel, bias)
    return msgspec.structs.replace(model, **made)


def _appended(graph: Any, index: int, kernel: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> Any:
    """A graph with a fixed dense layer behind one of its outputs."""
    dense = keras.layers.Dense(kernel.shape[1], name="whitening", trainable=False)
    outputs = list(graph.outputs)
    z = dense(outputs[index])
    dense.set_weights([kernel, bias])
    outputs[index] = keras.layers.Identity(name="output_whitened")(z)
    return keras.Model(graph.inputs[0], outputs, name=graph.name)
