"""Load a stranger's `.keras` file, and nothing that could run code.

HDF5, pickle and Lambda layers execute what is in them (CVE-2025-1550, -8747, -9905, -9906; CVE-2026-0897): so
the archive is looked into first, every class it names must be Keras' own or registered by a module that the
caller imported, and Keras loads it in safe mode.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bedside.runtime.errors import UsageError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLED = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".ckpt")
#: `config.json` of an EfficientNetV2-L is 1 MB; a model that needs more is not one that runs on a device.
_MAX_CONFIG = 32 << 20
#: Keras' own layers that bring somebody else's code with them; not every Keras 3 refuses them in safe mode.
_WRAPPERS = ("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
_RESAVE = "load it where it was made and save it again with model.save('model.keras')"


def load_keras(path: str | Path, modules: Sequence[str] = ()) -> Any:
    """Load a `.keras` file in safe mode, computing in float32.

    Args:
        path: The file.
        modules: Imported first; they register custom classes with `keras.saving.register_keras_serializable`.
            Importing runs their code: name only your own.

    Returns:
        The Keras model.

    Raises:
        UsageError: The file is missing, of another kind, unsafe, or names classes that nobody registered.
    """
    path = Path(path)
    check_kind(path)
    for module in modules:
        _import(module)
    config = _config(path)
    _check_classes(config, str(path))
    import keras

    try:
        with warnings.catch_warnings():
            # Keras only warns when the file lacks weights of a layer, and leaves it untrained.
            warnings.filterwarnings("error", message="(?s).*(initialized weights|nested container)")
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its layers raise
        raise UsageError(f"cannot be loaded: {_innermost(error)}", where=str(path), hint=_hint()) from None
    if not isinstance(model, keras.Model):
        raise UsageError(f"holds a {type(model).__name__}, not a model", where=str(path))
    for layer in model._flatten_layers():
        policy = layer.dtype_policy
        if getattr(policy, "quantization_mode", None) is not None:
            what = f"layer {layer.name!r} was quantized by Keras ({policy.name})"
            raise UsageError(
                what, where=str(path), hint="export the float model; bedside quantizes and checks it"
            )
        if policy.compute_dtype not in (None, "float32"):
            layer.dtype_policy = (
                "float32"  # mixed precision: weights are float32, TFLite has no float16 kernels
            )
    return model


def check_kind(path: Path) -> None:
    """Refuse what is not a `.keras` archive, each kind with its own way out. Needs no TensorFlow.

    Raises:
        UsageError: With what it is instead.
    """
    where, suffix = str(path), path.suffix.lower()
    if path.is_dir():
        kind = "a SavedModel" if (path / "saved_model.pb").exists() else "a folder"
        raise UsageError(f"is {kind}, expected a .keras file", where=where, hint=_RESAVE)
    try:
        with path.open("rb") as file:
            magic = file.read(8)
    except FileNotFoundError:
        raise UsageError("no such file", where=where) from None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=where) from None
    if magic == _HDF5 or suffix in (".h5", ".hdf5"):
        raise UsageError("is HDF5, which can run code when it is loaded", where=where, hint=_RESAVE)
    if suffix in _PICKLED or magic[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise UsageError("is a pickle or a checkpoint, which can run code", where=where, hint=_RESAVE)
    if suffix in (".tflite", ".onnx"):
        hint = "bedside pack MODEL --manifest M.toml takes it as it is"
        raise UsageError(f"is a converted model ({suffix}), expected a .keras file", where=where, hint=hint)
    if not magic.startswith(b"PK") or not zipfile.is_zipfile(path):
        raise UsageError("is no .keras archive, or a damaged one", where=where, hint=_RESAVE)


def _config(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("config.json")
            if info.file_size > _MAX_CONFIG:
                raise UsageError(
                    f"config.json has {info.file_size} bytes, at most {_MAX_CONFIG}", where=str(path)
                )
            config = json.loads(archive.read(info))
    except (KeyError, zipfile.BadZipFile, OSError, ValueError, RecursionError, NotImplementedError) as error:
        raise UsageError(
            f"is no .keras archive, or a damaged one: {error}", where=str(path), hint=_RESAVE
        ) from None
    if not isinstance(config, dict):
        raise UsageError("config.json is no object", where=str(path), hint=_RESAVE)
    return config


def _check_classes(config: dict[str, Any], where: str) -> None:
    """Refuse Lambda layers and every class that is neither Keras' own nor registered."""
    import keras

    for entry in _objects(config):
        name = str(entry["class_name"])
        module, registered = entry.get("module"), entry.get("registered_name")
        inner = entry.get("config")
        if name in ("Lambda", "__lambda__"):
            layer = inner.get("name", "") if isinstance(inner, dict) else ""
            raise UsageError(
                f"holds a Lambda layer{f' {layer!r}' if layer else ''}, which is code",
                where=where,
                hint="replace it by a Rescaling or another built-in layer, or register a class of your own",
            )
        if name in _WRAPPERS:
            hint = "rebuild it of Keras layers and save that"
            raise UsageError(f"holds a {name}, which is code from elsewhere", where=where, hint=hint)
        if name == "function" and isinstance(inner, str):
            if module == "builtins" and keras.saving.get_registered_object(inner) is None:
                raise UsageError(
                    f"uses the function {inner!r}, which nobody registered", where=where, hint=_hint()
                )
            continue
        if isinstance(registered, str) and keras.saving.get_registered_object(registered) is not None:
            continue
        if module is None and (registered is None or ">" not in str(registered)):
            continue  # `slice`, `__tuple__`, `__keras_tensor__`: Keras' own notation, no class is looked up
        if not (isinstance(module, str) and (module == "keras" or module.startswith("keras."))):
            raise UsageError(f"holds the custom class {registered or name!r}", where=where, hint=_hint())


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every serialized object in a configuration, without recursion that an attacker could deepen."""
    stack = [value]
    while stack:
        here = stack.pop()
        if isinstance(here, dict):
            if "class_name" in here:
                yield here
            stack.extend(reversed(list(here.values())))
        elif isinstance(here, list):
            stack.extend(reversed(here))


def _import(module: str) -> None:
    # Files beside the working directory are what people name; `python -m` would find them as well.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        importlib.import_module(module)
    except Exception as error:
        raise UsageError(
            f"cannot be imported: {type(error).__name__}: {error}", where=f"--import {module}"
        ) from None


def _innermost(error: BaseException) -> str:
    """The last cause that Keras wraps into its message, on one line."""
    text = str(error)
    marker = "Exception encountered: "
    if marker in text:
        text = text.rsplit(marker, 1)[1]
    return " ".join(text.split())[:300] or type(error).__name__


def _hint() -> str:
    return "register it with @keras.saving.register_keras_serializable() and name its module with --import"
