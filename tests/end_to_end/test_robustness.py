"""Nothing that was saved is lost, and bad input is one clear line."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from simgmc.commands.replay import replay
from simgmc.commands.why import why
from simgmc.core.errors import SimgmcError
from simgmc.experiment import run as running
from simgmc.experiment.engines import task as tasks
from simgmc.experiment.plan import trainings
from simgmc.experiment.synchronous import SynchronousTraining
from simgmc.results.directory.run_directory import create, open_run
from simgmc.results.directory.run_lock import writing
from simgmc.scenario import ScenarioFile
from simgmc.workloads.classification import ClassificationWorkload
from tests.small_runs import SMALL

PLAIN = {**SMALL["cluster"], "hosts": {}, "stragglers": {"sigma": 0.0}}
BASE = {
    **SMALL,
    "cluster": PLAIN,
    "methods": SMALL["methods"][:2],
    "workload": {**SMALL["workload"], "rounds": 4, "evaluate_every": "2 rounds"},
}
GRID = ("grid.cluster.bandwidth", ["5 Mbit/s", "200 kbit/s", "1 Mbit/s"])


def scenario(*settings):
    return ScenarioFile(BASE, "small.toml", settings)


def run(out, *settings, **options):
    console = Console(file=StringIO(), width=120)
    running.run(scenario(*settings), out=out, **{"device": "cpu", "console": console, **options})
    return console.file.getvalue()


def again(source, **options):
    return replay(source, console=Console(file=StringIO()), **options)


def files(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(Path(path).rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    run(out, GRID)
    return out


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def never_trained(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("trained")

    monkeypatch.setattr(SynchronousTraining, "train", refuse)


@pytest.mark.parametrize("out", ["run", "run/../run", "link"])
def test_a_replay_onto_its_own_source_is_refused(copy, out):
    (copy.parent / "link").symlink_to(copy)
    before = files(copy)
    with pytest.raises(SimgmcError, match="is the run that is replayed"):
        again(copy, out=copy.parent / out, overwrite=True)
    assert files(copy) == before


def test_a_replay_of_the_current_directory_goes_beside_it(copy, monkeypatch):
    monkeypatch.chdir(copy)
    assert again(".") == copy.parent / "run-replay"


@pytest.mark.parametrize("damage", ["missing", "cut", "other workers"])
def test_a_replay_checks_its_source_before_it_clears_its_target(copy, tmp_path, damage):
    run(tmp_path / "target")
    before = files(tmp_path / "target")
    file = copy / "costs" / "GMC, seed 3.npz"
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:300])
    else:
        run(tmp_path / "two", ("workload.workers", 2))
        shutil.copy(tmp_path / "two" / "costs" / file.name, file)
    with pytest.raises(SimgmcError, match="same simgmc run command again"):
        again(copy, out=tmp_path / "target", overwrite=True)
    assert files(tmp_path / "target") == before


IMPOSSIBLE = {
    "device": ((), {"device": "cuda"}, "no usable CUDA"),
    "unknown device": ((), {"device": "tpu"}, 'device = "tpu": must be "auto", "cpu" or "cuda"'),
    "threads": ((), {"threads": 0}, "threads = 0: must be a whole number of at least 1"),
    "threads in words": ((), {"threads": "two"}, 'threads = "two": must be a whole number'),
    "checkpoints": (
        (),
        {"checkpoint_every": float("nan")},
        "checkpoint_every = nan: must be a number of seconds of at least 0",
    ),
    "partition": ((("workload.partition", {"name": "shards", "shards_per_worker": 1000}),), {}, "must be at most"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_cannot_be_built_leaves_an_existing_run_and_makes_no_directory(copy, tmp_path, monkeypatch, case):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    settings, options, message = IMPOSSIBLE[case]
    before = files(copy)
    for out in (copy, tmp_path / "new"):
        with pytest.raises(SimgmcError, match=message):
            run(out, *settings, **options, overwrite=True)
    assert files(copy) == before and not (tmp_path / "new").exists()


def test_a_workload_that_does_not_fit_into_memory_is_a_clear_error(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr("simgmc.experiment.assembly.build_model", full)
    with pytest.raises(SimgmcError, match="do not fit into the memory"):
        run(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_memory_that_runs_out_while_training_is_a_clear_error_and_the_run_goes_on(tmp_path, finished, monkeypatch):
    gradients = ClassificationWorkload.gradients

    def full(self, at, step):
        if step == 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return gradients(self, at, step)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationWorkload, "gradients", full)
        with pytest.raises(SimgmcError, match="DMSGD, seed 3: the memory ran out; what was finished or saved is kept"):
            run(tmp_path / "run", GRID)
    run(tmp_path / "run", GRID)
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_run_killed_between_the_clusters_of_a_training_goes_on_without_training(
    tmp_path, finished, monkeypatch, kept
):
    count = itertools.count()
    write = tasks.write_all

    def until_killed(series):
        for one in series:
            if next(count) == kept:
                raise KeyboardInterrupt
            yield one

    def killed(directory, keys, series, shared):
        return write(directory, keys, until_killed(series), shared)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "write_all", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", GRID)
    assert open_run(tmp_path / "run").has_costs("DMSGD, seed 3") and len(open_run(tmp_path / "run").finished()) == kept
    trained = []
    train = SynchronousTraining.train
    monkeypatch.setattr(
        SynchronousTraining,
        "train",
        lambda training, *arguments: trained.append(training.key) or train(training, *arguments),
    )
    run(tmp_path / "run", GRID)
    assert trained == (["DMSGD, seed 3"] if kept == 0 else []) + ["GMC, seed 3"]
    assert files(tmp_path / "run") == files(finished)


def test_a_series_that_lost_evaluations_is_replayed_from_one_that_has_them(copy, finished, never_trained):
    lines = (copy / "metrics.csv").read_text().splitlines(keepends=True)
    (copy / "metrics.csv").write_text("".join(lines[:-1]))
    assert len(open_run(copy).finished()) == 5
    run(copy, GRID)
    assert files(copy) == files(finished)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b"PK"),
        lambda file: file.write_bytes(file.read_bytes()[:-40]),
    ],
)
def test_lost_costs_are_named_by_why_and_restored_by_the_same_run_command(copy, finished, damage):
    damage(copy / "costs" / "GMC, seed 3.npz")
    console = Console(file=StringIO(), width=120)
    why(str(copy), console)
    assert "GMC, seed 3: " in console.file.getvalue() and "same simgmc run command again" in console.file.getvalue()
    run(copy, GRID)
    assert files(copy) == files(finished)


def test_diverged_and_stopped_series_are_finished_with_the_evaluations_that_they_have(tmp_path):
    methods = [{"name": "wild", "algorithm": "sgd", "learning_rate": 1e30}, {"name": "DMSGD", "algorithm": "dmsgd"}]
    crash = ("cluster.crashes", {"workers": [{"worker": 2, "at": "450 ms"}], "policy": "stop"})
    run(tmp_path / "run", ("methods", methods), ("report.baseline", "DMSGD"), crash)
    directory = open_run(tmp_path / "run")
    assert len(directory.finished()) == 2
    assert min(one.rounds for one in directory.breakdowns().values()) < 4


def test_a_replay_beyond_the_crash_that_stopped_the_run_is_refused(tmp_path):
    crash = ("cluster.crashes", {"workers": [{"worker": 2, "at": "150 ms"}], "policy": "stop"})
    run(tmp_path / "run", crash)
    with pytest.raises(SimgmcError, match="stopped after round .* simgmc run"):
        again(
            tmp_path / "run",
            settings=[("cluster.crashes.workers", [{"worker": 2, "at": "1000 s"}])],
            out=tmp_path / "other",
        )
    assert not (tmp_path / "other").exists()


def test_a_crash_on_the_first_cluster_does_not_end_the_training_for_the_others(tmp_path):
    crashes = [{"workers": [{"worker": 2, "at": at}], "policy": "stop"} for at in ("150 ms", "1000 s")]
    run(tmp_path / "run", ("grid.cluster.crashes", crashes))
    assert [one.rounds for one in open_run(tmp_path / "run").breakdowns().values()][1::2] == [4, 4]


def test_one_process_at_a_time_writes_into_a_directory(tmp_path):
    code = (
        "import sys, pathlib, time; from simgmc.results.directory.run_lock import writing\nwith writing(sys.argv[1]): "
        "print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SimgmcError, match="another simgmc run or replay is writing there"):
            run(tmp_path / "run")
    finally:
        holder.kill()
        holder.wait()
    with writing(tmp_path / "run"):  # a killed holder has lost it
        pass
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("compute", ["measured", {"profile": "nvidia-v100", "efficiency": 0.3}])
def test_times_that_nobody_stated_are_refused_where_nothing_is_trained(copy, tmp_path, compute):
    with pytest.raises(SimgmcError, match="state the times"):
        again(copy, settings=[("cluster.compute", compute)], out=tmp_path / "other")
    text = scenario(("cluster.compute", compute), GRID).resolved()
    (copy / "scenario.toml").write_text(text)
    with pytest.raises(SimgmcError, match="state the times"):
        why(str(copy), Console(file=StringIO()))


def test_a_grid_with_a_measured_time_in_any_point_is_refused(tmp_path):
    with pytest.raises(SimgmcError, match="state the times"):
        run(tmp_path / "run", ("grid.cluster.compute.gradient", ["10 ms", "measured"]))


def test_method_names_have_no_control_characters():
    with pytest.raises(SimgmcError, match="name = .*control characters"):
        scenario(("methods.0.name", "a\nb"), ("report.baseline", "a\nb"))


def test_long_training_keys_are_kept_apart_and_found_by_their_text(tmp_path):
    directory = create(tmp_path / "run", "")
    keys = ["µ" * 300 + end for end in "ab"]
    for key in keys:
        directory.write_costs(key, [])
    assert directory.training_keys() == keys and directory.read_costs(keys[0]) == []
    assert max(len(file.name) for file in (tmp_path / "run" / "costs").iterdir()) < 160


def test_a_pipe_in_place_of_any_file_of_a_run_is_never_waited_for(finished, tmp_path):
    """Each is either not needed, or refused in one line; nothing waits for the pipe's other end."""

    def waits(signal_number, frame):
        raise AssertionError(f"still waiting for {name}")

    def why_silently(path):
        why(str(path), Console(file=StringIO()))

    def again_elsewhere(path):
        again(path, out=tmp_path / "other")

    before = signal.signal(signal.SIGALRM, waits)
    refused = set()
    try:
        for name in files(finished):
            copied = tmp_path / "run"
            shutil.copytree(finished, copied)
            (copied / name).unlink()
            os.mkfifo(copied / name)
            for verb in (why_silently, again_elsewhere):
                signal.alarm(60)
                try:
                    verb(copied)
                except SimgmcError as error:
                    refused.add(name)
                    assert "\n" not in str(error)
                signal.alarm(0)
            shutil.rmtree(copied)
            shutil.rmtree(tmp_path / "other", ignore_errors=True)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert {"scenario.toml", "metrics.csv", "breakdown.csv"} <= refused


