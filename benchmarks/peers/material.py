"""The two models of a comparison, each as a file for the peers and, with the same bytes, as a bundle."""

from __future__ import annotations

import datetime
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from timing import invoke_ms

from bedside.devices.starters import resolve
from bedside.runtime import __version__
from bedside.runtime.bundle.decode import ClassificationDecode
from bedside.runtime.bundle.manifest import InputSpec, Model, Precision, Provenance
from bedside.runtime.bundle.reader import open_bundle
from bedside.runtime.bundle.writer import write_bundle
from bedside.runtime.errors import EngineError, UsageError
from bedside.runtime.packing import BundleDraft, ModelDraft, VariantDraft, build, drawn_goldens

#: A slow model that was kept is used again while it is as slow as that, of the time that is asked for.
KEEP = (0.85, 1.2)
_HEAVY_S = 600.0


class Material(msgspec.Struct, frozen=True):
    """One model.

    Attributes:
        file: The `.tflite` file.
        bundle: The same bytes as a bundle.
        labels: Of the classes.
        input: Of the model.
        description: For the report: name, digest, bytes, bare invoke in ms.
    """

    file: Path
    bundle: Path
    labels: tuple[str, ...]
    input: InputSpec
    description: dict[str, Any]


def fast(name: str, threads: int, folder: Path) -> Material:
    """The model of a bundle.

    Args:
        name: Of a starter bundle, or a path.
        threads: For its time.
        folder: Where files are written.

    Raises:
        UsageError: The bundle's model is none that every candidate can read.
    """
    with open_bundle(resolve(name)) as bundle:
        model = bundle.manifest.main
        decode = _readable(model, name)
        variant = next((v for v in model.shipped if v.id == "tflite-int8"), None)
        if variant is None or variant.file is None:
            raise UsageError("no variant tflite-int8 in it", where=name, hint="choose another --bundle")
        data = bundle.read(variant.file)
    return material("fast", bundle.manifest.name, data, model.input, decode, threads, folder)


def slow(like: Material, target_ms: float, threads: int, folder: Path, cache: Path) -> Material:
    """A model of the same contract that takes `target_ms` on this host.

    Args:
        like: Whose input and classes it has.
        target_ms: Of one invoke on LiteRT.
        threads: Of the engine.
        folder: Where files are written.
        cache: Where the model is kept for the next comparison.

    Raises:
        EngineError: TensorFlow is not here, or the model could not be made.
    """
    spec, labels = like.input, like.labels
    size = f"{spec.width}x{spec.height}"
    path = cache / f"slow-{size}-{len(labels)}-{threads}-{target_ms:.1f}.tflite"
    if path.is_file() and not KEEP[0] < invoke_ms(path.read_bytes(), threads) / target_ms < KEEP[1]:
        path.unlink()
    if not path.is_file():
        if importlib.util.find_spec("tensorflow") is None:
            hint = "pip install -e '.[export]', or leave the scenario out"
            raise EngineError("the slow model is made with TensorFlow, which is not here", hint=hint)
        words = [sys.executable, str(Path(__file__).with_name("heavy.py")), str(path), "--size", size]
        words += ["--target-ms", str(target_ms), "--threads", str(threads), "--labels", str(len(labels))]
        done = subprocess.run(words, capture_output=True, text=True, timeout=_HEAVY_S, check=False)
        if done.returncode:
            raise EngineError(f"the slow model was not made: {done.stderr.strip()[-300:]}")
    name = "slow"
    return material(name, name, path.read_bytes(), spec, ClassificationDecode(labels=labels), threads, folder)


def material(
    key: str,
    name: str,
    data: bytes,
    spec: InputSpec,
    decode: ClassificationDecode,
    threads: int,
    folder: Path,
    precision: Precision = "int8",
) -> Material:
    """Write a model's file and its bundle.

    The bundle resizes linearly whatever the first one did: so do all others, and area averages of a 1080p frame
    would cost them more than the model.

    Args:
        key: Of the files.
        name: Of the bundle.
        data: The `.tflite` file.
        spec: Its input.
        decode: Its output.
        threads: For its time.
        folder: Where files are written.
        precision: Of the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, bundle = folder / f"{key}.tflite", folder / f"{key}.bedside"
    file.write_bytes(data)
    spec = msgspec.structs.replace(spec, interpolation="linear")
    variant = VariantDraft(id=f"tflite-{precision}", format="tflite", precision=precision, data=data)
    draft = BundleDraft(
        name=name,
        version="1.0.0",
        task="classification",
        description="Made for a comparison of runtimes.",
        intended_use="Measuring. Its answers mean nothing.",
        models={
            "main": ModelDraft(
                input=spec,
                outputs=("scores",),
                decode=ClassificationDecode(labels=decode.labels, scores=decode.scores),
                variants=(variant,),
                frames=drawn_goldens(spec),
            )
        },
        card=f"# {name}\n\nMade for a comparison of runtimes.\n",
        provenance=Provenance(
            created_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            tools={"bedside": __version__},
        ),
        licence="Apache-2.0",
    )
    write_bundle(bundle, *build(draft))
    description = {
        "name": name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "input": f"{spec.width}x{spec.height}",
        "invoke_ms": round(invoke_ms(data, threads), 4),
    }
    return Material(file, bundle, decode.labels, spec, description)


def _readable(model: Model, name: str) -> ClassificationDecode:
    """How a model's output is read, if every candidate can."""
    spec, decode = model.input, model.decode
    plain = (spec.color, spec.resize, spec.dtype, spec.layout) == ("rgb", "stretch", "uint8", "nhwc")
    if not isinstance(decode, ClassificationDecode) or not plain or spec.normalization is not None:
        raise UsageError(
            "MediaPipe and Model API are compared on a classifier of stretched RGB uint8 pixels, which this is not",
            where=name,
            hint="modality-cnn is one",
        )
    return decode
