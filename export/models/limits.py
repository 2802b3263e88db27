"""What the sizes of a network must fulfil, checked before Keras can fail on them."""

from __future__ import annotations

from bedside.runtime.errors import RecipeError

_WHERE = "model"


def check_classes(classes: int) -> None:
    """Refuse fewer than two classes.

    Raises:
        RecipeError: `classes` is below 2.
    """
    if classes < 2:
        raise RecipeError(f"{classes} classes, a classifier needs at least 2", where=_WHERE)


def check_dropout(rate: float) -> None:
    """Refuse a rate that is none, or that drops everything.

    Raises:
        RecipeError: `rate` is below 0, or 1 and above.
    """
    if not 0.0 <= rate < 1.0:
        raise RecipeError(f"a dropout of {rate} is not within 0 to 1", where=_WHERE, hint="0 turns it off")


def check_side(width: int, height: int, smallest: int, purpose: str) -> None:
    """Refuse an input that runs out of pixels.

    Args:
        width: In pixels.
        height: In pixels.
        smallest: Fewest pixels on each side.
        purpose: What the pixels are for, as in "for five poolings".

    Raises:
        RecipeError: A side is below `smallest`.
    """
    if min(width, height) < smallest:
        raise RecipeError(
            f"{width}x{height} pixels are too few {purpose}",
            where=_WHERE,
            hint=f"at least {smallest} on each side",
        )


def halvings(width: int, height: int, *, most: int, leave: int) -> int:
    """How often both sides can be halved without a remainder.

    Args:
        width: In pixels.
        height: In pixels.
        most: Stop after that many.
        leave: Fewest pixels that are left on each side.

    Returns:
        0 to `most`.
    """
    count = 0
    while count < most and not (width % 2 or height % 2) and min(width, height) // 2 >= leave:
        width, height, count = width // 2, height // 2, count + 1
    return count
