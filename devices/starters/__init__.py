"""Bundles that travel with the package, each made by a recipe of the same name in `bedside.export.recipes`."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def starter_names() -> tuple[str, ...]:
    """Names that can stand wherever a bundle's path can."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.bedside")))


def resolve(bundle: str) -> Path:
    """The path behind what a person wrote: a starter's name, or a path."""
    if bundle in starter_names() and not Path(bundle).exists():
        return _FOLDER / f"{bundle}.bedside"
    return Path(bundle)
