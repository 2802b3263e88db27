"""Recipes, by name or out of a file: read strictly, and checked for contradictions."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bedside.export.data.recipe_checks import check_data, labels_of, tasks_of
from bedside.export.models.recipe import task_of
from bedside.export.recipe import Recipe, VariantId
from bedside.runtime import strict_toml
from bedside.runtime.errors import RecipeError, UsageError


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with bedside, sorted."""
    folder = importlib.resources.files("bedside.export.recipes")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load_recipe(path: str | Path) -> tuple[Recipe, str]:
    """Read and check a recipe.

    Args:
        path: A TOML file, or the name of a shipped recipe.

    Returns:
        The recipe, and the sha256 of its bytes (hex).

    Raises:
        RecipeError: It is missing, no TOML, misspelt, or contradicts itself.
    """
    data, where = _read(path)
    digest = hashlib.sha256(data).hexdigest()
    recipe = strict_toml.loads(data, Recipe, error=RecipeError, where=where)
    check_recipe(recipe, where=where)
    return recipe, digest


def recipe_root(path: str | Path) -> Path | None:
    """Where relative data paths start when nobody says: the recipe's folder; None for a shipped recipe."""
    file = Path(path)
    return file.resolve().parent if file.is_file() else None


def parse_recipe(raw: Mapping[str, object], *, where: str = "recipe") -> Recipe:
    """Check a recipe that was parsed already.

    Args:
        raw: As `tomllib` gives it.
        where: Named in errors.

    Raises:
        RecipeError: With the path of the key, and what is allowed there.
    """
    recipe = strict_toml.convert(raw, Recipe, error=RecipeError, where=where)
    check_recipe(recipe, where=where)
    return recipe


def check_recipe(recipe: Recipe, *, where: str = "recipe") -> None:
    """Check what the schema alone cannot.

    Raises:
        RecipeError: Keys that contradict each other, both named.
    """
    channels, color = recipe.model.channels, recipe.input.color
    if color is not None and (color == "gray") != (channels == 1):
        raise RecipeError(f"input.color {color!r} does not fit model.channels {channels}", where=where)
    check_data(recipe.data, where=where)
    task, learnt = task_of(recipe.model), tasks_of(recipe.data)
    architecture, kind = (type(part).__struct_config__.tag for part in (recipe.model, recipe.data))
    if recipe.task not in (None, task):
        raise RecipeError(
            f"task {recipe.task!r} does not fit model.architecture {architecture!r}, which is for {task}",
            where=where,
        )
    if task not in learnt:
        raise RecipeError(
            f"model.architecture {architecture!r} is for {task}, such data of the kind {kind!r} for "
            f"{', '.join(learnt)}",
            where=where,
        )
    _check_unvalidated(recipe, task, where)
    quantization = recipe.quantization
    shipped, chosen = quantization.ship or (), quantization.default
    for key, ids in (("ship", shipped), ("variants", quantization.variants)):
        if len(set(ids)) != len(ids):
            raise RecipeError(f"quantization.{key} names a variant twice: {', '.join(ids)}", where=where)
    for key, ids in (("ship", shipped), ("default", () if chosen is None else (chosen,))):
        for stray in (i for i in ids if i not in quantization.variants):
            raise RecipeError(
                f"quantization.{key} names {stray!r}, which is not in quantization.variants", where=where
            )
    if shipped and chosen not in (None, *shipped):
        raise RecipeError(f"quantization.default {chosen!r} is not in quantization.ship", where=where)
    labels = labels_of(recipe.data)
    for label in (s for s in recipe.training.augment.screen_labels or () if labels and s not in labels):
        raise RecipeError(
            f"training.augment.screen_labels names {label!r}, which is not in data.labels",
            where=where,
            hint=", ".join(labels or ()),
        )


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with a shorter or longer training.

    Raises:
        UsageError: Not 1 to 10,000.
    """
    if not 1 <= epochs <= 10_000:
        raise UsageError(f"{epochs} epochs, 1 to 10000 are possible", where="--epochs")
    training = recipe.training
    training = msgspec.structs.replace(training, epochs=epochs, warm_up=min(training.warm_up, epochs // 4))
    return msgspec.structs.replace(recipe, training=training)


def with_variants(recipe: Recipe, variants: tuple[VariantId, ...]) -> Recipe:
    """The recipe with other variants; what it ships of them stays, and where that is nothing, all may ship."""
    wanted = recipe.quantization
    ship = tuple(v for v in wanted.ship or () if v in variants) or None
    default = wanted.default if wanted.default in (ship or variants) else None
    quantization = msgspec.structs.replace(wanted, variants=variants, ship=ship, default=default)
    return msgspec.structs.replace(recipe, quantization=quantization)


def _check_unvalidated(recipe: Recipe, task: str, where: str) -> None:
    """What needs a validation split has to have one."""
    if recipe.data.validation > 0:
        return
    needed = {
        "training.patience": recipe.training.patience > 0,
        "training.strategy": recipe.training.strategy != "none",
        f"the task {task}": task in ("reconstruction", "generation", "translation"),
        "a detector without detection.threshold": task == "detection" and recipe.detection.threshold is None,
    }
    for what in (name for name, needs in needed.items() if needs):
        raise RecipeError(f"data.validation is 0, but {what} needs a validation split", where=where)


def _read(path: str | Path) -> tuple[bytes, str]:
    name, shipped = str(path), shipped_recipes()
    if name in shipped and not Path(path).is_file():
        resource = importlib.resources.files("bedside.export.recipes") / f"{name}.toml"
        return resource.read_bytes(), name
    hint = f"{strict_toml.did_you_mean(name, shipped)}recipes that come with bedside: {', '.join(shipped)}"
    return strict_toml.read_file(path, error=RecipeError, hint=hint), name
