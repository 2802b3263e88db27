"""What a device is like: where its frames come from, what it can afford, which engines it prefers."""

from bedside.devices.profiles.loading import load_profile, parse_profile, profile_names
from bedside.devices.profiles.schema import (
    BudgetSection,
    CaptureSection,
    EngineSection,
    Profile,
    ScreenSection,
    TaskSection,
)

__all__ = [
    "BudgetSection",
    "CaptureSection",
    "EngineSection",
    "Profile",
    "ScreenSection",
    "TaskSection",
    "load_profile",
    "parse_profile",
    "profile_names",
]
