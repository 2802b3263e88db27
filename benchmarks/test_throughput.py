"""Saturated: a 1080p H.264 file as fast as it goes, beside the best two-thread loop on the same session."""

from __future__ import annotations

from loops import pipeline, two_threads_saturated
from pairs import SHARE, alternate, verdict

from bedside.runtime.loading import Loaded

FRAMES = max(60, round(1200 * SHARE))

#: Issue 4, 3: lower end of the throughput's ratio, and processor time of bedside itself in microseconds a frame.
LOWER, BUDGET_US = 0.95, 100.0


def test_saturated(benchmark, clip: str, classifier: Loaded, capsys) -> None:
    found = {}

    def compare() -> None:
        found["runs"] = alternate(
            lambda: pipeline(clip, classifier, FRAMES),
            lambda: two_threads_saturated(clip, classifier, FRAMES),
        )

    benchmark.group = "saturated 1080p H.264"
    benchmark.pedantic(compare, rounds=1)
    runs = found["runs"]
    assert all(a.dropped == 0 and a.frames == FRAMES for a, _ in runs.pairs), "a file loses nothing"
    rate, noise = runs.ratios(lambda r: r.per_second)
    cost, noise_us = runs.differences(lambda r: r.cpu_us)
    benchmark.extra_info.update(ratio=rate, noise=noise, cpu_us=cost, noise_cpu_us=noise_us)
    with capsys.disabled():
        ours, theirs = runs.pairs[-1]
        print(
            f"\nsaturated, {len(runs.pairs)} pairs of {FRAMES} frames; last pair {ours.per_second:.0f} and "
            f"{theirs.per_second:.0f} frames/s"
        )
        print(f"  throughput over the two-thread loop's: {rate}; identical code: {noise}")
        print(f"  processor time of bedside itself: {cost} us a frame; identical code: {noise_us}")
        print(verdict(None if rate.low is None else rate.low > LOWER, f"lower end above {LOWER}"))
        print(verdict(cost.median <= BUDGET_US, f"at most {BUDGET_US:.0f} us a frame"))
