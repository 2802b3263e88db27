"""Cases of tasks where a picture comes out: reconstruction, translation, generation."""

from __future__ import annotations

import numpy as np

from bedside.export.metrics.pictures import ssim
from bedside.export.reports import drawing
from bedside.export.reports.cases import Cases, Shown, pick
from bedside.runtime.bundle.decode import GenerationDecode, ReconstructionDecode, TranslationDecode

_WORST, _BEST = 6, 4
#: Drawn pictures, and as many real ones; per row of the sheet.
_GRID, _COLUMNS = 24, 8
_SHEET_WIDTH = 96
#: The error map is brightest at least at so many grey levels: of a perfect model it stays dark.
_LEAST_SCALE = 16.0


def rebuilt(cases: Cases, decode: ReconstructionDecode) -> tuple[Shown, ...]:
    """Frame, reconstruction and error map of the frames that are most and least foreign to the autoencoder."""
    scores = np.array([row.score for row in cases.rows])
    chosen = [(f"Highest scores of {cases.variant}", i) for i in pick(-scores, cases, _WORST)]
    taken = [i for _, i in chosen]
    low = scores.copy()
    low[taken] = np.inf
    chosen += [("Lowest scores", i) for i in pick(low, cases, _BEST)]
    outputs = cases.outputs([i for _, i in chosen])[decode.output]
    pictures = np.clip(255 * (outputs - decode.low) / (decode.high - decode.low), 0, 255)
    frames = cases.samples.inputs[[i for _, i in chosen]].astype(np.float32)
    errors = np.abs(pictures - frames).mean(axis=3)
    top = max(_LEAST_SCALE, float(np.percentile(errors, 99)))
    shown = []
    for place, (group, i) in enumerate(chosen):
        row = cases.rows[i]
        strip = [
            cases.picture(i),
            drawing.picture(np.rint(pictures[place]).astype(np.uint8), cases.spec.color),
            drawing.error_map(errors[place], top),
        ]
        limit = None if decode.out is None else decode.out.threshold
        distance = "" if row.distance is None else f", code distance {row.distance:.2f}"
        shown.append(
            Shown(
                group=group,
                key=cases.samples.keys[i],
                picture=drawing.beside(strip),
                verdict=f"score {row.score:.2f}"
                + ("" if limit is None or row.score <= limit else ", would be withheld"),
                good=None if limit is None else bool(row.score <= limit),
                lines=(
                    f"frame, reconstruction, error (brightest: {top:.0f} grey levels or more)",
                    f"mean error {row.error:.2f} grey levels{distance}",
                ),
                wide=True,
            )
        )
    return tuple(shown)


def translated(cases: Cases, decode: TranslationDecode) -> tuple[Shown, ...]:
    """Input, output and target of the frames that came out worst and best."""
    pairs = list(zip(cases.rows, cases.samples.truth, strict=True))
    similar = np.array([ssim(row, truth) for row, truth in pairs])
    keras = [ssim(row, truth) for row, truth in zip(cases.keras, cases.samples.truth, strict=True)]
    chosen = [(f"Lowest SSIM of {cases.variant}", i) for i in pick(similar, cases, _WORST)]
    rest = similar.copy()
    rest[[i for _, i in chosen]] = -np.inf
    chosen += [("Highest SSIM", i) for i in pick(-rest, cases, _BEST)]
    shown = []
    for group, i in chosen:
        strip = [
            cases.picture(i),
            drawing.picture(cases.rows[i], decode.color),
            drawing.picture(cases.samples.truth[i], decode.color),
        ]
        shown.append(
            Shown(
                group=group,
                key=cases.samples.keys[i],
                picture=drawing.beside(strip),
                verdict=f"SSIM {similar[i]:.3f}",
                lines=("input, output, target", f"Keras: {keras[i]:.3f}"),
                wide=True,
            )
        )
    return tuple(shown)


def generated(cases: Cases, decode: GenerationDecode) -> tuple[Shown, ...]:
    """A sheet of drawn pictures, the Keras model's of the same latents, and real frames beside them."""
    count = min(_GRID, len(cases.rows))
    real = list(np.linspace(0, len(cases.samples.truth) - 1, count).astype(int))
    sheets = (
        (f"Drawn by {cases.variant}", cases.rows[:count], decode.color),
        ("Drawn by Keras from the same latents", cases.keras[:count], decode.color),
        ("Real frames of the holdout", [cases.samples.truth[i] for i in real], cases.spec.color),
    )
    return tuple(
        Shown(
            group="Drawn and real pictures",
            key="",
            picture=drawing.grid(
                [drawing.resized(drawing.picture(p, color), _SHEET_WIDTH) for p in pictures], _COLUMNS
            ),
            verdict=title,
            wide=True,
        )
        for title, pictures, color in sheets
    )
