"""What presses on a host from outside: heat and other people's load, read once a second off the hot path.

Heat is a processor sensor at its limit (`psutil.sensors_temperatures`: hwmon, thermal zones where there is none),
or the kernel slowing the processor down: a throttle counter that moves (Intel,
`thermal_throttle/*_throttle_count`), or a cooling device of the processor at work
(`/sys/class/thermal/cooling_device*/cur_state`; kernel documentation, driver-api/thermal/sysfs-api.rst).

Load is the share of time in which something that could run had to wait for a processor: pressure stall
information (`/proc/pressure/cpu`, "some"; kernel documentation, accounting/psi.rst), or, where the kernel has
none, the share of runnable tasks beyond the processors (`procs_running` of `/proc/stat`). Both count this
process, too.

Each has a gap between where it begins and where it ends, so that a reading at the limit does not come and go.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bedside.runtime.clock import Clock, MonotonicClock
from bedside.runtime.stream.control import Pressure

#: Between two readings.
PERIOD_S = 1.0

#: How far below its limit a sensor has to be before the heat counts as gone, in kelvin.
_COOLER = 5.0

#: Below which share of its limit the load has to be before the host counts as free again.
_FREER = 0.6

#: How long a processor that was throttled counts as hot, in readings: the counters tell beginnings, not ends.
_THROTTLED = 5

#: Readings that the load is averaged over.
_AVERAGED = 3

#: Names of hwmon chips and thermal zones that measure a processor.
_PROCESSORS = (
    "coretemp",
    "k10temp",
    "zenpower",
    "cpu",
    "soc",
    "x86_pkg_temp",
    "acpitz",
    "bigcore",
    "littlecore",
)

_COOLING = ("Processor", "cpufreq", "thermal-cpufreq")


class HostWatch:
    """Watches this host on a thread of its own.

    Args:
        max_celsius: Limit of every processor sensor; None for the one that each sensor states.
        busy_percent: Limit of the load, 0 to 100; 100 is never passed.
        clock: For rates.
        root: Where `proc` and `sys` are.
        begin: Called on the thread when it begins: threads inherit cores and priority from who makes them.
    """

    def __init__(
        self,
        *,
        max_celsius: float | None = None,
        busy_percent: float = 100.0,
        clock: Clock | None = None,
        root: Path = Path("/"),
        begin: Callable[[], None] | None = None,
    ) -> None:
        self._begin = begin
        self._max_celsius, self._busy_percent = max_celsius, busy_percent
        self._clock = clock or MonotonicClock()
        self._stalled, self._stat = root / "proc/pressure/cpu", root / "proc/stat"
        self._cooling = sorted(
            path / "cur_state"
            for path in (root / "sys/class/thermal").glob("cooling_device*")
            if (_read(path / "type") or "").startswith(_COOLING)
        )
        self._throttles = sorted(
            (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
        )
        self._throttled: int | None = None
        self._throttled_for = 0
        self._hot = self._busy = False
        self._shares: deque[float] = deque(maxlen=_AVERAGED)
        self._stalled_before: tuple[int, int] | None = None
        self._sensors = 0
        self._load = "none"
        self._now: Pressure | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def pressure(self) -> Pressure | None:
        """What the last reading said; costs nothing. Any thread may call it."""
        return self._now

    def start(self) -> None:
        """Begin to watch."""
        self.look()
        self._thread = threading.Thread(target=self._watch, name="host-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End. May be called more than once, and before `start`."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def describe(self) -> dict[str, Any]:
        """What this host tells, as plain data: `sensors` of processors with a limit, `throttling` sources, and how
        its `load` is read (`pressure`, `run queue` or `none`)."""
        return {
            "sensors": self._sensors,
            "throttling": len(self._throttles) + len(self._cooling),
            "load": self._load,
        }

    def look(self) -> None:
        """Take a reading now."""
        # Heat first: it is what becomes worse by waiting.
        self._now = self._heat() or self._crowd()

    def _watch(self) -> None:
        if self._begin is not None:
            self._begin()
        while not self._stop.wait(PERIOD_S):
            self.look()

    # Heat.

    def _heat(self) -> Pressure | None:
        throttled = self._throttling()
        if throttled is not None:
            return Pressure("heat", throttled)
        gap = _COOLER if self._hot else 0.0
        self._sensors, self._hot = 0, False
        found: Pressure | None = None
        for name, celsius, limit in _temperatures(self._max_celsius):
            self._sensors += 1
            if celsius >= limit - gap and found is None:
                self._hot, found = (
                    True,
                    Pressure("heat", f"{name} at {celsius:.0f} °C, limit {limit:.0f}"),
                )
        return found

    def _throttling(self) -> str | None:
        states = [int(text) for path in self._cooling if (text := _read(path) or "").isdigit()]
        if any(states):
            return "the kernel slows the processor down"
        counts = [int(text) for path in self._throttles if (text := _read(path) or "").isdigit()]
        total, before = sum(counts), self._throttled
        self._throttled = total if counts else None
        if before is not None and total > before:
            self._throttled_for = _THROTTLED
        elif self._throttled_for:
            self._throttled_for -= 1
        return "the processor throttles itself" if self._throttled_for else None

    # Load.

    def _crowd(self) -> Pressure | None:
        share = self._share()
        if share is None:
            self._busy = False
            return None
        self._shares.append(share)
        percent = 100.0 * sum(self._shares) / len(self._shares)
        limit = self._busy_percent * (_FREER if self._busy else 1.0)
        self._busy = percent > limit and self._busy_percent < 100.0
        if not self._busy:
            return None
        return Pressure(
            "busy",
            f"tasks waited for a processor {percent:.0f} % of the time, limit {self._busy_percent:.0f}",
        )

    def _share(self) -> float | None:
        """Share of the time since the last reading, 0 to 1; None where nobody knows."""
        stalled_us = _total(_read(self._stalled))
        if stalled_us is not None:
            now, before = self._clock.now_ns(), self._stalled_before
            self._load, self._stalled_before = "pressure", (now, stalled_us)
            if before is None or now <= before[0]:
                return None
            return min(1.0, max(0.0, 1e3 * (stalled_us - before[1]) / (now - before[0])))
        running = _running(_read(self._stat))
        if running is None:
            return None
        self._load = "run queue"
        return max(0, running - (os.cpu_count() or 1)) / max(1, running)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # a kernel without it, a container that hides it, a sensor that went to sleep
        return None


def _total(text: str | None) -> int | None:
    """Microseconds of the line `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`."""
    for line in (text or "").splitlines():
        if line.startswith("some "):
            number = line.rpartition("total=")[2]
            return int(number) if number.isdigit() else None
    return None


def _running(text: str | None) -> int | None:
    """Runnable tasks, from the line `procs_running 3`."""
    for line in (text or "").splitlines():
        key, _, number = line.partition(" ")
        if key == "procs_running" and number.isdigit():
            return int(number)
    return None


def _temperatures(max_celsius: float | None) -> list[tuple[str, float, float]]:
    """Name, reading and limit of every processor sensor that has a limit, in degrees Celsius."""
    import psutil  # a stream without a ladder starts without it

    read = getattr(psutil, "sensors_temperatures", None)  # Linux and FreeBSD
    if read is None:
        return []
    found = []
    try:
        told = read()
    except (OSError, ValueError):  # a driver that answers with an error, or with no number
        return []
    for chip, sensors in told.items():
        if not chip.lower().startswith(_PROCESSORS):
            continue
        for sensor in sensors:
            limit = max_celsius if max_celsius is not None else _stated(sensor.high, sensor.critical)
            if limit is not None and sensor.current is not None:
                found.append((sensor.label or chip, float(sensor.current), limit))
    return found


def _stated(high: float | None, critical: float | None) -> float | None:
    """The limit that a sensor states: `high`, else somewhat below `critical`. Some chips state 0 or 65,262 °C."""
    if high is not None and 40.0 <= high <= 120.0:
        return float(high)
    return float(critical) - 10.0 if critical is not None and 50.0 <= critical <= 130.0 else None
