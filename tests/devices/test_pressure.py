"""What a host tells of heat and load, from files as the kernel writes them; and this host, whatever it tells."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bedside.devices.pressure import HostWatch
from bedside.runtime.clock import ManualClock
from bedside.runtime.stream.control import Pressure

S = 10**9


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What `psutil.sensors_temperatures` says; nothing at first."""
    import psutil

    sensors: dict[str, list[Any]] = {}
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors, raising=False)
    return sensors


def sensor(current: float, high: float | None = None, critical: float | None = None, label: str = "") -> Any:
    return SimpleNamespace(label=label, current=current, high=high, critical=critical)


class Host:
    """Files below a root of its own, and a clock."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root, self.clock = root, ManualClock()
        self.total = 0
        self.options = options

    def write(self, path: str, text: object) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="utf-8")

    def watch(self) -> HostWatch:
        return HostWatch(clock=self.clock, root=self.root, **self.options)

    def stalled(self, watch: HostWatch, share: float) -> Pressure | None:
        """A second in which something waited for a processor in that share of the time."""
        self.clock.advance(S)
        self.total += round(share * 1e6)
        self.write(
            "proc/pressure/cpu",
            f"some avg10=0.00 avg60=0.00 avg300=0.00 total={self.total}\n"
            "full avg10=0.00 avg60=0.00 avg300=0.00 total=0",
        )
        watch.look()
        return watch.pressure()


@pytest.fixture
def host(tmp_path: Path, cold: dict[str, list[Any]]) -> Host:
    return Host(tmp_path, busy_percent=60.0)


class TestLoad:
    def test_a_busy_host_is_one_where_tasks_wait(self, host: Host) -> None:
        watch = host.watch()
        said = [host.stalled(watch, share) for share in (0.0, 0.1, 0.2, 0.9, 0.9, 0.9, 0.9)]
        assert said[:4] == [None] * 4, "an average over three seconds"
        assert said[-1] == Pressure("busy", "tasks waited for a processor 90 % of the time, limit 60")

    def test_it_is_free_again_well_below_the_limit(self, host: Host) -> None:
        watch = host.watch()
        for share in (0.0, 0.9, 0.9, 0.9):
            host.stalled(watch, share)
        between = [host.stalled(watch, 0.5) for _ in range(6)]
        assert all(between), "50 % of the time is below the limit, and not below the end of it"
        assert [host.stalled(watch, 0.3) for _ in range(4)][-1] is None
        assert host.stalled(watch, 0.5) is None

    def test_a_limit_of_100_is_none(self, tmp_path: Path, cold: object) -> None:
        host = Host(tmp_path)
        watch = host.watch()
        assert [host.stalled(watch, 1.2) for _ in range(5)] == [None] * 5

    def test_without_stall_information_the_run_queue_tells(self, host: Host) -> None:
        watch, cores = host.watch(), os.cpu_count() or 1
        for running, wanted in ((cores, None), (10 * cores, "busy")):
            host.write("proc/stat", f"cpu  1 2 3\nprocs_running {running}\nprocs_blocked 0")
            for _ in range(3):
                watch.look()
            said = watch.pressure()
            assert (said.cause if said else None) == wanted
        assert watch.describe()["load"] == "run queue"

    @pytest.mark.parametrize("text", ["", "some", "some total=x", "full total=3", "\0\0"])
    def test_what_is_no_such_file_says_nothing(self, host: Host, text: str) -> None:
        host.write("proc/pressure/cpu", text)
        watch = host.watch()
        watch.look()
        assert watch.pressure() is None
        assert watch.describe() == {"sensors": 0, "throttling": 0, "load": "none"}


class TestHeat:
    def look(self, watch: HostWatch) -> str | None:
        watch.look()
        said = watch.pressure()
        assert said is None or said.cause == "heat"
        return said.detail if said else None

    def test_a_sensor_at_its_own_limit(self, host: Host, cold: dict[str, list[Any]]) -> None:
        watch = host.watch()
        seen = []
        for celsius in (70, 94, 95, 93, 91, 90, 89, 94):
            cold["coretemp"] = [sensor(40, 95), sensor(celsius, 95, 105, "Package id 0")]
            seen.append(self.look(watch) is not None)
        assert seen == [False, False, True, True, True, True, False, False]
        cold["coretemp"] = [sensor(96, 95, 105, "Package id 0")]
        assert self.look(watch) == "Package id 0 at 96 °C, limit 95"
        assert watch.describe()["sensors"] == 1

    def test_the_profile_has_the_last_word(self, tmp_path: Path, cold: dict[str, list[Any]]) -> None:
        watch = Host(tmp_path, max_celsius=80.0).watch()
        cold["cpu_thermal"] = [sensor(81)]
        assert self.look(watch) == "cpu_thermal at 81 °C, limit 80"

    @pytest.mark.parametrize(
        ("high", "critical", "hot"),
        [
            (None, None, False),
            (0.0, None, False),
            (65261.8, 100.0, True),
            (None, 100.0, True),
            (None, 0.0, False),
        ],
    )
    def test_limits_that_cannot_be_are_none(
        self, host: Host, cold: dict[str, list[Any]], high: float, critical: float, hot: bool
    ) -> None:
        cold["k10temp"] = [sensor(92, high, critical)]
        assert (self.look(host.watch()) is not None) == hot

    def test_only_processors_count(self, host: Host, cold: dict[str, list[Any]]) -> None:
        cold["nvme"] = [sensor(90, 80)]
        cold["iwlwifi_1"] = [sensor(99, 90)]
        assert self.look(host.watch()) is None

    @pytest.mark.parametrize("error", [OSError("broken"), ValueError("broken")])
    def test_a_driver_that_fails_says_nothing(
        self, host: Host, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        import psutil

        def fail() -> None:
            raise error

        monkeypatch.setattr(psutil, "sensors_temperatures", fail, raising=False)
        assert self.look(host.watch()) is None

    def test_a_throttle_counter_that_moves(self, host: Host) -> None:
        counter = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
        host.write(counter, 7)
        watch = host.watch()
        assert self.look(watch) is None, "what was before the stream says nothing"
        host.write(counter, 9)
        seen = [self.look(watch) for _ in range(7)]
        assert seen == ["the processor throttles itself"] * 5 + [None] * 2

    @pytest.mark.parametrize(("kind", "hot"), [("Processor", True), ("cpufreq-cpu0", True), ("Fan", False)])
    def test_a_cooling_device_at_work(self, host: Host, kind: str, hot: bool) -> None:
        host.write("sys/class/thermal/cooling_device0/type", kind)
        host.write("sys/class/thermal/cooling_device0/cur_state", 0)
        watch = host.watch()
        assert self.look(watch) is None
        host.write("sys/class/thermal/cooling_device0/cur_state", 2)
        assert (self.look(watch) == "the kernel slows the processor down") == hot

    def test_heat_goes_before_load(self, host: Host, cold: dict[str, list[Any]]) -> None:
        watch = host.watch()
        cold["coretemp"] = [sensor(99, 95)]
        said = [host.stalled(watch, 1.0) for _ in range(5)][-1]
        assert said is not None and said.cause == "heat"


def test_this_host_can_be_watched() -> None:
    began: list[str] = []
    watch = HostWatch(busy_percent=60.0, begin=lambda: began.append(threading.current_thread().name))
    watch.start()
    watch.stop()
    watch.stop()
    assert began == ["host-watch"]
    assert watch.describe()["load"] in ("pressure", "run queue", "none")
    assert watch.pressure() is None or watch.pressure().cause == "heat"  # type: ignore[union-attr]


def test_stopping_before_the_start() -> None:
    HostWatch().stop()
