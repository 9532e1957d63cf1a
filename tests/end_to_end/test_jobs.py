"""Trainings side by side leave the bytes of trainings one after another, whatever is killed on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import tomli_w
from rich.console import Console

from simgmc.core.errors import SimgmcError
from simgmc.core.interruption import Interruption
from simgmc.experiment import run as running
from simgmc.experiment.assembly import Given, WorkloadFactory
from simgmc.experiment.engines.choice import Choice
from simgmc.experiment.engines.processes import handed_over
from simgmc.experiment.engines.recipe import Recipe, Workplace
from simgmc.experiment.engines.task import Failure
from simgmc.experiment.plan import trainings
from simgmc.experiment.preflight.memory import MemoryPrediction
from simgmc.experiment.preflight.trial import try_out
from simgmc.experiment.progress import RunProgress
from simgmc.results.directory.run_directory import create, open_run
from simgmc.scenario import ScenarioFile
from tests.end_to_end.killing import results
from tests.end_to_end.stopping import files
from tests.end_to_end.stopping import run as one_after_another
from tests.small_runs import SMALL

CONTENT = {
    **SMALL,
    "seeds": [3, 4],
    "workload": {**SMALL["workload"], "rounds": 4, "evaluate_every": "2 rounds"},
    "methods": [
        {"name": "GMC", "algorithm": "gmc", "compressor": {"name": "top-k", "density": 0.02}},
        {"name": "server", "algorithm": "async-sgd"},
    ],
    "report": {"target": 0.3, "baseline": "GMC"},
    "grid": {"cluster.bandwidth": ["5 Mbit/s", "300 kbit/s"]},
}


class Elsewhere:
    """Trains in this process as another would: into parts, which are taken in as ``order`` puts the tasks."""

    def __init__(self, recipe, order, killed_after=10**9):
        self._recipe, self._order, self._killed_after = recipe, order, killed_after

    def train(self, tasks, directory, progress) -> list[Failure]:
        for count, task in enumerate(self._order(tasks)):
            part = directory.part(task.training.key)
            place = Workplace(self._recipe)
            place.train(task.number, task.missing, part, directory.path / "checkpoint", Interruption(), progress)
            if count >= self._killed_after:
                raise KeyboardInterrupt
            directory.take_in(open_run(part))
        return []


def elsewhere(file, out, order, **options):
    directory = create(out, file.resolved(), grid_keys=tuple(file.grid))
    recipe = Recipe(file, file.resolved(), "cpu", None, 1, Given(), 1e9)
    plan = trainings(file.points)
    with RunProgress(Console(file=StringIO()), len(plan)) as progress:
        engine = Elsewhere(recipe, order, **options)
        running.run_trainings(plan, directory, WorkloadFactory("cpu", None, 1), progress, choose=lambda tasks: engine)


@pytest.fixture(scope="module")
def file():
    return ScenarioFile(CONTENT, "small.toml")


@pytest.fixture(scope="module")
def expected(file, tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "run"
    one_after_another(file, out, every=1e9)
    return files(out)


def test_parts_taken_in_in_any_order_are_the_bytes_of_trainings_one_after_another(file, expected, tmp_path):
    elsewhere(file, tmp_path / "run", lambda tasks: random.Random(5).sample(tasks, len(tasks)))
    assert files(tmp_path / "run") == expected


def test_a_part_that_was_finished_when_the_run_was_killed_is_taken_in_and_not_trained_again(file, expected, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        elsewhere(file, tmp_path / "run", lambda tasks: tasks[::-1], killed_after=1)
    trained = []
    elsewhere(file, tmp_path / "run", lambda tasks: trained.extend(tasks) or tasks)
    assert len(trained) == len(trainings(file.points)) - 2
    assert files(tmp_path / "run") == expected


def test_a_scenario_is_the_same_after_it_went_to_another_process(file):
    import pickle

    recipe = Recipe(file, file.resolved(), "cpu", None, 1, Given(), 1e9)
    again = pickle.loads(handed_over(recipe))
    assert again.file.resolved() == file.resolved()
    assert [one.key for one in trainings(again.file.points)] == [one.key for one in trainings(file.points)]


def test_what_cannot_go_to_another_process_is_refused_in_one_line(file):
    import threading

    given = Given(loss=lambda output, target, lock=threading.Lock(): output.sum())
    with pytest.raises(SimgmcError, match=r"jobs: what was given in Python cannot .*; give jobs=1"):
        handed_over(Recipe(file, file.resolved(), "cpu", None, 1, given, 1e9))


def test_as_many_run_at_once_as_fit_and_more_are_refused_by_number(file, monkeypatch):
    """Each takes 1 GB and 1 GB more on two threads than on one: on two threads in all two need 2 GB."""
    from simgmc.experiment.engines import choice

    memory = MemoryPrediction("GMC", {"now": 0.5e9, "state": 1.5e9}, "cpu", 2, 2e9)
    workload_of = WorkloadFactory("cpu", None, 2)
    trial = replace(try_out(trainings(file.points), workload_of), memory=memory)
    tasks = [object()] * 4
    chosen = Choice(file, trial, workload_of, None, 1e9, Interruption(), Console(file=StringIO()), 4)
    for free, fit in ((8e9, 4), (3.5e9, 3), (2.2e9, 2), (1e9, 1)):
        monkeypatch.setattr(choice, "available", lambda device, free=free: free)
        if fit == 4:
            assert chosen._number(tasks) == 4
        else:
            with pytest.raises(SimgmcError, match=f"jobs = 4: .* at most {fit} fit"):
                chosen._number(tasks)


# The command, in processes.


def start(path, out, *more):
    command = [sys.executable, "-m", "simgmc", "run", str(path), "--device", "cpu", "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def until(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc to look for processes in")
def test_killed_at_any_moment_nothing_saved_is_lost_nobody_is_left_and_the_bytes_are_the_same(tmp_path):
    content = {**CONTENT, "workload": {**CONTENT["workload"], "rounds": 60}}
    path, out = tmp_path / "small.toml", tmp_path / "run"
    path.write_text(tomli_w.dumps(content))
    assert start(path, tmp_path / "one", "--jobs", "1").wait() == 0
    draws = random.Random(7)
    for ending in ("kill", "Ctrl-C", "child", "SIGTERM", "kill", "child"):
        began = time.time()
        process = start(path, out, "--jobs", "2", "--checkpoint-every", "0")

        def saved(began=began):
            return any(file.stat().st_mtime > began for file in out.glob("checkpoint/*.state"))

        until(saved, process)
        time.sleep(draws.uniform(0, 0.5))
        family = children(process.pid) if process.poll() is None else []
        before = len(open_run(out).finished())
        if ending == "child" and family:
            os.kill(draws.choice(family), signal.SIGKILL)
        elif process.poll() is None:
            signals = {"kill": signal.SIGKILL, "Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}
            process.send_signal(signals.get(ending, signal.SIGTERM))
        said = process.communicate()[0].decode()
        status = {"kill": -9, "Ctrl-C": 130, "SIGTERM": 143, "child": 2}[ending]
        assert process.returncode in (status, 0), said
        if ending == "child" and process.returncode:
            assert "the process that trained it was killed (SIGKILL)" in said
        until(lambda family=family: not any(map(lives, family)), process=subprocess.Popen(["sleep", "5"]))
        assert not any(map(lives, family))
        assert len(open_run(out).finished()) >= before
    process = start(path, out, "--jobs", "2", "--resume")
    assert process.communicate() and process.returncode == 0
    assert results(out) == results(tmp_path / "one")


@pytest.mark.slow
def test_data_and_functions_of_a_script_go_to_other_processes(tmp_path):
    """A script without a guard, whose model and loss are its own."""
    script = tmp_path / "mine.py"
    script.write_text(
        """
import sys, torch, simgmc
torch.manual_seed(0)
data = torch.utils.data.TensorDataset(torch.randn(64, 5), torch.randint(0, 3, (64,)))
def model():
    return torch.nn.Linear(5, 3)
scenario = dict(
    seeds=[1, 2],
    workload=dict(workers=2, batch_per_worker=4, rounds=3, evaluate_every="1 rounds"),
    optimizer=dict(learning_rate=0.1),
    cluster=dict(collective="ring", bandwidth="1 Mbit/s", latency="1 ms",
                 compute=dict(gradient="1 ms", compression="1 ms", aggregation="1 ms")),
    methods=[dict(algorithm="dmsgd")])
loss = lambda output, target: torch.nn.functional.cross_entropy(output, target)
for jobs in (1, 2):
    simgmc.run(scenario, out=f"{sys.argv[1]}/{jobs}", train=data, test=data, model=model, loss=loss, jobs=jobs,
               plots=False, device="cpu")
"""
    )
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True)
    assert files(tmp_path / "1") == files(tmp_path / "2")
