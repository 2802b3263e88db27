"""From the recipe's `[data]` to splits: one adapter per kind."""

from __future__ import annotations

from pathlib import Path

from bedside.export.data.class_folders import load_class_folders
from bedside.export.data.collection import load_collection
from bedside.export.data.dicom_folders import load_dicom_folders
from bedside.export.data.drawn import load_synthetic
from bedside.export.data.medmnist import load_medmnist
from bedside.export.data.types import ClassificationData, Progress
from bedside.export.recipe import (
    ClassFoldersData,
    CollectionData,
    DataRecipe,
    DicomFoldersData,
    MedMnistData,
    SyntheticData,
)


def load_data(
    recipe: DataRecipe, *, seed: int, root: Path | None = None, progress: Progress | None = None
) -> ClassificationData:
    """Find, digest, group and split the data that a recipe names. Frames are read later, item by item.

    Args:
        recipe: `[data]`.
        seed: Of the splits and of drawn frames.
        root: Where relative paths start (`--data-root`, else `bedside.export.recipe.recipe_root`).
        progress: Told of every file that was digested.

    Returns:
        Items in three splits that share no group and no content.

    Raises:
        RecipeError: Files are missing or unreadable, a class is empty in a split, or content leaks between
            splits.
    """
    match recipe:
        case ClassFoldersData():
            return load_class_folders(recipe, seed=seed, root=root, progress=progress)
        case DicomFoldersData():
            return load_dicom_folders(recipe, seed=seed, root=root, progress=progress)
        case MedMnistData():
            return load_medmnist(recipe, seed=seed, root=root, progress=progress)
        case SyntheticData():
            return load_synthetic(recipe, seed=seed)
        case CollectionData():
            return load_collection(recipe, seed=seed, root=root, progress=progress)
