"""What is compared, in which scenarios, by which numbers; and what came of it, as plain data."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Scenario = Literal["saturated", "paced", "overload", "cold", "idle"]

#: In the order in which a round runs them.
SCENARIOS: dict[Scenario, str] = {
    "saturated": "every frame of the file, as fast as it goes",
    "paced": "live at 60 frames/s, with a model that keeps up",
    "overload": "live at 60 frames/s, with a model that takes three frame intervals",
    "cold": "from the start of the process to the first result in hand, files in the page cache",
    "idle": "live at 30 frames/s: what the processor has to do when there is time for all",
}

#: Cadence of the live scenarios, in frames per second.
CADENCE: dict[Scenario, float] = {"paced": 60.0, "overload": 60.0, "idle": 30.0}

#: Frames at the beginning of a live run that are left out, of all candidates alike: half a second.
SETTLE = 30


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One way to run a model on a stream.

    Attributes:
        name: On the command line and in files.
        title: For people.
        worker: Script in `workers`.
        requirements: Of its own environment; None runs it in the one that bedside is installed in.
        packages: Whose versions are reported.
        licence: Of what it adds.
        engine: Of bedside.
        stack: Soft limit of the stack in bytes, where it asks for one.
        note: What a reader has to know.
    """

    name: str
    title: str
    worker: str
    requirements: str | None = None
    packages: tuple[str, ...] = ()
    licence: str = ""
    engine: str | None = None
    stack: int | None = None
    note: str = ""


_HAND = ("ai-edge-litert", "numpy", "opencv-python-headless")

#: The reference of every ratio.
BEDSIDE = "bedside"
#: Identical code, so that the noise of the host can be told.
AGAIN = "bedside-again"
#: Whose answers the others' are compared with: LiteRT, fed by hand.
REFERENCE = "plain-loop"

CANDIDATES: tuple[Candidate, ...] = (
    Candidate(
        name=BEDSIDE,
        title="bedside",
        worker="bedside_stream",
        packages=("bedside", *_HAND),
        licence="Apache-2.0",
        engine="litert",
        note="LiteRT; goldens are replayed before the first result.",
    ),
    Candidate(
        name=AGAIN,
        title="bedside, again",
        worker="bedside_stream",
        packages=("bedside", *_HAND),
        licence="Apache-2.0",
        engine="litert",
        note="The same code once more: the noise of this host.",
    ),
    Candidate(
        name="bedside-openvino",
        title="bedside on OpenVINO",
        worker="bedside_stream",
        packages=("bedside", "openvino", "numpy", "opencv-python-headless"),
        licence="Apache-2.0",
        engine="openvino",
        note="The same file on another engine, which `bedside tune` would choose where it is faster.",
    ),
    Candidate(
        name=REFERENCE,
        title="plain OpenCV loop",
        worker="plain_loop",
        packages=_HAND,
        licence="Apache-2.0",
        note="LiteRT. It drops nothing: played from a file, its backlog grows without end under overload; a "
        "camera's driver would hold a few frames and drop the rest.",
    ),
    Candidate(
        name="two-threads",
        title="two-thread OpenCV loop",
        worker="two_threads",
        packages=_HAND,
        licence="Apache-2.0",
        note="LiteRT; queue of one, newest frame, buffers used again: the best that is written by hand.",
    ),
    Candidate(
        name="mediapipe",
        title="MediaPipe Tasks",
        worker="mediapipe_tasks",
        requirements="requirements-mediapipe.txt",
        packages=("mediapipe", "opencv-contrib-python", "numpy"),
        licence="Apache-2.0",
        note="ImageClassifier: live stream mode live, video mode from a file. It has no option for threads, and "
        "takes one on Linux. Takes a uint8 model without metadata (in 1.2.2 its metadata writer does not import).",
    ),
    Candidate(
        name="model-api",
        title="OpenVINO Model API",
        worker="openvino_model_api",
        requirements="requirements-model-api.txt",
        packages=("openvino-model-api", "openvino", "opencv-python-headless", "numpy"),
        licence="Apache-2.0",
        note="ClassificationModel, asynchronous, resize inside the compiled graph. Reads the TFLite file; its "
        "scores are dequantized in a subclass, since 0.4.7 applies its softmax in uint8 and names the wrong class.",
    ),
    Candidate(
        name="holoscan",
        title="Holoscan, Python operators",
        worker="holoscan_pipeline",
        requirements="requirements-holoscan.txt",
        packages=("holoscan-cu12", "ai-edge-litert", "opencv-python-headless", "numpy"),
        licence="Apache-2.0, NVIDIA EULA, CUDA runtime proprietary",
        stack=32 << 20,
        note="On the processor, without a GPU: source, LiteRT and sink as operators, event-based scheduler, newest "
        "frame. It asks for a stack of 32 MB and gets it.",
    ),
)


