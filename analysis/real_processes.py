"""Real processes against the simulation: parameters after 50 rounds, of every method.

    python -m analysis.real_processes [METHOD ...]

starts four processes on this machine (gloo) and writes analysis/results/real_processes.md. Every method trains
the same small network on digits, in float64, once as the simulation does and once with a process for each worker;
an asynchronous one once with a process for each worker, and once more by the order of events that was recorded.
Settings are such that every training is stable and gets somewhere: each row says how far parameters have moved and
what became of the loss.
"""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
import tempfile
import time
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from simgmc.algorithms import ALGORITHMS
from simgmc.core.errors import SimgmcError
from simgmc.distributed.checkpoints import RankCheckpoints
from simgmc.distributed.clock import Clock
from simgmc.distributed.events.again import again, read_order
from simgmc.distributed.events.training import EventsOnRanks
from simgmc.distributed.group import Group
from simgmc.distributed.synchronous import Keeper, Manner, rank_trainer
from simgmc.experiment.assembly import WorkloadFactory, build_stacked_trainer
from simgmc.experiment.asynchronous import AsynchronousTraining
from simgmc.experiment.plan import trainings
from simgmc.experiment.progress import RunProgress
from simgmc.experiment.synchronous import SynchronousTraining
from simgmc.experiment.training import Training
from simgmc.results.directory import run_directory
from simgmc.scenario import ScenarioFile
from simgmc.scenario.workload import DataWorkload, ProblemWorkload
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.catalogue import load_dataset
from simgmc.workloads.models.catalogue import build_model
from simgmc.workloads.partitions.catalogue import partition
from simgmc.workloads.workload import Workload
from tests.small_runs import FOUR_QUADRATICS

WORKERS, ROUNDS, SEED = 4, 50, 3
RESULTS = Path(__file__).parent / "results" / "real_processes.md"
Options = dict[str, Any]
"""Of a method, as a scenario states them."""
COMPRESSOR = {"name": "top-k", "density": 0.05}
OPTIONS: dict[str, Options] = {
    "dgc": {"density_warmup": [0.5]},
    "saef": {"average_residual_every": 2},
    "cser": {"compressor": {"name": "rbgs", "density": 0.2}},
    "post-local-sgd": {"start_epoch": 0.1},
    "1-bit-adam": {"warmup_rounds": 3},
    "0-1-adam": {"variance_scaler": 4, "local_steps_from": 20, "local_steps_double_every": 15},
    "slowmo": {"learning_rate": 0.005},
    "diloco": {"learning_rate": 0.001},
    "quantized-pr-sgd": {"compressor": {"name": "qsgd", "levels": 4}},
    "quantized-pr-sgd-gossip": {"compressor": {"name": "qsgd", "levels": 64}},
    "qsgd": {"compressor": {"name": "qsgd", "levels": 4}},
}
"""What methods need, or only do, beside a compressor and two local steps."""
ADAPTIVE = ("1-bit-adam", "0-1-adam")
"""Methods whose steps are as long as the learning rate says."""
FURTHER: list[tuple[str, str, Options]] = [
    ("gmc", "parameter-server", {}),
    ("doublesqueeze", "parameter-server", {"compressor": {"name": "random-k", "density": 0.1}}),
    ("1-bit-adam", "parameter-server", {}),
    ("qsgd", "parameter-server", {}),
    ("gmc", "colocated-parameter-server", {}),
    ("gmc", "ring", {"compressor": {"name": "rbgs", "density": 0.1}}),
    ("gmc", "ring", {"compressor": {"name": "threshold", "threshold": 0.01}}),
    ("ef", "ring", {"compressor": {"name": "composed", "sparsify": {"name": "top-k", "density": 0.1},
                                   "quantise": {"name": "qsgd", "levels": 7}}}),
    ("ef", "ring", {"compressor": {"name": "low-rank", "rank": 2}}),
    ("local-sgd", "colocated-parameter-server", {}),
    ("local-sgd", "ring-all-gather", {}),
    ("local-sgd", "two-level", {}),
    ("gmc", "two-level", {"compressor": {"name": "rbgs", "density": 0.1}}),
    ("choco-sgd", "ring", {"compressor": {"name": "qsgd", "levels": 127}}),
]  # fmt: skip
"""Further (method, collective, options)."""


