"""Which variant, engine, precision hint and thread count is fastest here: measured, stored, used."""

from bedside.devices.tuning.choice import Choice, choose
from bedside.devices.tuning.ranking import Candidate, Limits, Measured, Ranking, StruckOff
from bedside.devices.tuning.store import Found, find_ranking, look_up

__all__ = [
    "Candidate",
    "Choice",
    "Found",
    "Limits",
    "Measured",
    "Ranking",
    "StruckOff",
    "choose",
    "find_ranking",
    "look_up",
]
