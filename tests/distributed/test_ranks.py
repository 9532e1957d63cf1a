"""Real processes compute what the simulation does."""

from __future__ import annotations

import math
import re
import resource
import signal
import threading
import time
from io import StringIO

import pytest
import torch
from rich.console import Console

from simgmc.core.errors import SimgmcError
from simgmc.distributed.checkpoints import RankCheckpoints
from simgmc.distributed.clock import Clock
from simgmc.distributed.events.again import again, read_order
from simgmc.distributed.events.order import from_array, to_array
from simgmc.distributed.events.post import COUNT, Letter, Post
from simgmc.distributed.events.training import EventsOnRanks
from simgmc.distributed.group import Group
from simgmc.distributed.server import serve
from simgmc.distributed.synchronous import Keeper, Manner, rank_trainer
from simgmc.experiment.assembly import WorkloadFactory, build_stacked_trainer
from simgmc.experiment.plan import trainings
from simgmc.experiment.progress import RunProgress
from simgmc.results.directory import run_directory
from simgmc.scenario import ScenarioFile
from tests.distributed.forked import on_ranks

ROUNDS = 6
MANY = 30
"""Gradients of each worker where they come to pauses by themselves."""
AS_MEASURED = Manner(in_rank_order=False, paced=False, checkpoint_every=0.0)
PACED = Manner(in_rank_order=False, paced=True, checkpoint_every=0.0)
IN_RANK_ORDER = Manner(in_rank_order=True, paced=False, checkpoint_every=0.0)


def training_of(workers, method, collective="ring", rounds=ROUNDS):
    """Quadratics with noise in the gradients, in float64."""
    numbers = [[1.0 + k, 2.0, 0.5, 1.5, 1.0, 0.7] for k in range(workers)]
    content = {
        "name": "ranks", "seeds": [1],
        "workload": {
            "problem": {"name": "quadratic", "start": [3.0, -3.0, 1.0, 2.0, 0.0, 1.0], "matrices": numbers,
                        "minimisers": [[float(k), 1.0, -1.0, 0.3, 0.2, k / 2] for k in range(workers)], "noise": 0.3},
            "workers": workers, "rounds": rounds, "evaluate_every": f"{rounds // 3} rounds",
        },
        "optimizer": {"learning_rate": 0.05},
        "cluster": {"bandwidth": "1 Gbit/s", "latency": "1 ms", "collective": collective,
                    "compute": {"gradient": "1 ms", "compression": "1 ms", "aggregation": "1 GB/s"}},
        "gossip": {"graph": "ring"}, "methods": [{"name": "M"} | method], "report": {"baseline": "M", "metric": "gap"},
    }  # fmt: skip
    if collective == "two-level":
        content["cluster"]["collective_options"] = {"groups": [[0], [1, 2]]}
    without = ("sgd", "gmc", "doublesqueeze", "local-sgd", "terngrad", "async-sgd", f"{OWN}:Choosy")
    if method["algorithm"] in without:
        del content["gossip"]
    (training,) = trainings(ScenarioFile(content, "ranks.toml", ()).points)
    return training, WorkloadFactory("cpu", None, 1)(training.scenario, 1)


OWN = "tests.distributed.own_parts"
TOP = {"name": "top-k", "density": 0.4}
TOGETHER = [
    ({"algorithm": "sgd"}, "ring", IN_RANK_ORDER, 0.0),
    ({"algorithm": "sgd"}, "ring", AS_MEASURED, 1e-10),
    ({"algorithm": "local-sgd", "period": 2}, "two-level", AS_MEASURED, 1e-10),
    ({"algorithm": "gmc", "compressor": TOP}, "ring", AS_MEASURED, 0.0),
    ({"algorithm": "gmc", "compressor": TOP}, "colocated-parameter-server", AS_MEASURED, 0.0),
    ({"algorithm": "doublesqueeze", "compressor": {"name": "random-k", "density": 0.5}}, "parameter-server",
     AS_MEASURED, 0.0),
    ({"algorithm": "terngrad"}, "parameter-server", AS_MEASURED, 0.0),
    ({"algorithm": "d-psgd"}, "ring", AS_MEASURED, 1e-10),
    ({"algorithm": "choco-sgd", "compressor": {"name": "qsgd", "levels": 127}}, "ring", AS_MEASURED, 1e-10),
    ({"algorithm": f"{OWN}:Choosy", "compressor": TOP}, "ring", AS_MEASURED, 1e-10),
    ({"algorithm": f"{OWN}:Choosy", "compressor": {"name": f"{OWN}:Halves"}}, "parameter-server", AS_MEASURED, 1e-10),
    ({"algorithm": f"{OWN}:Mixing"}, "ring", AS_MEASURED, 1e-10),
]  # fmt: skip
"""Methods, collectives, and how close to the simulation their parameters have to be (0: the same bits)."""


