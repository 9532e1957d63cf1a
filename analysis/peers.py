"""One round of 8 clients in simgmc, in a plain PyTorch loop, and in federated-learning simulators.

    python analysis/peers.py --environments ~/peers [--models mlp cnn] [--repeats 5] [--systems ...]

What a round is stands in ``peer_rounds.py``. Every system runs in a process of its own, one
after the other, all of them again in each repetition, so that a machine that other work slows down
slows all of them. The first rounds of a process are not counted. Printed are the median round, the
quickest, both divided by simgmc's (the median of the repetitions' ratios of medians, and best to best), the
seconds until a process has finished its first round (imports included), and how far the parameters
are from the plain loop's, relative to how far those have moved.

The peers' requirements exclude one another: each has an environment of its own, a folder in the
one that ``--environments`` names; a peer that is not there is skipped, and how to install it is printed. Results of
2026 and what the peers simulate: ``analysis/peers.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).resolve().parent
BASE = "simgmc"
WARM_UP = 3
TOLERANCE = 1e-2
PATIENCE = 90.0
"""Seconds after which a process is given up."""


@dataclass(frozen=True)
class Peer:
    """Where a system runs, and how often."""

    environment: str = ""
    """Folder of its environment; empty: this one."""
    package: str = ""
    """What is imported."""
    install: str = ""
    rounds: int = 0
    """In one process; 0: as many as are asked for."""
    threads: str = "quicker"
    """Intra-op threads of PyTorch: "one", "all", or the "quicker" of the two for the plain loop."""
    every: int = 1
    """Runs in every so many repetitions."""
    same: bool = True
    """Whether it must arrive at the plain loop's parameters."""


PEERS = {
    "plain loop, one thread": Peer(threads="one"),
    "plain loop, all cores": Peer(threads="all"),
    BASE: Peer(threads="one"),
    "simgmc, GMC top-1 %": Peer(threads="one", same=False),
    "pfl-research": Peer("pfl", "pfl", "pfl==0.6.0"),
    "FedLab": Peer("fedlab", "fedlab", "fedlab==1.3.0"),
    "fluke": Peer("fluke", "fluke", "fluke-fl==0.8.1"),
    "FedML": Peer("fedml", "fedml", "fedml==0.9.6 'setuptools<80'"),
    "FLGo": Peer("flgo", "flgo", "flgo==0.4.4"),
    "FedJAX": Peer(
        "fedjax", "fedjax", "fedjax==0.0.17 jax==0.4.25 jaxlib==0.4.25 dm-haiku==0.0.12 'optax<0.2.3' 'numpy<2'"
    ),
    "Flower, polling at 1 ms": Peer("flower", "flwr", "'flwr[simulation]==1.41.0'", rounds=20, every=2),
    "Flower": Peer("flower", "flwr", "'flwr[simulation]==1.41.0'", rounds=20, every=2),
    "NVIDIA FLARE": Peer("nvflare", "nvflare", "nvflare==2.9.0", rounds=6, every=2),
}


@dataclass
class Measured:
    """Of one system: every repetition's rounds in seconds, the start, and the distance from the plain loop."""

    rounds: list[list[float]] = field(default_factory=list)
    repetitions: list[int] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    distance: float = 0.0

    def median_of(self, repetition: int) -> float:
        return statistics.median(self.rounds[self.repetitions.index(repetition)])

    @property
    def median(self) -> float:
        return statistics.median(statistics.median(rounds) for rounds in self.rounds)

    @property
    def best(self) -> float:
        return min(map(min, self.rounds))


def interpreter(peer: Peer, environments: Path | None) -> str | None:
    """The Python that has the peer, None where none has."""
    found = sys.executable
    if peer.environment and environments is not None and (environments / peer.environment).is_dir():
        found = str(environments / peer.environment / "bin" / "python")
    if not peer.package:
        return found
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({peer.package!r}) is None)"
    return found if subprocess.run([found, "-c", look], check=False).returncode == 0 else None


