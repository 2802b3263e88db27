"""What is wanted of an export. Importable without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bedside.export.recipe import GateRecipe, GuardRecipe, QuantizationRecipe, TrustRecipe


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of an export, apart from model and data.

    Attributes:
        name: Of the bundle.
        version: Of the bundle, `1.2.3`.
        description: For the manifest and the card.
        intended_use: For the manifest and the card.
        authors: For the manifest and the card.
        copyright: For the manifest.
        licence: Of weights and card.
        seed: Of the calibration draw, splits and weights.
        quantization: Which variants.
        gate: What they have to reach.
        trust: What the device can say of its own answers.
        threshold: Score below which a detector's boxes are left out; None: chosen on the validation split.
        guard: An autoencoder that travels along.
        folders: Where the guard's bundle is looked for, in order.
        golden_from_data: Real frames of the holdout that go into the bundle as goldens; none by default.
        recipe_sha256: Of the recipe's bytes, where there was one.
    """

    name: str
    version: str = "1.0.0"
    description: str = ""
    intended_use: str = ""
    authors: str = ""
    copyright: str = ""
    licence: str = ""
    seed: int = 1
    quantization: QuantizationRecipe = QuantizationRecipe()
    gate: GateRecipe = GateRecipe()
    trust: TrustRecipe = TrustRecipe()
    threshold: float | None = None
    guard: GuardRecipe | None = None
    folders: tuple[Path, ...] = ()
    golden_from_data: int = 0
    recipe_sha256: str | None = None
