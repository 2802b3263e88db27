"""From the recipe's `[data]` to splits: one adapter per kind."""

from __future__ import annotations

from pathlib import Path

from bedside.export.data.types import ClassificationData
from bedside.export.recipe import DataRecipe


def load_data(
    recipe: DataRecipe, *, seed: int, root: Path | None = None
) -> ClassificationData:
    """Find, digest, group and split the data that a recipe names. Frames are read later, item by item.

    Args:
        recipe: `[data]`.
        seed: Of the splits and of drawn frames.
        root: Where relative paths start (`--data-root`, else `recipe_root(path)`).

    Returns:
        Items in three splits that share no group and no content.

    Raises:
        RecipeError: Files are missing or unreadable, a class is empty in a split, or content leaks between splits.
    """
    raise NotImplementedError