def one_process(name: str, python: str, model: str, rounds: int, threads: int) -> dict | None:
    """Run a system's rounds in a process of its own; None where that does not end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        answer = Path(folder, "answer.json")
        request = {"system": name, "model": model, "rounds": rounds, "threads": threads, "answer": str(answer)}
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(threads)}
        environment["TMPDIR"] = folder
        output = Path(folder, "output")
        began = time.time()
        with output.open("w") as written:
            process = subprocess.Popen(
                [python, str(HERE / "peers.py"), "--child", json.dumps(request)], env=environment, cwd=folder,
                stdout=written, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                return None
            finally:
                for number in [*descendants(process.pid), process.pid]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(number, signal.SIGKILL)
                process.wait()
        if not answer.exists():
            raise SystemExit(f"{name}: no answer (exit status {process.returncode}):\n{output.read_text()[-2000:]}")
        found = json.loads(answer.read_text())
    marks = found["marks"]
    first = marks[1] if len(marks) > rounds else marks[0]
    steps = [after - before for before, after in pairwise(marks)]
    return {"rounds": steps[-(rounds - WARM_UP) :], "start": first - began, "distance": found["distance"]}


def descendants(process: int) -> list[int]:
    """The processes that a process has started, and theirs, on Linux."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found, left = [], [process]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def child(request: dict) -> None:
    """The process of one system."""
    import torch

    torch.set_num_threads(request["threads"])
    import peer_programs  # noqa: F401
    import peer_rounds

    task, rounds = peer_rounds.Task(request["model"]), request["rounds"]
    name = "plain loop" if request["system"].startswith("plain loop") else request["system"]
    reached = peer_rounds.SYSTEMS[name](task, rounds).detach()
    expected = peer_rounds.plain(peer_rounds.Task(request["model"]), rounds).detach()
    begin = torch.cat([p.detach().flatten() for p in task.model().parameters()])
    distance = float((reached - expected).norm() / (expected - begin).norm())
    Path(request["answer"]).write_text(json.dumps({"marks": task.marks, "distance": distance}))


def measure(model: str, pythons: dict[str, str], rounds: int, repeats: int) -> dict[str, Measured]:
    """All systems in turns."""
    measured = {name: Measured() for name in pythons}
    cores = len(os.sched_getaffinity(0))
    for repetition in range(repeats):
        for name, python in pythons.items():
            peer = PEERS[name]
            if repetition % peer.every:
                continue
            threads = {"one": 1, "all": cores}.get(peer.threads) or quicker(measured, cores)
            found = one_process(name, python, model, peer.rounds or rounds, threads)
            if found is None:
                print(f"{model}, repetition {repetition + 1}: {name} did not end within {PATIENCE:.0f} s", flush=True)
                continue
            if peer.same and found["distance"] > TOLERANCE:
                raise SystemExit(
                    f"{name}: its parameters are {found['distance']:.1%} off the plain loop's: not the same round"
                )
            one = measured[name]
            one.rounds.append(found["rounds"])
            one.repetitions.append(repetition)
            one.start.append(found["start"])
            one.distance = max(one.distance, found["distance"])
            where = f"{model} {repetition + 1}/{repeats} {name} ({threads} threads)"
            print(f"  {where}: {1e3 * one.median_of(repetition):.1f} ms", file=sys.stderr)
    return measured


def quicker(measured: dict[str, Measured], cores: int) -> int:
    """Intra-op threads with which the plain loop was quicker so far; one where it was not measured."""
    one, all_of_them = (measured.get(f"plain loop, {how}") for how in ("one thread", "all cores"))
    if one is None or all_of_them is None or not (one.rounds and all_of_them.rounds):
        return 1
    return 1 if one.median <= all_of_them.median else cores


def table(measured: dict[str, Measured]) -> str:
    """Rows of Markdown, quickest first."""
    base = measured.get(BASE)
    lines = [
        "| system | median ms | best ms | median ratio | best ratio | first round done, s | off the plain loop |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in sorted(
        ((name, one) for name, one in measured.items() if one.rounds), key=lambda item: item[1].best
    ):
        ratios = "– | –"
        if base is not None and base.rounds:
            each = [one.median_of(number) / base.median_of(number) for number in one.repetitions]
            ratios = f"{statistics.median(each):.2f} | {one.best / base.best:.2f}"
        distance = f"{one.distance:.0e}" if PEERS[name].same else "another method"
        times = f"{1e3 * one.median:.1f} | {1e3 * one.best:.1f} | {ratios} | {statistics.median(one.start):.1f}"
        lines.append(f"| {name} | {times} | {distance} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, help="folder with one virtual environment per peer")
    parser.add_argument("--models", nargs="+", choices=("mlp", "cnn"), default=["mlp", "cnn"])
    parser.add_argument("--systems", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=40, help="rounds in one process, the first three not counted")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(json.loads(arguments.child))
        return
    environments = arguments.environments and arguments.environments.expanduser().resolve()
    pythons = {}
    for name in arguments.systems:
        if python := interpreter(PEERS[name], environments):
            pythons[name] = python
        else:
            place = (environments or Path("peers")) / PEERS[name].environment
            print(
                f"{name}: not installed; python3 -m venv {place} && {place}/bin/pip install numpy torch "
                f"{PEERS[name].install}"
            )
    print(f"Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores ({platform.machine()})")
    for model in arguments.models:
        measured = measure(model, pythons, arguments.rounds, arguments.repeats)
        print(f"\n{model}\n\n{table(measured)}")


if __name__ == "__main__":
    main()
