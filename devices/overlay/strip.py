"""The strip below the picture: outcome, age, headline, details, and which bytes produced them."""

from __future__ import annotations

import cv2

from bedside.devices.overlay import wording
from bedside.devices.overlay.lettering import Bgr, Lettering
from bedside.devices.overlay.palette import DIM, KINDS, OTHER, STRIP, TEXT, TRACK
from bedside.devices.overlay.wording import Row
from bedside.runtime.answers import Classification, TaskResult
from bedside.runtime.frame import Pixels
from bedside.runtime.result import Outcome, Result

#: Height of the strip, in small capitals.
HEIGHT = 11.2
_ROWS = 3


class Strip:
    """Draws results into the strip of one canvas.

    Args:
        pixels: `(height, width, 3) uint8`, BGR; drawn in place.
        unit: Height of a small capital, in pixels.
    """

    def __init__(self, pixels: Pixels, unit: int) -> None:
        self._pixels = pixels
        self._unit = unit
        self._width = pixels.shape[1]
        self._letters = Lettering(STRIP)

    def draw(self, result: Result) -> None:
        """All of it. A result that is not `ok` gives its reason and nothing else, whatever it holds."""
        u, colour = self._unit, KINDS[result.outcome]
        self._pixels[:] = STRIP
        cv2.rectangle(self._pixels, (0, 0), (round(0.7 * u) - 1, self._pixels.shape[0]), colour, cv2.FILLED)
        left, middle, right = 2 * u, round(self._width * 0.5), self._width - u
        shown = result.result if result.outcome is Outcome.OK else None
        if shown is None:
            # Nothing competes with the reason: no rows, and the whole width for it.
            said = "no result" if result.outcome is Outcome.OK else str(result.outcome).upper()
            self._headline(f"{said} {result.reason or ''}".strip(), "", left, right, colour)
        else:
            words, number = wording.headline(shown)
            listed = wording.rows(shown)
            self._headline(words, number, left, middle - 2 * u if listed else right, TEXT)
            self._rows(listed, middle, right)
        self._age(result, shown, left)
        if isinstance(shown, Classification) and shown.set is not None:
            forms = wording.prediction_set(shown.set)
            self._first_that_fits(forms, left, round(8.4 * u), right, TEXT)
        self._small_print(result, left, right)

    def _headline(self, text: str, number: str, left: int, right: int, colour: Bgr) -> None:
        """The one thing to read: as large as it fits."""
        letters, u = self._letters, self._unit
        baseline = round(4.1 * u)
        capital = round(2.3 * u)
        least, room = round(1.4 * u), right - left

        def taken() -> int:
            return letters.number_width(number, capital, bold=True) + u if number else 0

        while capital > least and letters.width(text, capital, bold=True) + taken() > room:
            capital -= 1
        if letters.width(text, capital, bold=True) + taken() > room:
            number = ""  # it stands in its row as well, and a label cut short is worse
        fitted = letters.fitted(text, room - taken(), capital, bold=True)
        x = letters.put(self._pixels, fitted, left, baseline, capital, colour, bold=True)
        if number:
            letters.put_number(self._pixels, number, x + u, baseline, capital, colour, bold=True)

    def _rows(self, rows: list[Row], left: int, right: int) -> None:
        u = self._unit
        columns = 2 if len(rows) > _ROWS else 1
        most = _ROWS * columns
        if len(rows) > most:
            rows = [*rows[: most - 1], Row(f"and {len(rows) - most + 1} more")]
        width = (right - left - (columns - 1) * u) // columns
        # As wide as the widest value, so that the bars end in one line.
        values = max([self._letters.number_width(row.value, u, bold=True) for row in rows], default=0)
        if any(row.bar is not None for row in rows):
            values = max(values, self._letters.number_width(">99 %", u, bold=True))
        for i, row in enumerate(rows):
            begin = left + (i // _ROWS) * (width + u)
            baseline = round((2.4 + 2.2 * (i % _ROWS)) * u)
            self._row(row, begin, begin + width, baseline, values, first=i == 0)

    def _row(self, row: Row, left: int, right: int, baseline: int, values: int, *, first: bool) -> None:
        letters, u = self._letters, self._unit
        colour = TEXT if first or row.colour is not None else DIM
        name, value = left, row.value
        end = right - letters.number_width(value, u, bold=first) if value else right
        if row.colour is not None:
            corner = (left + u - 1, baseline - 1)
            cv2.rectangle(self._pixels, (left, baseline - u), corner, row.colour, cv2.FILLED)
            name = left + 2 * u - u // 2
            if name + letters.width(row.label, u, bold=first) + u // 2 > end:
                # Which colour is which class is what a legend is for.
                value, end = "", right
        if value:
            letters.put_number(self._pixels, value, end, baseline, u, colour, bold=first)
        if row.bar is None:
            text = letters.fitted(row.label, end - (u // 2 if value else 0) - name, u, bold=first)
            letters.put(self._pixels, text, name, baseline, u, colour, bold=first)
            return
        begin, stop = left + round((right - left) * 0.4), right - values - u // 2
        text = letters.fitted(row.label, begin - left - u, u, bold=first)
        letters.put(self._pixels, text, left, baseline, u, colour, bold=first)
        self._bar(row.bar, row.mark, begin, stop, baseline, KINDS[Outcome.OK] if first else OTHER)

    def _bar(self, bar: float, mark: float | None, begin: int, stop: int, baseline: int, kind: Bgr) -> None:
        top, bottom = baseline - self._unit, baseline - 1
        cv2.rectangle(self._pixels, (begin, top), (stop - 1, bottom), TRACK, cv2.FILLED)
        length = round((stop - begin) * min(1.0, max(0.0, bar)))
        if length > 0:
            cv2.rectangle(self._pixels, (begin, top), (begin + length - 1, bottom), kind, cv2.FILLED)
        if mark is not None:
            x = begin + round((stop - begin) * mark)
            beyond = self._unit // 4
            cv2.line(self._pixels, (x, top - beyond), (x, bottom + beyond), TEXT, max(1, self._unit // 5))

    def _age(self, result: Result, shown: TaskResult | None, left: int) -> None:
        letters, u = self._letters, self._unit
        # A prediction set needs a line of its own below.
        baseline, capital = round((6.8 if not _has_set(shown) else 6.4) * u), round(1.25 * u)
        text = f"{result.age_ms:.1f} ms" if result.age_ms < 10 else f"{result.age_ms:.0f} ms"
        x = letters.put_number(self._pixels, text, left, baseline, capital, TEXT)
        x = letters.put(self._pixels, " old", x, baseline, capital, DIM)
        if shown is not None:
            right = self._width // 2 - 2 * u
            self._first_that_fits(wording.remark(shown), x + 2 * u, baseline, right, DIM)

    def _first_that_fits(
        self, forms: tuple[str, ...], left: int, baseline: int, right: int, colour: Bgr
    ) -> None:
        letters, u = self._letters, self._unit
        for text in forms:
            if letters.number_width(text, u) <= right - left:
                letters.put_number(self._pixels, text, left, baseline, u, colour)
                return

    def _small_print(self, result: Result, left: int, right: int) -> None:
        letters, u = self._letters, self._unit
        baseline = round((9.9 if not _has_set(result.result) else 10.2) * u)
        mark = "Research use only"
        end = right - letters.width(mark, u)
        letters.put(self._pixels, mark, end, baseline, u, DIM)
        x = letters.put(self._pixels, "frame ", left, baseline, u, DIM)
        x = letters.put_number(self._pixels, str(result.seq), x, baseline, u, TEXT)
        if result.guard is not None:
            text = f"guard {result.guard.score:.2f} of {result.guard.threshold:.2f}"
            if x + 3 * u + letters.number_width(text, u) <= end - u:
                x = letters.put_number(self._pixels, text, x + 2 * u, baseline, u, DIM) - u
        # What there is no room for is left out whole, the least needed first.
        for parts in ((result.variant, result.engine, result.bundle[:8]), (result.variant, result.engine)):
            text = " / ".join(parts)
            if x + 3 * u + letters.width(text, u) + u <= end or len(parts) == 2:
                text = letters.fitted(text, end - x - 4 * u, u)
                letters.put(self._pixels, text, x + 3 * u, baseline, u, DIM)
                return


def _has_set(shown: TaskResult | None) -> bool:
    return isinstance(shown, Classification) and shown.set is not None
