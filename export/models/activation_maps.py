"""Class activation maps as a second output of the same forward pass (Zhou et al., 2016).

A classifier that ends in global average pooling and one dense layer sums, for every class, its last features
with that class's weights. Doing so before the average tells where the evidence lay: `map[y, x, k] = sum_d
features[y, x, d] kernel[d, k]` (section 2, equation 2), and its mean over the frame plus the bias is the
logit of class k. No gradients are needed, so a device can do it: one 1x1 convolution.
"""

from __future__ import annotations

from typing import Any

from bedside.export.backend import keras


@keras.saving.register_keras_serializable(package="bedside")
class ClassActivationHead(keras.layers.Layer):  # type: ignore[misc]
    """Global average pooling, a dense layer, and that layer's own weights at every position.

    Takes features `(N, h, w, D)`, gives scores `(N, units)` and maps `(N, h, w, units)`. Maps are in the
    units of logits, before the bias and before the activation. The scores are computed as without maps, from
    the averaged features, and not from the maps: a quantized variant then keeps the scores that it would have
    without them.
    """

    def __init__(
        self,
        units: int,
        *,
        activation: Any = "softmax",
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernel `(D, units)` and the bias `(units,)`."""
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.units), initializer=self.kernel_initializer, name="kernel"
        )
        self.bias = self.add_weight(shape=(self.units,), initializer=self.bias_initializer, name="bias")
        self.built = True

    def call(self, features: Any) -> tuple[Any, Any]:
        """Scores `(N, units)` and maps `(N, h, w, units)` of features `(N, h, w, D)`."""
        ops = keras.ops
        kernel = ops.convert_to_tensor(self.kernel)
        pooled = ops.mean(features, axis=(1, 2))
        scores = self.activation(ops.add(ops.matmul(pooled, kernel), self.bias))
        pointwise = ops.reshape(kernel, (1, 1, *self.kernel.shape))
        return scores, ops.conv(features, pointwise, data_format="channels_last")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> Any:
        """Of both outputs."""
        return (input_shape[0], self.units), (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        config: dict[str, Any] = super().get_config()
        return config | {
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


def pooled_head(
    features: Any,
    classes: int,
    *,
    dropout: float,
    maps: bool,
    kernel_initializer: Any,
    seed: int | None = None,
) -> list[Any]:
    """The end of a classifier: global average pooling, dropout, softmax; and maps if asked for.

    Args:
        features: `(N, h, w, D)`.
        classes: K.
        dropout: Rate on the pooled features. With maps whole feature maps are dropped before the pooling,
            which is the same thing.
        maps: Adds the second output.
        kernel_initializer: Of the dense layer.
        seed: Of the dropout.

    Returns:
        `[probabilities (N, K)]`, or `[probabilities (N, K), map (N, h, w, K)]`, with these names.
    """
    layers = keras.layers
    if maps:
        x = layers.SpatialDropout2D(dropout, seed=seed, name="dropout")(features)
        head = ClassActivationHead(
            classes, kernel_initializer=kernel_initializer, dtype="float32", name="activation_maps"
        )
        return _named(head(x))
    x = layers.GlobalAveragePooling2D(name="pool")(features)
    x = layers.Dropout(dropout, seed=seed, name="dropout")(x)
    dense = layers.Dense(
        classes,
        activation="softmax",
        kernel_initializer=kernel_initializer,
        dtype="float32",
        name="probabilities",
    )
    return [dense(x)]


def with_maps(model: Any) -> Any | None:
    """The same trained classifier with maps as a second output.

    Everything up to the pooling is shared with `model`; the dense layer's weights are copied.

    Args:
        model: A functional or Sequential `keras.Model` with one output that ends in GlobalAveragePooling2D,
            Dropout or not, Dense with softmax or linear, Softmax or not. Any part of it may sit in a model
            inside the model, as in `Sequential([MobileNetV2(include_top=False), ...])`.

    Returns:
        A functional `keras.Model` with outputs `[scores (N, K), map (N, h, w, K)]`, scores as in `model`; None
        where the model does not end like that.
    """
    tail = _peel(model)
    activation = "linear"
    if tail is not None and _is_softmax(tail[0]):
        activation, tail = "softmax", _peel(tail[1])
    if tail is None or type(tail[0]) is not keras.layers.Dense:
        return None
    dense, before = tail
    own = keras.activations.serialize(dense.activation)
    # A softmax of a softmax is somebody's mistake, and not for us to repeat.
    if own not in (["linear"] if activation == "softmax" else ["linear", "softmax"]):
        return None
    activation = "softmax" if own == "softmax" else activation
    tail = _peel(before)
    rate = 0.0
    if tail is not None and type(tail[0]) is keras.layers.Dropout:
        rate, tail = float(tail[0].rate), _peel(tail[1])
    if tail is None or type(tail[0]) is not keras.layers.GlobalAveragePooling2D:
        return None
    pool, features = tail
    if pool.data_format != "channels_last" or pool.keepdims:
        return None
    x = features.outputs[0]
    if rate:
        x = keras.layers.SpatialDropout2D(rate)(x)
    head = ClassActivationHead(
        dense.units, activation=activation, dtype=dense.dtype_policy, name="activation_maps"
    )
    outputs = _named(head(x))
    head.kernel.assign(dense.kernel)
    if dense.use_bias:
        head.bias.assign(dense.bias)
    return keras.Model(features.inputs[0], outputs, name=model.name)


def _named(outputs: tuple[Any, Any]) -> list[Any]:
    """Float32 under every precision policy, and names by which losses and converters tell them apart."""
    names = ("probabilities", "map")
    return [
        keras.layers.Identity(dtype="float32", name=name)(x) for name, x in zip(names, outputs, strict=True)
    ]


def _is_softmax(layer: Any) -> bool:
    if type(layer) is keras.layers.Softmax:
        return layer.axis in (-1, 1)
    return type(layer) is keras.layers.Activation and layer.activation is keras.activations.softmax


def _peel(model: Any) -> tuple[Any, Any] | None:
    """The last layer of a model, and the model that ends in that layer's input.

    None where either is not one tensor, or the model takes more than one.
    """
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs or len(inputs) != 1 or len(outputs) != 1:
        return None
    history = outputs[0]._keras_history
    layer = history.operation
    sources = layer._inbound_nodes[history.node_index].input_tensors
    if len(sources) != 1:
        return None
    if not isinstance(layer, keras.Model):
        return layer, keras.Model(inputs[0], sources[0])
    inner = _peel(layer)
    if inner is None:
        return None
    last, before = inner
    return last, keras.Model(inputs[0], before(sources[0]))