def apart(training, workload, held):
    """How far the workers' parameters are from the simulation's, of the largest."""
    trainer = build_stacked_trainer(training, workload, "all")
    for _ in range(ROUNDS):
        trainer.next_round().with_everybody()
    there = trainer.worker.params.expand(len(held), -1)
    return float((torch.stack(held) - there).abs().max() / there.abs().max())


@pytest.mark.parametrize(
    ("workers", "cases"),
    [(2, [TOGETHER[1], TOGETHER[5], TOGETHER[7]]), pytest.param(3, TOGETHER, marks=pytest.mark.slow)],
)
def test_parameters_are_those_of_the_simulation(workers, cases):
    def task():
        group = Group("gloo", torch.device("cpu"), 30.0, "test")
        found = []
        for method, collective, manner, _ in cases:
            trainer = rank_trainer(*training_of(workers, method, collective), group, manner, Clock(group))
            for _ in range(ROUNDS):
                trainer.run_round()
            trainer.close()
            found.append(trainer.worker.params[0].numpy())
        return found

    every = on_ranks(workers, task)
    for number, (method, collective, _, within) in enumerate(cases):
        held = [torch.from_numpy(one[number]) for one in every]
        assert apart(*training_of(workers, method, collective), held) <= within, (method, collective)


REPLIES = [
    {"algorithm": "gmc", "compressor": TOP},
    {"algorithm": "doublesqueeze", "compressor": TOP},
    {"algorithm": "doublesqueeze", "compressor": {"name": "random-k", "density": 0.5}},
    {"algorithm": f"{OWN}:Choosy", "compressor": TOP},
]
"""Servers that send the mean back, or what they make of it; the second draws for it."""


@pytest.mark.slow
@pytest.mark.parametrize("collective", ["parameter-server", "sharded-parameter-server"])
def test_servers_in_processes_of_their_own_give_the_same_parameters(collective):
    """Of methods with a server of their own, too."""
    servers = 1 if collective == "parameter-server" else 2

    def task():
        group = Group("gloo", torch.device("cpu"), 30.0, "test", 2)
        found = []
        for number, method in enumerate(REPLIES):
            if group.rank >= 2:
                serve(group, 2)
            else:
                trainer = rank_trainer(*training_of(2, method, collective), group, AS_MEASURED, Clock(group))
                for _ in range(ROUNDS):
                    trainer.run_round()
                trainer.on_over()
                found.append(trainer.worker.params[0].numpy())
            group.leave()
            if number + 1 < len(REPLIES):
                group = Group("gloo", torch.device("cpu"), 30.0, f"test {number}", 2)
        return found

    every = on_ranks(2 + servers, task)[:2]
    for number, method in enumerate(REPLIES):
        held = [torch.from_numpy(one[number]) for one in every]
        assert apart(*training_of(2, method, collective), held) <= (0 if number < 3 else 1e-10), method


