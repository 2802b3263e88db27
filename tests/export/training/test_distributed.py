"""Two workers on this machine against one with the same global batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bedside.export.training.distributed import _part, worker_rank
from bedside.runtime.errors import UsageError

#: For all workers together: an import of TensorFlow each, on a machine that may be busy.
LIMIT_S = 240


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def run_together(commands: list[list[str]], *, workers: bool) -> None:
    """Run processes at the same time, as workers of one cluster where asked; all have to end with 0."""
    hosts = [f"127.0.0.1:{port}" for port in free_ports(len(commands))]
    running = []
    for index, command in enumerate(commands):
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
        if workers:
            task = {"type": "worker", "index": index}
            environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": hosts}, "task": task})
        running.append(
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    said = []
    try:
        said = [process.communicate(timeout=LIMIT_S)[0] for process in running]
    except subprocess.TimeoutExpired:
        pytest.fail(f"workers have not ended in {LIMIT_S} s")
    finally:
        for process in running:
            process.kill()
            process.wait()
    codes = [process.returncode for process in running]
    assert codes == [0] * len(codes), "\n".join(text[-1500:] for text in said)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process, and each of two workers, found."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "first", "second")]
    script = str(Path(__file__).with_name("worker.py"))
    run_together([[sys.executable, script, str(f), "workers"] for f in folders[1:]], workers=True)
    run_together([[sys.executable, script, str(folders[0]), "none"]], workers=False)
    return [json.loads((f / "found.json").read_text()) for f in folders]


def test_two_workers_learn_what_one_learns(trained: list[dict[str, Any]]) -> None:
    """Loss curves, scores, averaged weights: the same up to the order of float sums."""
    one, first, second = trained
    assert first["history"] == second["history"]
    assert set(first["history"]) == set(one["history"])
    for name, values in one["history"].items():
        assert first["history"][name] == pytest.approx(values, rel=2e-3, abs=1e-4), name
    assert one["history"]["loss"][-1] < 0.9 * one["history"]["loss"][0], "there is a curve to compare"
    assert first["answer"] == pytest.approx(one["answer"], abs=2e-3)
    assert any("trained by 2 replicas, 8 frames a step" in note for note in first["notes"])


@pytest.mark.slow
def test_export_by_two_workers(tmp_path: Path) -> None:
    """`bedside export` on each: the chief writes the bundle, the other ends with 0 and leaves nothing."""
    rng = np.random.default_rng(1)
    for label, level in (("dark", 60), ("bright", 170)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(40):
            frame = np.clip(rng.normal(level, 25, (22, 22)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "data" / label / f"{i}.png"), frame)
    (tmp_path / "two.toml").write_text(
        """
        name = "two"
        [data]
        kind = "class-folders"
        path = "data"
        [model]
        architecture = "cnn"
        width = 22
        height = 22
        channels = 1
        width_multiplier = 0.25
        [training]
        epochs = 3
        batch = 8
        strategy = "workers"
        learning_rate = 3e-3
        [quantization]
        variants = ["tflite-fp32", "tflite-int8"]
        """
    )
    code = "import sys; from bedside.devices.cli.main import main; sys.exit(main(sys.argv[1:]))"
    outs = [tmp_path / name / "two.bedside" for name in ("chief", "other")]
    for out in outs:
        out.parent.mkdir()
    run_together(
        [[sys.executable, "-c", code, "export", str(tmp_path / "two.toml"), "-o", str(out)] for out in outs],
        workers=True,
    )
    assert outs[0].is_file()
    report = json.loads(outs[0].with_name("two.report.json").read_text())
    assert "trained by 2 replicas" in json.dumps(report)
    assert list(outs[1].parent.iterdir()) == []
    assert not outs[0].with_name("two.work").exists()


@pytest.mark.parametrize(
    "config",
    [
        None,
        "{",
        "{}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "x"}}',
        '{"cluster": [], "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_missing_or_malformed_cluster_is_refused(
    config: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UsageError, match="TF_CONFIG") as caught:
        worker_rank()
    assert caught.value.hint is not None


@pytest.mark.parametrize(("kind", "index", "rank"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)])
def test_the_chief_comes_first(kind: str, index: int, rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))
    assert worker_rank() == rank


@pytest.mark.parametrize(("frames", "replicas"), [(8, 2), (5, 2), (1, 2), (7, 3), (2, 4)])
def test_every_frame_is_shared_out_once(frames: int, replicas: int) -> None:
    parts = [_part(frames, replicas, rank) for rank in range(replicas)]
    assert sum(share for _, share in parts) == pytest.approx(1.0)
    shared = [i for where, share in parts if share for i in range(frames)[where]]
    assert shared == list(range(frames))
    assert all(len(range(frames)[where]) >= 1 for where, _ in parts)
