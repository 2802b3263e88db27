"""Where the image lies on a scanner's screen: found from frames, drawn, and written as a profile."""

from bedside.devices.fitting.evidence import Evidence, gather
from bedside.devices.fitting.screen import ScreenFit, fit_screen

__all__ = ["Evidence", "ScreenFit", "fit_screen", "gather"]
