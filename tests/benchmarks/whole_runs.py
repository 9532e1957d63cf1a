"""What whole runs take that train little and simulate many workers: seconds, and memory against the prediction.

    python tests/benchmarks/whole_runs.py [--sizes 8 1024 4096 10000] [--out whole_runs]

Each is a run as ``simgmc run`` makes it, in a process of its own, from the import to the report: random images of
8 x 8, a perceptron of 2,410 parameters, four samples a worker, DMSGD, equal workers on one switch, over a server and
round a ring; five rounds, of 10,000 workers three. Start-up is the time until the first gradient is asked for,
after the last comes the report. Memory is the largest resident set. Writes OUT.md.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLLECTIVES = ("parameter-server", "ring")
SAMPLES = 4


def rounds_of(workers: int) -> int:
    """How many rounds a run of so many workers has."""
    return 3 if workers >= 10_000 else 5


def scenario(workers: int, collective: str) -> dict:
    """The run's scenario."""
    return {
        "name": "whole_run", "seeds": [1],
        "workload": {
            "dataset": {"name": "given", "digest": "random"}, "model": {"name": "mlp", "hidden": [32]},
            "workers": workers, "batch_per_worker": SAMPLES, "rounds": rounds_of(workers), "evaluate_every": "1 rounds",
        },
        "optimizer": {"learning_rate": 0.01},
        "cluster": {
            "topology": "star", "bandwidth": "1 Gbit/s", "latency": "1 ms", "collective": collective,
            "compute": {"gradient": "1 ms", "compression": "1 ms", "aggregation": "1 ms"},
        },
        "methods": [{"algorithm": "dmsgd"}],
        "report": {"baseline": "dmsgd"},
    }  # fmt: skip


def measure(content: dict) -> None:
    """One run, in this process; prints what was found."""
    import numpy as np
    from rich.console import Console

    from simgmc.experiment import run as running
    from simgmc.experiment.assembly import Given
    from simgmc.experiment.preflight import trial
    from simgmc.scenario import ScenarioFile
    from simgmc.workloads.classification import ClassificationWorkload
    from simgmc.workloads.data.dataset import Dataset

    rng = np.random.default_rng(0)
    count = max(2000, content["workload"]["workers"] * SAMPLES)
    images, labels = rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8), rng.integers(0, 10, count)
    data = Dataset("given", images, labels, images[:500], labels[:500], 10, np.full(1, 120.0), np.full(1, 60.0))
    predicted, predict, asked = [], trial.predict_memory, []
    trial.predict_memory = lambda *given: predicted.append(predict(*given)) or predicted[-1]
    gradients = ClassificationWorkload.gradients

    def timed(self, at, step):
        begun = time.perf_counter()
        found = gradients(self, at, step)
        asked.append((begun, time.perf_counter()))
        return found

    ClassificationWorkload.gradients = timed
    with tempfile.TemporaryDirectory() as out:
        running.run(
            ScenarioFile(content, "whole_run", ()),
            out=out, given=Given(data), device="cpu", console=Console(file=io.StringIO()),
        )  # fmt: skip
    print(json.dumps({
        "begun": asked[0][0], "trained": sum(end - begun for begun, end in asked), "last": asked[-1][1],
        "ended": time.perf_counter(), "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "predicted": predicted[0].total,
    }))  # fmt: skip


def main() -> None:
    """Every size with every collective, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 1024, 4096, 10_000])
    parser.add_argument("--collectives", nargs="+", default=list(COLLECTIVES))
    parser.add_argument("--out", type=Path, default=Path("whole_runs"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        measure(json.loads(chosen.one))
        return
    rows = []
    for workers in chosen.sizes:
        for collective in chosen.collectives:
            start = time.perf_counter()  # one clock for all processes
            done = subprocess.run(
                [sys.executable, __file__, "--one", json.dumps(scenario(workers, collective))],
                stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            one = json.loads(done.stdout.splitlines()[-1])
            parts = one["begun"] - start, one["trained"], one["last"] - one["begun"] - one["trained"]
            seconds = [time.perf_counter() - start, *parts, one["ended"] - one["last"]]
            rows.append(
                f"| {workers:,} x {rounds_of(workers)} | {collective} | " + " | ".join(f"{s:.1f}" for s in seconds)
                + f" | {one['peak'] / 1e6:,.0f} | {one['predicted'] / 1e6:,.0f} "
                f"| {one['predicted'] / one['peak']:.3f} |"
            )  # fmt: skip
            print(rows[-1], flush=True)
    head = (
        "| workers x rounds | collective | whole run, s | start-up | gradients | the rest of the rounds | report "
        "| peak, MB | predicted, MB | ratio |"
    )
    told = __doc__.split("\n\n", 2)[2].replace(" Writes OUT.md.", "").strip()
    command = "    python tests/benchmarks/whole_runs.py --out analysis/results/whole_runs"
    lines = ["# Whole runs with many workers", "", command, "", told, "", head, "|" + " --- |" * 10, *rows, ""]
    chosen.out.with_suffix(".md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
