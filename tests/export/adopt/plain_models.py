"""The architectures of the field as strangers write them: in the words of tutorials, tiny, untrained.

Nothing here knows bedside: no names for outputs, no fixed initial weights, normalization where the tutorial has
it. `PLAIN` says of each what its author would tell `bedside export`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops


def textbook_cnn() -> Any:
    """tensorflow.org/tutorials/images/classification."""
    return keras.Sequential(
        [
            layers.Input(shape=(32, 32, 3)),
            layers.Rescaling(1.0 / 255),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(3),
        ]
    )


def binary_cnn() -> Any:
    """Cats and dogs: one sigmoid."""
    model = keras.models.Sequential()
    model.add(layers.Input(shape=(32, 32, 1)))
    model.add(layers.Conv2D(8, (3, 3), activation="relu"))
    model.add(layers.MaxPooling2D((2, 2)))
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(1, activation="sigmoid"))
    return model


def alexnet() -> Any:
    """Krizhevsky et al., 2012, as a Sequential."""
    return keras.models.Sequential(
        [
            layers.Input(shape=(67, 67, 3)),
            layers.Conv2D(8, kernel_size=(11, 11), strides=(4, 4), activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPool2D(pool_size=(3, 3), strides=(2, 2)),
            layers.Conv2D(16, kernel_size=(5, 5), activation="relu", padding="same"),
            layers.BatchNormalization(),
            layers.MaxPool2D(pool_size=(3, 3), strides=(2, 2)),
            layers.Conv2D(16, kernel_size=(3, 3), activation="relu", padding="same"),
            layers.Conv2D(16, kernel_size=(3, 3), activation="relu", padding="same"),
            layers.Conv2D(16, kernel_size=(3, 3), activation="relu", padding="same"),
            layers.MaxPool2D(pool_size=(3, 3), strides=(2, 2)),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ]
    )


def vgg() -> Any:
    """Simonyan and Zisserman, 2014: blocks of 3x3 convolutions."""
    model = keras.Sequential()
    model.add(layers.Input(shape=(32, 32, 3)))
    for filters, repeats in ((8, 1), (16, 2), (16, 2)):
        for _ in range(repeats):
            model.add(layers.Conv2D(filters, (3, 3), padding="same", activation="relu"))
        model.add(layers.MaxPooling2D((2, 2), strides=(2, 2)))
    model.add(layers.Flatten())
    model.add(layers.Dense(32, activation="relu"))
    model.add(layers.Dense(3, activation="softmax"))
    return model


def transfer() -> Any:
    """keras.io/guides/transfer_learning: a network without its top (here a small one), a pooling, a dense layer."""
    pixels = keras.Input(shape=(32, 32, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(pixels)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.DepthwiseConv2D(3, strides=2, use_bias=False)(x)
    base = keras.Model(pixels, layers.ReLU(6.0)(layers.BatchNormalization()(x)))
    base.trainable = False
    inputs = keras.Input(shape=(32, 32, 3))
    x = layers.RandomFlip("horizontal")(inputs)
    x = keras.applications.mobilenet_v2.preprocess_input(x)
    x = base(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(inputs, layers.Dense(3)(x))


@keras.saving.register_keras_serializable(package="stranger")
class Patches(layers.Layer):  # type: ignore[misc]
    """keras.io/examples/vision/image_classification_with_vision_transformer."""

    def __init__(self, patch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch_size = patch_size

    def call(self, images: Any) -> Any:
        shape = ops.shape(images)
        batch, height, width, channels = shape[0], shape[1], shape[2], shape[3]
        rows, columns = height // self.patch_size, width // self.patch_size
        patches = ops.image.extract_patches(images, size=self.patch_size)
        return ops.reshape(patches, (batch, rows * columns, self.patch_size * self.patch_size * channels))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "patch_size": self.patch_size}


@keras.saving.register_keras_serializable(package="stranger")
class PatchEncoder(layers.Layer):  # type: ignore[misc]
    """The same example's projection and learned positions."""

    def __init__(self, num_patches: int, projection_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_patches, self.projection_dim = num_patches, projection_dim
        self.projection = layers.Dense(units=projection_dim)
        self.position_embedding = layers.Embedding(input_dim=num_patches, output_dim=projection_dim)

    def build(self, input_shape: Any) -> None:
        self.projection.build(input_shape)
        self.position_embedding.build((1, self.num_patches))
        self.built = True

    def call(self, patch: Any) -> Any:
        positions = ops.expand_dims(ops.arange(start=0, stop=self.num_patches, step=1), axis=0)
        return self.projection(patch) + self.position_embedding(positions)

    def get_config(self) -> dict[str, Any]:
        config = {"num_patches": self.num_patches, "projection_dim": self.projection_dim}
        return {**super().get_config(), **config}


def vit() -> Any:
    """The same example's classifier, with its augmentation and its adapted Normalization in front."""
    inputs = keras.Input(shape=(32, 32, 3))
    augmentation = keras.Sequential(
        [
            layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3000.0, 3100.0, 3200.0]),
            layers.Resizing(24, 24),
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(factor=0.02),
        ]
    )
    encoded = PatchEncoder(16, 8)(Patches(6)(augmentation(inputs)))
    for _ in range(2):
        x1 = layers.LayerNormalization(epsilon=1e-6)(encoded)
        attention = layers.MultiHeadAttention(num_heads=2, key_dim=8, dropout=0.1)(x1, x1)
        x2 = layers.Add()([attention, encoded])
        x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
        x3 = layers.Dense(16, activation=keras.activations.gelu)(x3)
        x3 = layers.Dense(8, activation=keras.activations.gelu)(x3)
        encoded = layers.Add()([layers.Dropout(0.1)(x3), x2])
    representation = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(encoded))
    features = layers.Dense(16, activation=keras.activations.gelu)(layers.Dropout(0.5)(representation))
    return keras.Model(inputs=inputs, outputs=layers.Dense(3)(features))