def file_of(name: str, collective: str, options: Options) -> ScenarioFile:
    """Fifty rounds of a method."""
    fields = {field.name for field in dataclasses.fields(ALGORITHMS[name])}
    chosen: Options = {"name": name, "algorithm": name}
    chosen |= {key: COMPRESSOR for key in ("compressor", "error_compressor") if key in fields}
    chosen |= {key: 2 for key in ("period",) if key in fields}
    content: dict[str, Any] = {
        "name": "real",
        "seeds": [SEED],
        "workload": {
            "dataset": "digits", "model": {"name": "mlp", "hidden": [24]}, "batch_per_worker": 8,
            "partition": {"name": "dirichlet", "alpha": 0.5}, "workers": WORKERS, "rounds": ROUNDS,
        },
        "optimizer": {"learning_rate": 0.001 if name in ADAPTIVE else 0.02, "weight_decay": 1e-4},
        "cluster": {
            "bandwidth": "100 Mbit/s", "latency": "1 ms", "collective": collective,
            "compute": {"gradient": "1 ms", "compression": "1 ms", "aggregation": "1 GB/s"},
        },
        "methods": [chosen | OPTIONS.get(name, {}) | options],
        "report": {"baseline": name},
    }  # fmt: skip
    if collective == "two-level":
        content["cluster"]["collective_options"] = {"groups": [[0, 1], [2, 3]]}
    if ALGORITHMS[name].finite_sum:
        content["workload"] = {"problem": FOUR_QUADRATICS, "workers": WORKERS, "rounds": ROUNDS}
        content["optimizer"] = {"learning_rate": 0.02}
        content["report"] = {"baseline": name, "metric": "gap"}
    if ALGORITHMS[name].mixing != "none" or (ALGORITHMS[name].asynchronous and not ALGORITHMS[name].centralised):
        content["gossip"] = {"graph": "ring"}
    return ScenarioFile(content, "real.toml", ())


def workload_of(training: Training) -> Workload:
    """Its workload in float64."""
    chosen = training.scenario.workload
    if isinstance(chosen, ProblemWorkload):
        return WorkloadFactory("cpu", None, 1)(training.scenario, SEED)
    assert isinstance(chosen, DataWorkload)
    data = load_dataset("digits", None)
    assert data.sample_shape is not None
    owned = partition(chosen.partition.name, data.train_labels, WORKERS, SEED, **chosen.partition.options)
    model = build_model("mlp", data.sample_shape, 10, SEED, data.tokens, hidden=[24])
    return ClassificationWorkload(model, data, owned, batch=8, seed=SEED, threads=1, dtype=torch.float64)


def cases() -> list[tuple[str, str, Options]]:
    """Every synchronous and gossip method on a ring, and the further ones."""
    return [(name, "ring", {}) for name, cls in ALGORITHMS.items() if not cls.asynchronous] + FURTHER


class Found(NamedTuple):
    """What came of a training."""

    apart: float
    """Largest difference of a parameter, over the largest parameter."""
    moved: float
    """How far the parameter that moved most has."""
    losses: tuple[float, float]
    """Test loss at the start and at the end."""
    events: int = 0
    """Of an asynchronous one."""

    @property
    def cells(self) -> str:
        """Moved and loss, for the tables."""
        return f"{self.moved:.2g} | {self.losses[0]:.2f} to {self.losses[1]:.2f}"


def compared(group: Group, case: tuple[str, str, Options], in_rank_order: bool) -> Found | None:
    """Of a synchronous method; None on ranks but the first."""
    training = trainings(file_of(*case).points)[0]
    assert isinstance(training, SynchronousTraining)
    trainer = rank_trainer(training, workload_of(training), group, Manner(in_rank_order, False, 0.0), Clock(group))
    for _ in range(ROUNDS):
        trainer.run_round()
    trainer.close()
    real = group.gathered(trainer.worker.params)
    if group.rank:
        return None
    workload = workload_of(training)
    simulated = build_stacked_trainer(training, workload, "all")
    start, before = simulated.worker.params.clone(), workload.evaluate(simulated.model()).loss
    for _ in range(ROUNDS):
        simulated.next_round().with_everybody()
    there = simulated.worker.params.expand(WORKERS, -1)
    apart = (torch.cat(real) - there).abs().max() / there.abs().max()
    losses = before, workload.evaluate(simulated.model()).loss
    return Found(float(apart), float((there - start).abs().max()), losses)


