"""From the recipe's `[data]` to splits: one adapter per kind."""

from __future__ import annotations

from pathlib import Path

from bedside.export.data.boxes import find_boxes
from bedside.export.data.class_folders import find_class_folders
from bedside.export.data.coco import find_coco
from bedside.export.data.collection import find_collection
from bedside.export.data.dicom_folders import find_dicom_folders
from bedside.export.data.drawn import find_synthetic
from bedside.export.data.duplicates import settle
from bedside.export.data.echonet import find_echonet
from bedside.export.data.folds import Fold
from bedside.export.data.frames import find_frames
from bedside.export.data.masks import find_masks
from bedside.export.data.medmnist import find_medmnist
from bedside.export.data.recipe import (
    BoxesData,
    ClassFoldersData,
    CocoData,
    CollectionData,
    DataRecipe,
    DicomFoldersData,
    EchoNetData,
    FramesData,
    MaskFoldersData,
    MedMnistData,
    SyntheticData,
    VideosData,
)
from bedside.export.data.splitting import Fractions, make_data
from bedside.export.data.types import DataSet, Found, Progress
from bedside.export.data.videos import find_videos


def load_data(
    recipe: DataRecipe,
    *,
    seed: int,
    root: Path | None = None,
    progress: Progress | None = None,
    fold: Fold | None = None,
) -> DataSet:
    """Find, digest, group and split the data that a recipe names.

    Args:
        recipe: `[data]`.
        seed: Of the splits and of drawn frames.
        root: Where relative paths start (`--data-root`, else `bedside.export.recipe_loading.recipe_root`).
        progress: Told of every file that was digested, then of every frame that was compared with the others.
        fold: Of a cross-validation: its holdout is dealt by content, whatever the seed.

    Returns:
        Items in splits that share no group, no content and no near-duplicate. Frames are read again when they
        are needed, item by item.

    Raises:
        RecipeError: Files are missing or unreadable, a class is empty in a split, content or a near-duplicate is
            in two splits that the data fixes, or folds are wanted of such data.
    """
    found = find_data(recipe, seed=seed, root=root, progress=progress)
    found = settle(found, recipe.near_duplicates, recipe.near_duplicate_correlation, progress)
    fractions = Fractions(recipe.holdout, recipe.validation, recipe.calibration)
    return make_data(found, fractions=fractions, seed=seed, fold=fold)


def find_data(
    recipe: DataRecipe, *, seed: int, root: Path | None = None, progress: Progress | None = None
) -> Found:
    """What the recipe's adapter finds, not yet split; see `load_data`."""
    match recipe:
        case ClassFoldersData():
            return find_class_folders(recipe, root=root, progress=progress)
        case DicomFoldersData():
            return find_dicom_folders(recipe, root=root, progress=progress)
        case MedMnistData():
            return find_medmnist(recipe, root=root, progress=progress)
        case SyntheticData():
            return find_synthetic(recipe, seed=seed)
        case CollectionData():
            return find_collection(recipe, seed=seed, root=root, progress=progress)
        case MaskFoldersData():
            return find_masks(recipe, root=root, progress=progress)
        case BoxesData():
            return find_boxes(recipe, root=root, progress=progress)
        case CocoData():
            return find_coco(recipe, root=root, progress=progress)
        case EchoNetData():
            return find_echonet(recipe, root=root, progress=progress)
        case VideosData():
            return find_videos(recipe, root=root, progress=progress)
        case FramesData():
            return find_frames(recipe, seed=seed, root=root, progress=progress)