def dense_autoencoder() -> Any:
    """A code of 64 with ReLU and a sigmoid decoder, as one Sequential of two."""
    encoder = keras.Sequential([layers.Input((28, 28, 1)), layers.Flatten(), layers.Dense(64, "relu")])
    decoder = keras.Sequential([layers.Dense(28 * 28, activation="sigmoid"), layers.Reshape((28, 28, 1))])
    return keras.Sequential([encoder, decoder])


def flat_autoencoder() -> Any:
    """blog.keras.io/building-autoencoders-in-keras: 784 numbers in, 784 out."""
    inputs = keras.Input(shape=(784,))
    encoded = layers.Dense(32, activation="relu")(inputs)
    return keras.Model(inputs, layers.Dense(784, activation="sigmoid")(encoded))


@keras.saving.register_keras_serializable(package="stranger")
class Autoencoder(keras.Model):  # type: ignore[misc]
    """tensorflow.org/tutorials/generative/autoencoder: a subclass with an encoder and a decoder."""

    def __init__(self, latent_dim: int = 16, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.latent_dim = latent_dim
        self.encoder = keras.Sequential([layers.Flatten(), layers.Dense(latent_dim, activation="relu")])
        self.decoder = keras.Sequential(
            [layers.Dense(784, activation="sigmoid"), layers.Reshape((28, 28, 1))]
        )

    def call(self, x: Any) -> Any:
        return self.decoder(self.encoder(x))

    def get_config(self) -> dict[str, Any]:
        return {"latent_dim": self.latent_dim}


def subclassed_autoencoder() -> Any:
    """Called once, as after `fit`."""
    model = Autoencoder()
    model(np.zeros((1, 28, 28, 1), np.float32))
    return model


def conv_autoencoder() -> Any:
    """keras.io/examples/vision/autoencoder: a functional one with transposed convolutions."""
    inputs = layers.Input(shape=(28, 28, 1))
    x = layers.Conv2D(8, (3, 3), activation="relu", padding="same")(inputs)
    x = layers.MaxPooling2D((2, 2), padding="same")(x)
    x = layers.Conv2D(8, (3, 3), activation="relu", padding="same")(x)
    x = layers.MaxPooling2D((2, 2), padding="same")(x)
    x = layers.Conv2DTranspose(8, (3, 3), strides=2, activation="relu", padding="same")(x)
    x = layers.Conv2DTranspose(8, (3, 3), strides=2, activation="relu", padding="same")(x)
    return keras.Model(inputs, layers.Conv2D(1, (3, 3), activation="sigmoid", padding="same")(x))


def coding_autoencoder() -> Any:
    """With its own scaling to -1..1, tanh, and the code as a second output."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 127.5, -1)(inputs)
    code = layers.Dense(8)(layers.Flatten()(x))
    x = layers.Dense(16 * 16 * 3, activation="tanh")(code)
    return keras.Model(inputs, [layers.Reshape((16, 16, 3))(x), code])


def dcgan_generator() -> Any:
    """tensorflow.org/tutorials/generative/dcgan, `make_generator_model`."""
    model = keras.Sequential()
    model.add(layers.Input((100,)))
    model.add(layers.Dense(7 * 7 * 16, use_bias=False))
    model.add(layers.BatchNormalization())
    model.add(layers.LeakyReLU())
    model.add(layers.Reshape((7, 7, 16)))
    model.add(layers.Conv2DTranspose(8, (5, 5), strides=(1, 1), padding="same", use_bias=False))
    model.add(layers.BatchNormalization())
    model.add(layers.LeakyReLU())
    model.add(layers.Conv2DTranspose(4, (5, 5), strides=(2, 2), padding="same", use_bias=False))
    model.add(layers.BatchNormalization())
    model.add(layers.LeakyReLU())
    model.add(
        layers.Conv2DTranspose(1, (5, 5), strides=(2, 2), padding="same", use_bias=False, activation="tanh")
    )
    return model


def torch_like_generator() -> Any:
    """The latent as a picture of one pixel, as PyTorch's tutorial has it."""
    noise = keras.Input((1, 1, 32))
    x = layers.Conv2DTranspose(8, 4, activation="relu")(noise)
    x = layers.Conv2DTranspose(4, 4, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="tanh")(x)
    return keras.Model(noise, x * 0.5 + 0.5)


def unet(classes: int = 1) -> Any:
    """Ronneberger et al., 2015, functional, nothing named."""

    def double(x: Any, filters: int) -> Any:
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        return layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)

    inputs = layers.Input(shape=(32, 32, 3))
    f1 = double(inputs, 4)
    f2 = double(layers.Dropout(0.3)(layers.MaxPool2D(2)(f1)), 8)
    bottleneck = double(layers.Dropout(0.3)(layers.MaxPool2D(2)(f2)), 16)
    u2 = layers.Conv2DTranspose(8, 3, 2, padding="same")(bottleneck)
    u2 = double(layers.Dropout(0.3)(layers.concatenate([u2, f2])), 8)
    u1 = layers.Conv2DTranspose(4, 3, 2, padding="same")(u2)
    u1 = double(layers.Dropout(0.3)(layers.concatenate([u1, f1])), 4)
    activation = "sigmoid" if classes == 1 else "softmax"
    return keras.Model(inputs, layers.Conv2D(classes, 1, padding="same", activation=activation)(u1))


