"""What a device is like: where its frames come from, what it can afford, which engines it prefers."""

from bedside.devices.profiles.loading import load_profile, parse_profile, profile_names, read_profile
from bedside.devices.profiles.schema import (
    BudgetSection,
    CaptureSection,
    EngineSection,
    HostSection,
    LadderSection,
    Profile,
    ScreenSection,
    TaskSection,
    TrustSection,
)

__all__ = [
    "BudgetSection",
    "CaptureSection",
    "EngineSection",
    "HostSection",
    "LadderSection",
    "Profile",
    "ScreenSection",
    "TaskSection",
    "TrustSection",
    "load_profile",
    "parse_profile",
    "profile_names",
    "read_profile",
]
