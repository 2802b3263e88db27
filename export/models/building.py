"""From the recipe's `[model]` to a network."""

from __future__ import annotations

from typing import Any

from bedside.export.models.cnn import textbook_cnn
from bedside.export.recipe import Recipe


def build_classifier(recipe: Recipe, classes: int) -> Any:
    """The network that a recipe asks for, with initial weights that depend on its seed alone.

    Args:
        recipe: `[model]` and `seed` count.
        classes: From the data.

    Returns:
        A `keras.Model`, `(N, H, W, C) float32` pixels 0..255 to `(N, classes)` probabilities, not compiled.

    Raises:
        RecipeError: The numbers do not fit together.
    """
    model = recipe.model
    return textbook_cnn(
        width=model.width,
        height=model.height,
        channels=model.channels,
        classes=classes,
        width_multiplier=model.width_multiplier,
        dense=model.dense,
        seed=recipe.seed,
    )