def test_trainings_of_a_finished_run_are_all_kept(copy, never_trained):
    assert run(copy, GRID).count("kept, it was finished before") == len(trainings(scenario(GRID).points))


@pytest.mark.parametrize("left", [0, 1])
def test_a_run_that_goes_on_with_gradients_computed_otherwise_says_so(copy, left):
    file, breakdown = copy / "scenario.toml", copy / "breakdown.csv"
    assert file.read_text().startswith(f"# gradients on cpu, route: split, float32; torch {torch.__version__}, ")
    file.write_text(file.read_text().replace("on cpu", "on cuda:0 (H100)", 1))
    rows = breakdown.read_text().splitlines(keepends=True)
    breakdown.write_text("".join(rows[: len(rows) - left]))
    assert ("was begun with gradients on cuda:0 (H100), route: split, float32" in run(copy, GRID)) == (left > 0)


def test_why_names_costs_that_belong_to_another_run(copy, tmp_path):
    run(tmp_path / "two", ("workload.workers", 2))
    shutil.copy(tmp_path / "two" / "costs" / "GMC, seed 3.npz", copy / "costs")
    console = Console(file=StringIO(), width=120)
    why(str(copy), console)
    assert "GMC, seed 3: its costs are of another number of workers" in console.file.getvalue()
