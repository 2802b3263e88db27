"""What a converted file is, in the words of the engine that will run it on the device."""

from __future__ import annotations

from bedside.export.convert.artifact import KINDS, Artifact, ConversionError
from bedside.runtime import engines
from bedside.runtime.bundle.manifest import InputSpec, Quantization, TensorSpec
from bedside.runtime.engines.protocol import SessionOptions
from bedside.runtime.errors import BedsideError

_PIXELS = Quantization(scale=1.0, zero_point=0)


def describe(variant: str, data: bytes, spec: InputSpec) -> Artifact:
    """Compile a file, run it once, and keep what the engine says of its tensors.

    Args:
        variant: One of `KINDS`.
        data: The file.
        spec: What the file must take.

    Raises:
        ConversionError: The engine refuses the file, or it does not take uint8 pixels as they are (or, for a
            latent, float32 numbers).
    """
    form, precision = KINDS[variant]
    try:
        session = engines.compile_model(engines.preference(form)[0], data, form, SessionOptions(threads=1))
    except BedsideError as error:
        raise ConversionError(f"the converted file does not run: {error}", where=variant) from None
    try:
        inputs, outputs = session.inputs, session.outputs
        # Some kernels say only now that they have no form of that type (SQUARED_DIFFERENCE in int16).
        session.input().fill(0)
        session.invoke()
    except BedsideError as error:
        raise ConversionError(f"the converted file does not run: {error}", where=variant) from None
    finally:
        session.close()
    check_input(variant, inputs, spec)
    return Artifact(id=variant, format=form, precision=precision, data=data, inputs=inputs, outputs=outputs)


def check_input(variant: str, inputs: tuple[TensorSpec, ...], spec: InputSpec) -> None:
    """Refuse a file that would read pixels as anything but pixels.

    An input quantization of, say, (0.70, 0) comes of a calibration set without white; the device would feed
    it raw pixels, and every one of them would be misread without a word.

    Raises:
        ConversionError: With what it takes, and what it should.
    """
    dtype = "uint8" if spec.latent is None else "float32"
    if len(inputs) != 1 or inputs[0].shape != spec.shape or inputs[0].dtype != dtype:
        told = ", ".join(f"{list(t.shape)} {t.dtype}" for t in inputs)
        raise ConversionError(f"takes {told}, expected {list(spec.shape)} {dtype}", where=variant)
    quantization = inputs[0].quantization
    if quantization is not None and quantization != _PIXELS:
        raise ConversionError(
            f"reads a pixel p as {quantization.scale:.6g} * (p - {quantization.zero_point}), "
            "expected 1 * (p - 0)",
            where=variant,
            hint="a channel swap before the normalization does that: take it out (--preprocessing caffe)",
        )
