"""Small trainings one after another and side by side: ``python -m tests.benchmarks.side_by_side [--trainings 60]``.

Both ways in new interpreters, in turns; the least of each counts. Prints a Markdown page: seconds and their ratio,
whether all files have the same bytes, and the most memory that a process took beside what was predicted. It says what
else the machine was busy with: the ratio is one of quiet cores where that is little.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METHODS = [
    {"algorithm": "dmsgd"},
    {"algorithm": "gmc", "compressor": {"name": "top-k", "density": 0.01}},
    {"algorithm": "d-psgd", "gossip": {"graph": "ring"}},
    {"algorithm": "async-sgd"},
]
SCENARIO = {
    "workload": {
        "dataset": "digits",
        "model": {"name": "mlp", "hidden": [64]},
        "workers": 8,
        "batch_per_worker": 16,
        "epochs": 25,
        "evaluate_every": "1 epochs",
    },
    "optimizer": {"learning_rate": 0.1},
    "cluster": {
        "bandwidth": "10 Mbit/s",
        "latency": "1 ms",
        "collective": "ring",
        "compute": {"gradient": "10 ms", "compression": "1 ms", "aggregation": "1 ms"},
    },
    "methods": METHODS,
    "report": {"target": 0.9},
}
RUN = """
import json, sys, simgmc
scenario, out, jobs = json.loads(sys.argv[1])
simgmc.run(scenario, out=out, jobs=jobs, device="cpu", plots=False)
"""


def peak(process: subprocess.Popen[str]) -> dict[int, float]:
    """The most that the process and each that it started have held until it ends: bytes by process."""
    most: dict[int, float] = {}
    while process.poll() is None:
        for pid in [process.pid, *children(process.pid)]:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            if found := re.search(r"VmHWM:\s+(\d+) kB", status):
                most[pid] = max(most.get(pid, 0.0), 1024.0 * int(found[1]))
        time.sleep(0.1)
    return most


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def run(scenario: dict, out: Path, jobs: int) -> tuple[float, str, dict[int, float], float]:
    """Seconds, what it printed, memory by process (its own first), and CPU seconds of all of them."""
    before, began = os.times(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        command = [sys.executable, "-c", RUN, json.dumps([scenario, str(out), jobs])]
        process = subprocess.Popen(command, stdout=printed, text=True)
        memory = peak(process)
        seconds = time.perf_counter() - began
        printed.seek(0)
        said = printed.read()
    if process.returncode:
        raise SystemExit(said)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, said, memory, cpu


def files(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trainings", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--times", type=int, default=1)
    chosen = parser.parse_args()
    scenario = SCENARIO | {"seeds": list(range(1, chosen.trainings // len(METHODS) + 1))}
    found: dict[int, list[tuple[float, str, dict[int, float], float]]] = {1: [], chosen.jobs: []}
    load = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(chosen.times):
            for jobs in found:
                load.append(os.getloadavg()[0])
                found[jobs].append(run(scenario, Path(folder) / f"{jobs}-{turn}" / "run", jobs))
        one, many = (files(Path(folder) / f"{jobs}-0" / "run") for jobs in found)
    same = one.keys() == many.keys() and all(one[name] == many[name] for name in one)
    alone, together = (min(runs) for runs in found.values())
    print(f"# {chosen.trainings} small trainings, one after another and {chosen.jobs} at once\n")
    print(f"{os.cpu_count()} cores; load before each run {', '.join(f'{one:.1f}' for one in load)}.\n")
    print("| | seconds | CPU seconds | sooner |\n| --- | ---: | ---: | ---: |")
    print(f"| `--jobs 1` | {alone[0]:.1f} | {alone[3]:.1f} | 1× |")
    print(f"| `--jobs {chosen.jobs}` | {together[0]:.1f} | {together[3]:.1f} | {alone[0] / together[0]:.2f}× |\n")
    print(f"All {len(one)} files of the run directory are {'the same bytes' if same else 'NOT the same bytes'}.\n")
    said = re.search(r"^jobs +(.*)$", together[1], re.M)
    own, *others = together[2].values()
    each = ", ".join(f"{size / 1e6:.0f} MB" for size in others)
    print(f"Said: {said[1] if said else chr(63)}. Taken at most: {each}; {own / 1e6:.0f} MB by the one that waits.")


if __name__ == "__main__":
    main()