def trained(place, workers, methods):
    """Each method on real processes: looked at while it goes on, saved in pauses, and from the last checkpoint on.

    Per method: the events that the checkpoint holds; and of each run all events, the workers' parameters, the server's,
    and the gradients of a worker at the evaluations.
    """

    def task():
        group = Group("gloo", torch.device("cpu"), 30.0, "test")
        found = []
        for number, method in enumerate(methods):
            checkpoints = RankCheckpoints(place / f"checkpoints {number}", group, 0.0)
            checkpoints.remove = lambda: None
            runs = []
            for saved in (RankCheckpoints(place / "none", group, math.inf), checkpoints, checkpoints):
                keeper = None
                if not group.rank:
                    progress = RunProgress(Console(file=StringIO()), 1)
                    keeper = Keeper(run_directory.create(place / f"{number} {len(runs)}", "# none\n"), progress)
                training, workload = training_of(workers, method, rounds=MANY)
                real = EventsOnRanks(training, workload, group, PACED, saved, keeper)
                real.run()
                programs, server = real.rank.programs, real.rank.programs.server.params.numpy()
                order, rounds = None, []
                if keeper is not None:
                    order = to_array(read_order(keeper.directory, training.key))
                    rounds = [one.round for one in keeper.directory.evaluations()[training.series(training.points[0])]]
                runs.append((order, programs.runs[group.rank].worker.params.numpy(), server, rounds))
            state = checkpoints.load(torch.device("cpu"))
            found.append((None if group.rank else state["watch"]["events"], runs))
        return found

    every = on_ranks(workers, task)
    return [
        (
            from_array(of_method[0][0]),
            [
                (from_array(held[0][0]), [one[1] for one in held], *held[0][2:])
                for held in zip(*(runs for _, runs in of_method), strict=True)
            ],
        )
        for of_method in zip(*every, strict=True)
    ]


@pytest.mark.parametrize(
    ("workers", "names"),
    [
        (2, ["async-sgd", "swarm-sgd"]),
        pytest.param(
            3,
            ["ad-psgd", "swarm-sgd", "swarm-sgd-non-blocking", "osgp", "pop-sgd", "stale-synchronous-sgd",
             f"{OWN}:Asking"],
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_an_asynchronous_training_is_the_same_by_its_order_of_events(tmp_path, workers, names):
    """Whatever order the processes came to: every worker, and the server; and where it went on from a checkpoint."""
    methods = [{"algorithm": name} for name in names]
    for method, (saved, runs) in zip(methods, trained(tmp_path, workers, methods), strict=True):
        for events, held, server, rounds in runs:
            # Whoever is held up hears late that it is to be looked at: how many evaluations there are may differ.
            assert rounds[0] == 0 and rounds[-1] >= MANY and rounds == sorted(set(rounds)) and len(rounds) <= 4
            same = again(*training_of(workers, method), events)
            for rank, params in enumerate(held):
                assert torch.equal(torch.from_numpy(params), same.runs[rank].worker.params), (method, rank)
            assert torch.equal(torch.from_numpy(server), same.server.params)
            assert sum(run.gradients for run in same.runs) >= workers * MANY
        assert 0 < len(saved) < len(runs[2][0]) and set(saved) < set(runs[2][0])


def test_a_checkpoint_that_one_rank_cannot_write_ends_all_and_leaves_the_one_before(tmp_path):
    def task():
        group = Group("gloo", torch.device("cpu"), 30.0, "test")
        checkpoints = RankCheckpoints(tmp_path / "kept", group, 0.0)
        checkpoints.save("first", {"number": group.rank})
        if group.rank:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # as on a full disk, an error says so
        try:
            checkpoints.save("second", {"number": torch.zeros(10_000)})
            said = ""
        except SimgmcError as error:
            said = str(error)
        return said, checkpoints.load(torch.device("cpu"))["number"]

    every = on_ranks(2, task)
    assert [number for _, number in every] == [0, 1]
    assert all(
        re.search(r"cannot write .*second: rank 1: .*; what was saved before is kept", said) for said, _ in every
    )
    assert sorted(one.name for one in (tmp_path / "kept").iterdir()) == ["first", "newest"]


@pytest.mark.slow
def test_ranks_that_have_nothing_to_say_are_not_taken_for_gone():
    """Neighbours on a graph alone exchange letters: two others may be silent for longer than a rank is waited for."""

    def task():
        group, heard, errors = Group("gloo", torch.device("cpu"), 8.0, "test"), threading.Event(), []
        letters = Post(group, 2, lambda letter: heard.set(), errors.append)
        letters.open()
        time.sleep(1.5 * group.timeout)
        letters.send(1 - group.rank, Letter(COUNT, group.rank, 1 - group.rank, counts=[0, 0]))
        heard.wait(8.0)
        letters.close()
        return heard.is_set(), [str(error) for error in errors]

    assert on_ranks(2, task) == [(True, [])] * 2