def unet_of_four() -> Any:
    """The same with a softmax over four classes."""
    return unet(4)


def deeplab() -> Any:
    """keras.io/examples/vision/deeplabv3_plus, on a small network in place of ResNet-50."""

    def convolution_block(x: Any, filters: int = 8, kernel_size: int = 3, dilation_rate: int = 1) -> Any:
        x = layers.Conv2D(filters, kernel_size, dilation_rate=dilation_rate, padding="same", use_bias=False)(
            x
        )
        return ops.nn.relu(layers.BatchNormalization()(x))

    def pyramid(x: Any) -> Any:
        dims = x.shape
        pooled = layers.AveragePooling2D(pool_size=(dims[-3], dims[-2]))(x)
        pooled = convolution_block(pooled, kernel_size=1)
        pooled = layers.UpSampling2D(size=(dims[-3], dims[-2]), interpolation="bilinear")(pooled)
        branches = [convolution_block(x, kernel_size=1 if r == 1 else 3, dilation_rate=r) for r in (1, 2, 3)]
        return convolution_block(layers.Concatenate(axis=-1)([pooled, *branches]), kernel_size=1)

    size = 32
    model_input = keras.Input(shape=(size, size, 3))
    preprocessed = keras.applications.resnet50.preprocess_input(model_input)
    low = layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(preprocessed)
    deep = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(low)
    x = pyramid(deep)
    input_a = layers.UpSampling2D(
        size=(size // 4 // x.shape[1], size // 4 // x.shape[2]), interpolation="bilinear"
    )(x)
    input_b = convolution_block(low, filters=4, kernel_size=1)
    x = convolution_block(convolution_block(layers.Concatenate(axis=-1)([input_a, input_b])))
    x = layers.UpSampling2D(size=(size // x.shape[1], size // x.shape[2]), interpolation="bilinear")(x)
    return keras.Model(model_input, layers.Conv2D(3, kernel_size=(1, 1), padding="same")(x))


def pix2pix_generator() -> Any:
    """tensorflow.org/tutorials/generative/pix2pix, `Generator`, four steps down in place of eight."""

    def downsample(filters: int, size: int, apply_batchnorm: bool = True) -> Any:
        result = keras.Sequential()
        result.add(layers.Conv2D(filters, size, strides=2, padding="same", use_bias=False))
        if apply_batchnorm:
            result.add(layers.BatchNormalization())
        result.add(layers.LeakyReLU())
        return result

    def upsample(filters: int, size: int, apply_dropout: bool = False) -> Any:
        result = keras.Sequential()
        result.add(layers.Conv2DTranspose(filters, size, strides=2, padding="same", use_bias=False))
        result.add(layers.BatchNormalization())
        if apply_dropout:
            result.add(layers.Dropout(0.5))
        result.add(layers.ReLU())
        return result

    inputs = layers.Input(shape=[32, 32, 3])
    down_stack = [
        downsample(4, 4, apply_batchnorm=False),
        downsample(8, 4),
        downsample(8, 4),
        downsample(8, 4),
    ]
    up_stack = [upsample(8, 4, apply_dropout=True), upsample(8, 4), upsample(4, 4)]
    last = layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="tanh")
    x, skips = inputs, []
    for down in down_stack:
        x = down(x)
        skips.append(x)
    for up, skip in zip(up_stack, reversed(skips[:-1]), strict=True):
        x = layers.Concatenate()([up(x), skip])
    return keras.Model(inputs=inputs, outputs=last(x))


def box_regressor() -> Any:
    """One object per picture: two dense heads behind one body."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    flat = layers.Flatten()(x)
    box = layers.Dense(4, activation="sigmoid", name="bounding_box")(
        layers.Dense(16, activation="relu")(flat)
    )
    label = layers.Dense(3, activation="softmax", name="class_label")(
        layers.Dense(16, activation="relu")(flat)
    )
    return keras.Model(inputs, outputs=[box, label])


def grid_detector() -> Any:
    """FCOS without its centre-ness: scores and exp(distances) on two grids, scores first."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    fine = layers.Conv2D(8, 3, strides=8, padding="same", activation="relu")(x)
    coarse = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(fine)
    scores, boxes = (
        layers.Conv2D(2, 3, padding="same", activation="sigmoid"),
        layers.Conv2D(4, 3, padding="same"),
    )
    outputs = []
    for features in (fine, coarse):
        outputs += [scores(features), ops.exp(boxes(features))]
    return keras.Model(inputs, outputs)


@keras.saving.register_keras_serializable(package="stranger")
class Queries(layers.Layer):  # type: ignore[misc]
    """Learned object queries, once per sample."""

    def __init__(self, count: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count, self.width = count, width

    def build(self, input_shape: Any) -> None:
        self.table = self.add_weight(shape=(1, self.count, self.width), name="table")

    def call(self, memory: Any) -> Any:
        return ops.tile(self.table, (ops.shape(memory)[0], 1, 1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count, "width": self.width}


def detr() -> Any:
    """Carion et al., 2020, with the reference code's output: a dict, logits, the no-object class last."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, strides=8, padding="same", activation="relu")(inputs)
    memory = layers.Reshape((16, 8))(x)
    queries = Queries(5, 8)(memory)
    hidden = layers.MultiHeadAttention(num_heads=2, key_dim=4)(queries, memory)
    hidden = layers.LayerNormalization()(layers.Add()([queries, hidden]))
    boxes = layers.Dense(4, activation="sigmoid")(layers.Dense(8, activation="relu")(hidden))
    return keras.Model(inputs, {"pred_logits": layers.Dense(4)(hidden), "pred_boxes": boxes})


#: Every model, and what has to be said of it: task, labels, preprocessing by name, size and channels where it
#: does not tell, and options.
PLAIN: dict[str, tuple[Callable[[], Any], str, tuple[str, ...], str | None, dict[str, Any]]] = {
    "textbook cnn": (textbook_cnn, "classification", ("a", "b", "c"), None, {}),
    "binary cnn": (binary_cnn, "classification", ("a", "b"), "unit", {}),
    "alexnet": (alexnet, "classification", ("a", "b", "c"), "unit", {}),
    "vgg": (vgg, "classification", ("a", "b", "c"), "caffe", {}),
    "transfer": (transfer, "classification", ("a", "b", "c"), None, {}),
    "vit": (vit, "classification", ("a", "b", "c"), None, {}),
    "dense autoencoder": (dense_autoencoder, "reconstruction", (), "unit", {}),
    "flat autoencoder": (flat_autoencoder, "reconstruction", (), "unit", {"size": (28, 28), "channels": 1}),
    "subclassed autoencoder": (
        subclassed_autoencoder, "reconstruction", (), "unit", {"low": 0.0, "high": 1.0},
    ),
    "convolutional autoencoder": (conv_autoencoder, "reconstruction", (), "unit", {}),
    "autoencoder with a code": (coding_autoencoder, "reconstruction", (), None, {}),
    "dcgan generator": (dcgan_generator, "generation", (), None, {}),
    "generator of 1x1": (torch_like_generator, "generation", (), None, {}),
    "u-net": (unet, "segmentation", ("background", "polyp"), "unit", {}),
    "u-net of four": (unet_of_four, "segmentation", ("background", "a", "b", "c"), "imagenet", {}),
    "deeplab": (deeplab, "segmentation", ("background", "a", "b"), None, {}),
    "pix2pix generator": (pix2pix_generator, "translation", (), "symmetric", {}),
    "box regressor": (box_regressor, "detection", ("a", "b", "c"), "unit", {"coding": "xyxy"}),
    "grid detector": (grid_detector, "detection", ("a", "b"), None, {}),
    "detr": (
        detr, "detection", ("a", "b", "c"), "imagenet",
        {"coding": "cxcywh", "activation": "softmax", "background": "last", "iou": None},
    ),
}  # fmt: skip
