"""Values of command-line options: numbers in lists, sizes, percentages, outputs by name or number."""

from __future__ import annotations

import argparse
import re


def floats(text: str) -> tuple[float, ...]:
    """`1,2.5,3`."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {text!r}") from None


def words(text: str) -> tuple[str, ...]:
    """`a,b,c`."""
    words = tuple(part.strip() for part in text.split(","))
    if not all(words):
        raise argparse.ArgumentTypeError(f"expected words separated by commas, got {text!r}")
    return words


def size(text: str) -> tuple[int, int]:
    """`WIDTHxHEIGHT`, in pixels."""
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None or not (int(match[1]) and int(match[2])):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT in pixels, got {text!r}")
    return int(match[1]), int(match[2])


def percent(text: str) -> float:
    """`99` or `99%`, as a fraction."""
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a percentage from 0 to 100, got {text!r}")
    return value


def span(text: str) -> tuple[float, float]:
    """`LOW,HIGH`."""
    values = floats(text)
    if len(values) != 2:
        raise argparse.ArgumentTypeError(f"expected LOW,HIGH, got {text!r}")
    return values[0], values[1]


def outputs(text: str) -> tuple[int | str, ...]:
    """Outputs of a model, by number or by name: `0,2` or `boxes_8,boxes_16`."""
    return tuple(int(part) if part.isdigit() else part for part in words(text))


def output(text: str) -> int | str:
    """One output of a model, by number or by name."""
    return outputs(text)[0]
