"""bedside, through what `bedside run` is made of; the cold start is the command itself."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import threading
from pathlib import Path

from job import Job, Recorder, job


def stream(orders: Job, recorder: Recorder) -> None:
    from bedside.devices.compose import PipelineSpec, Stream
    from bedside.runtime.answers import Classification
    from bedside.runtime.result import Result

    def see(result: Result) -> None:
        answer = result.result
        if isinstance(answer, Classification):
            recorder.add(result.seq, result.captured_ns, answer.index)

    spec = PipelineSpec(
        bundle=orders.bundle,
        source=f"{orders.clip}?fps={orders.fps:g}",
        engine=orders.engine,
        threads=orders.threads,
        paced=orders.live,
        max_frames=orders.frames,
        top_k=1,
    )
    ended = Stream(spec, on_result=see).run()
    recorder.finish()
    if ended.error is not None:
        raise SystemExit(str(ended.error))


def command(orders: Job, recorder: Recorder) -> None:
    """`bedside run`; a result is in hand when its line comes out of the results file, here a pipe."""
    from bedside.devices.cli.main import main as bedside

    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        os.mkfifo(results)
        reader = threading.Thread(target=read_lines, args=(results, recorder), daemon=True)
        reader.start()
        words = ["run", orders.bundle, "--source", orders.clip, "--sink", f"jsonl:{results}", "--json"]
        words += ["--threads", str(orders.threads), "--max-frames", str(orders.frames)]
        words += ["--engine", orders.engine] if orders.engine is not None else []
        with contextlib.redirect_stdout(io.StringIO()):
            code = bedside(words)
        if code:
            raise SystemExit(code)
        reader.join()
    recorder.finish()


def read_lines(results: Path, recorder: Recorder) -> None:
    with results.open(encoding="utf-8") as lines:
        for line in lines:
            result = json.loads(line)
            recorder.add(result["seq"], result["captured_ns"], result["result"]["index"])


def main() -> None:
    orders, recorder = job(), Recorder()
    (command if orders.scenario == "cold" else stream)(orders, recorder)
    orders.write(recorder)


if __name__ == "__main__":
    main()
