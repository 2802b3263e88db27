"""Colours, BGR."""

from bedside.devices.overlay.lettering import Bgr
from bedside.runtime.result import Outcome

STRIP: Bgr = (27, 23, 20)
TEXT: Bgr = (245, 243, 240)
DIM: Bgr = (176, 165, 152)
TRACK: Bgr = (66, 57, 50)
OTHER: Bgr = (140, 124, 108)
#: Under every line over the picture, so that it reads on bright and on dark anatomy.
UNDER: Bgr = (20, 16, 12)

#: The accent is blue, not green: an `ok` result is one that was computed, not a finding that is normal.
KINDS: dict[Outcome, Bgr] = {
    Outcome.OK: (230, 166, 74),
    Outcome.WITHHELD: (48, 176, 255),
    Outcome.FAILED: (92, 92, 255),
}

#: Of Okabe & Ito, "Color Universal Design" (2008), told apart by colour-blind eyes; those first that are seen
#: best on the red of mucosa and on the grey of ultrasound. Their two dark colours are made lighter.
CLASSES: tuple[Bgr, ...] = (
    (233, 180, 86),  # sky blue
    (66, 228, 240),  # yellow
    (135, 190, 20),  # bluish green
    (190, 135, 225),  # reddish purple
    (20, 160, 240),  # orange
    (235, 235, 235),  # white, in place of black
    (225, 130, 40),  # blue
    (50, 110, 240),  # vermillion
)


def class_colour(number: int) -> Bgr:
    """Of a class, counted from 0 without the background; they repeat."""
    return CLASSES[number % len(CLASSES)]