class Metric(msgspec.Struct, frozen=True):
    """One number of one run.

    Attributes:
        scenario: That it is taken from.
        title: With its unit.
        unit: Behind the value.
        better: Which direction is.
    """

    scenario: Scenario
    title: str
    unit: str
    better: Literal["more", "less"]


METRICS: dict[str, Metric] = {
    "saturated_fps": Metric("saturated", "throughput", "frames/s", "more"),
    "saturated_cpu_ms": Metric("saturated", "processor time of a frame", "ms", "less"),
    "paced_age_ms": Metric("paced", "median age at 60 frames/s", "ms", "less"),
    "paced_p99_ms": Metric("paced", "99th percentile of age at 60 frames/s", "ms", "less"),
    "paced_share": Metric("paced", "frames with a result", "%", "more"),
    "peak_mb": Metric("paced", "peak memory", "MB", "less"),
    "overload_age_ms": Metric("overload", "median age under overload", "ms", "less"),
    "overload_last_ms": Metric("overload", "age of the last result under overload", "ms", "less"),
    "overload_fps": Metric("overload", "results under overload", "per s", "more"),
    "cold_s": Metric("cold", "cold start to the first result", "s", "less"),
    "idle_cpu": Metric("idle", "processor at 30 frames/s", "% of a core", "less"),
}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one process reported.

    Attributes:
        seq: Numbers of the frames that have a result, in the order in which the results came.
        due_ns: When each frame was due, monotonic; from a file, when it was asked for.
        hand_ns: When each result was in hand.
        top: Best class of each.
        cpu_s: Processor time from the first result to the last.
        wall_s: That time.
        peak_bytes: Largest resident size.
        spawned_ns: When the process was asked for.
        versions: Of its packages.
    """

    seq: list[int]
    due_ns: list[int]
    hand_ns: list[int]
    top: list[int]
    cpu_s: float
    wall_s: float
    peak_bytes: int
    spawned_ns: int
    versions: dict[str, str]


class Estimate(msgspec.Struct, frozen=True):
    """A median over rounds.

    Attributes:
        median: Of the rounds.
        low: Lower end of its 95 % interval; None where the rounds do not carry one (fewer than six).
        high: Upper end.
        rounds: The values themselves.
    """

    median: float
    low: float | None
    high: float | None
    rounds: tuple[float, ...]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate.

    Attributes:
        name: Of the candidate.
        title: For people.
        licence: Of what it adds.
        note: What a reader has to know.
        versions: Of its packages.
        metrics: By name; absent where a scenario did not run or failed.
        ratios: Value of the candidate over bedside's in the same round.
        ages_ms: Percentiles over the rounds together, by scenario: the keys of `Percentiles.to_dict`.
        agreement: Part of the frames of the file on which it names the class that the plain loop names.
        failures: Why a scenario has no number; under `all` where the candidate cannot be run here.
    """

    name: str
    title: str
    licence: str
    note: str
    versions: dict[str, str] = {}
    metrics: dict[str, Estimate] = {}
    ratios: dict[str, Estimate] = {}
    ages_ms: dict[str, dict[str, Any]] = {}
    agreement: float | None = None
    failures: dict[str, str] = {}


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The whole comparison.

    Attributes:
        schema: Version of this structure.
        quick: Too few frames and rounds for numbers to be quoted.
        rounds: That were run.
        frames: Of each run from a file.
        threads: Of every engine.
        clip: Name, codec, size, rate, where from.
        models: Name, digest, size and bare invoke of the two models, in ms.
        host: As `bedside probe` has it.
        busy: Load average over a minute when it began.
        rows: One per candidate.
    """

    schema: int = 1
    quick: bool
    rounds: int
    frames: int
    threads: int
    clip: dict[str, Any]
    models: dict[str, Any]
    host: dict[str, Any]
    busy: float
    rows: tuple[Row, ...]
