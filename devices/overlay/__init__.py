"""What a screen shows: the captured frame, drawings over it, and a strip below it that says the rest."""

from bedside.devices.overlay.canvas import Overlay, picture_scale
from bedside.devices.overlay.wording import percent

__all__ = ["Overlay", "percent", "picture_scale"]