def replayed(group: Group, name: str) -> Found | None:
    """The same of an asynchronous method and its replay from the order of events."""
    training = trainings(file_of(name, "ring", {}).points)[0]
    assert isinstance(training, AsynchronousTraining)
    with tempfile.TemporaryDirectory() as place:
        keeper = None
        if not group.rank:
            progress = RunProgress(Console(file=StringIO()), 1)
            keeper = Keeper(run_directory.create(Path(place) / "run", "# none\n"), progress)
        never = RankCheckpoints(Path(place) / "checkpoints", group, math.inf)
        real = EventsOnRanks(training, workload_of(training), group, Manner(False, False, 0.0), never, keeper)
        real.run()
        programs = real.rank.programs
        every = group.gathered([programs.runs[group.rank].worker.params, programs.server.params])
        if keeper is None:
            return None
        events = read_order(keeper.directory, training.key)
    workload = workload_of(training)
    same = again(training, workload, events)
    there = torch.stack([run.worker.params for run in same.runs] + [same.server.params])
    held = torch.stack([worker for worker, _ in every] + [every[0][1]])
    start = workload.initial_parameters()
    losses = workload.evaluate(start).loss, workload.evaluate(same.model()).loss
    apart = float((held - there).abs().max() / there.abs().max())
    return Found(apart, float((there - start).abs().max()), losses, len(events))


def _compressor(case: tuple[str, str, Options]) -> str:
    """In words; empty where the method has none."""
    chosen = file_of(*case).content["methods"][0]
    one = chosen.get("compressor") or chosen.get("error_compressor") or {}
    return " ".join(str(value) for value in one.values() if not isinstance(value, dict))


def _all_of_them() -> str:
    """Whether all methods are in the tables, in words."""
    asynchronous = sum(cls.asynchronous for cls in ALGORITHMS.values())
    there = {name for name, *_ in cases()} | {name for name, cls in ALGORITHMS.items() if cls.asynchronous}
    missing = sorted(ALGORITHMS.keys() - there)
    those = f"without {', '.join(missing)}" if missing else "all"
    return (
        f"Of the {len(ALGORITHMS)} methods of `simgmc list algorithms` {those} are here: {len(there) - asynchronous} "
        f"that go by rounds, {asynchronous} that go by events."
    )


def on_rank(chosen: list[str]) -> None:
    """One of the four processes."""
    group = Group("gloo", torch.device("cpu"), 120.0, "analysis")
    rows, worst = [], 0.0
    for case in cases():
        if chosen and case[0] not in chosen:
            continue
        found, began = [], time.monotonic()
        for in_rank_order in (False, True):
            try:
                found.append(compared(group, case, in_rank_order))
            except SimgmcError as error:
                raise SystemExit(f"{case}: rank {group.rank}: {error}") from None
        name, collective, options = case
        what = "gossip ring" if ALGORITHMS[name].mixing != "none" else collective
        compressor = _compressor(case)
        both = [one for one in found if one is not None]
        if not both:
            continue
        apart = [one.apart for one in both]
        rows.append(f"| {name} | {compressor} | {what} | {apart[0]:.1e} | {apart[1]:.1e} | {both[1].cells} |")
        worst = max(worst, *apart)
        print(rows[-1], f"{time.monotonic() - began:.1f} s", flush=True)
    events = []
    for name, algorithm in ALGORITHMS.items():
        if algorithm.asynchronous and (not chosen or name in chosen):
            one = replayed(group, name)
            if one is None:
                continue
            events.append(f"| {name} | {one.apart:.1e} | {one.cells} | {one.events} |")
            worst = max(worst, one.apart)
            print(events[-1], flush=True)
    group.leave()
    if not group.rank and not chosen:
        head = [
            "# Parameters of real processes against the simulation",
            "",
            f"`python -m analysis.real_processes`: {WORKERS} gloo processes, {ROUNDS} rounds, float64, digits, an MLP "
            "of 24 hidden units. Largest difference of any worker's parameter from the simulation's, relative to the "
            "largest parameter; with the group's own all_reduce where that is what carries the messages, and with "
            "every sum in rank order (`--sums ranks`). Moved: how far the parameter that moved most has moved. Loss: "
            "test loss at the start and at the end.",
            "",
            _all_of_them(),
            "",
            "| method | compressor | carried by | difference | in rank order | moved | loss |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        second = [
            "",
            "Asynchronous methods: parameters of real processes against the training by the order of events that they "
            "recorded.",
            "",
            "| method | difference | moved | loss | events |",
            "| --- | --- | --- | --- | --- |",
        ]
        RESULTS.write_text(
            "\n".join([*head, *rows, *second, *events, "", f"Largest difference: {worst:.1e} (1e-10 is wanted).", ""])
        )
        print(f"largest difference {worst:.1e}; {RESULTS}")


if __name__ == "__main__":
    if "RANK" in os.environ:
        on_rank(sys.argv[1:])
    else:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(WORKERS)]
        raise SystemExit(
            subprocess.run([*torchrun, "-m", "analysis.real_processes", *sys.argv[1:]], check=False).returncode
        )
