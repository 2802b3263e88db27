"""What a host says of itself while it is measured, once a second: temperature, clock, load, memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from bedside.devices.sessions.unit import process_use
from bedside.runtime.clock import Clock
from bedside.runtime.stream.ledger import Ledger

#: Between two readings.
PERIOD_S = 1.0

#: Readings that are kept, a day of them; a longer run keeps the first ones.
MOST = 86_400

#: Sensors of processors, by the names of their chips; others (disks, batteries) say nothing of ours.
_PROCESSORS = ("coretemp", "k10temp", "zenpower", "cpu", "soc", "x86_pkg_temp", "acpitz")


class Reading(msgspec.Struct, frozen=True):
    """One look at the host and at the stream.

    Attributes:
        at_ns: Monotonic, in ns.
        celsius: The hottest processor sensor; None where none can be read.
        mhz: Mean clock frequency over the processors; None where it cannot be read.
        cpu_s: Processor time of this process so far, all threads, in s.
        rss_mb: Resident memory of this process, in 10^6 bytes.
        captured: Frames so far.
        lost: Frames so far without a result.
    """

    at_ns: int
    celsius: float | None
    mhz: float | None
    cpu_s: float
    rss_mb: float
    captured: int = 0
    lost: int = 0


class Sampler:
    """Takes readings on a thread of its own.

    Args:
        clock: The stream's.
        ledger: Of the stream.
        period_s: Between two readings.

    Attributes:
        readings: So far, in order. Read it when the sampler has stopped.
    """

    def __init__(self, clock: Clock, ledger: Callable[[], Ledger], period_s: float = PERIOD_S) -> None:
        self.readings: list[Reading] = []
        self._clock, self._ledger, self._period_s = clock, ledger, period_s
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-readings", daemon=True)

    def look(self) -> Reading:
        """One reading, now."""
        ledger = self._ledger().snapshot()
        return Reading(
            at_ns=self._clock.now_ns(),
            celsius=temperature(),
            mhz=frequency(),
            cpu_s=time.process_time(),
            rss_mb=round(self._process.memory_info().rss / 1e6, 2),
            captured=ledger.captured,
            lost=ledger.settled - ledger.processed,
        )

    def __enter__(self) -> Sampler:
        self.readings.append(self.look())
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self.readings.append(self.look())

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            if len(self.readings) < MOST:
                self.readings.append(self.look())


def peak_mb() -> float | None:
    """Resident memory of this process at its highest, in 10^6 bytes.

    `VmHWM` of /proc/self/status (proc(5)), where there is one: what getrusage(2) says begins with the memory of
    the process that started this one.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    except (OSError, ValueError):
        pass
    peak: float | None = process_use(None)["peak_mb"]
    return peak


def temperature() -> float | None:
    """The hottest processor sensor in degrees Celsius (`psutil.sensors_temperatures`: hwmon, thermal zones)."""
    read = getattr(psutil, "sensors_temperatures", None)  # Linux and FreeBSD
    if read is None:
        return None
    try:
        chips = read()
    except (OSError, ValueError):  # a sensor that went to sleep
        return None
    found = [
        sensor.current
        for chip, sensors in chips.items()
        if chip.lower().startswith(_PROCESSORS)
        for sensor in sensors
        if sensor.current is not None
    ]
    return float(max(found)) if found else None


def frequency() -> float | None:
    """Mean clock frequency over the processors in MHz (`psutil.cpu_freq`: cpufreq, /proc/cpuinfo)."""
    try:
        found = psutil.cpu_freq()
    except (OSError, NotImplementedError, ValueError):
        return None
    return float(found.current) if found is not None and found.current else None
