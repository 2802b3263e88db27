"""The host, set up for a stream: cores, priorities, memory, garbage collection; what is refused is said."""

from bedside.devices.host.grants import Grant, Role, refusals
from bedside.devices.host.process import ProcessSetup
from bedside.devices.host.threads import ThreadSetup

__all__ = ["Grant", "ProcessSetup", "Role", "ThreadSetup", "refusals"]
