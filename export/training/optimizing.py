"""From `[training]` to an optimizer."""

from __future__ import annotations

import math
from typing import Any

from bedside.export.backend import keras
from bedside.export.recipe import TrainingRecipe

#: Largest norm of a gradient: one odd batch of a small data set must not undo an epoch (Pascanu et al., 2013).
_CLIP = 5.0


def optimizer(settings: TrainingRecipe, steps: int) -> Any:
    """The optimizer of a recipe.

    Args:
        settings: `[training]`.
        steps: Per epoch.
    """
    rate = learning_rate(settings, steps)
    average = {} if settings.average is None else {"use_ema": True, "ema_momentum": settings.average}
    if settings.optimizer == "adamw":
        chosen = keras.optimizers.AdamW(
            rate, weight_decay=settings.weight_decay, global_clipnorm=_CLIP, **average
        )
        # Scales and shifts are few and have their own size; decay would only hold them back.
        chosen.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return chosen
    return keras.optimizers.Adam(rate, **average)


def learning_rate(settings: TrainingRecipe, steps: int) -> Any:
    """The rate, or its schedule over all steps of all epochs."""
    rate = settings.learning_rate if settings.learning_rate is not None else 1e-3
    total, warm = steps * settings.epochs, steps * settings.warm_up
    if settings.schedule == "cosine":
        return WarmCosine(rate, warm, max(1, total))
    return rate if not warm else WarmCosine(rate, warm, 0)


@keras.saving.register_keras_serializable(package="bedside")
class WarmCosine(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A linear rise, then half a cosine down to 0 at `total` (Loshchilov & Hutter, SGDR, 2017), or constant.

    Args:
        rate: The highest.
        warm: Steps of the rise.
        total: Steps in all; 0: constant after the rise.
    """

    def __init__(self, rate: float, warm: int, total: int) -> None:
        super().__init__()
        self._rate, self._warm, self._total = rate, warm, total

    def __call__(self, step: Any) -> Any:
        """The rate at a step."""
        ops = keras.ops
        step = ops.cast(step, "float32")
        rise = (step + 1.0) / max(1, self._warm)
        if self._total:
            part = ops.clip((step - self._warm) / max(1, self._total - self._warm), 0.0, 1.0)
            after = 0.5 * (1.0 + ops.cos(math.pi * part))
        else:
            after = ops.ones_like(step)
        return self._rate * ops.where(step < self._warm, rise, after)

    def get_config(self) -> dict[str, Any]:
        """For serialization."""
        return {"rate": self._rate, "warm": self._warm, "total": self._total}
