"""A training that is stopped after any round and goes on ends with the bits of one that never was."""

from __future__ import annotations

import math
import signal
from io import StringIO

import pytest
import torch
from rich.console import Console

from simgmc.core.errors import SimgmcError
from simgmc.costs import log
from simgmc.experiment import run as running
from simgmc.experiment.progress import RunProgress
from simgmc.scenario import ScenarioFile
from tests.end_to_end.stopping import (
    ROUNDS,
    Killed,
    files,
    run,
    scenario,
    stopped_after_every_round_equals_never_stopped,
)
from tests.small_runs import SMALL, method


@pytest.mark.parametrize("name", ["gmc", "local-sgd", "powersgd", "choco-sgd"])
def test_a_training_stopped_after_every_round_ends_with_the_same_bits(tmp_path, trainers, kill, name):
    """That every method's state is saved whole, ``tests/training/test_trainings_on_a_device.py`` sees to."""
    stopped_after_every_round_equals_never_stopped(scenario([method(name)]), tmp_path, trainers, kill)


OPTIMIZERS = [
    {"name": "AdamW", "algorithm": "data-parallel"},
    {"name": "Muon", "algorithm": "data-parallel", "optimizer": {"name": "muon", "adjust": "match-rms"}},
    {"name": "LAMB", "algorithm": "local-sgd", "period": 2, "optimizer": "lamb", "clip_norm": 0},
    {"name": "SGD", "algorithm": "gmc", "optimizer": {"name": "sgd", "momentum": 0.5}, "clip_at": "own",
     "compressor": {"name": "top-k", "density": 0.1}},
    {"name": "FedAdam", "algorithm": "diloco", "period": 2, "outer_optimizer": {"name": "adam", "amsgrad": True}},
    {"name": "EF21", "algorithm": "ef21", "compressor": {"name": "top-k", "density": 0.1}, "local_momentum": 0.5},
    {**method("1-bit-adam"), "clip_at": "own"},
    method("0-1-adam"),
]  # fmt: skip


def test_every_optimizer_goes_on_where_it_was(tmp_path, trainers, kill):
    shared = {
        "name": "adamw", "learning_rate": 0.01, "weight_decay": 0.1, "betas": [0.8, 0.9], "clip_norm": 0.5,
        "accumulate": 2, "schedule": [{"kind": "linear", "start": 0.1, "end": 1.0, "steps": 6}, {"kind": "cosine"}],
        "groups": [{"match": ["*.bias"], "weight_decay": 0.2}],
    }  # fmt: skip
    file = scenario(OPTIMIZERS, ("optimizer", shared))
    stopped_after_every_round_equals_never_stopped(file, tmp_path, trainers, kill)


class _Normed(torch.nn.Sequential):
    """Running statistics and dropout in one small model."""

    def __init__(self, inputs, classes):
        super().__init__(
            torch.nn.Flatten(),
            torch.nn.Linear(inputs, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(8, classes),
        )


@pytest.mark.parametrize("name", ["dmsgd", "gmc", "local-sgd"])
def test_running_statistics_and_dropout_go_on_too(tmp_path, trainers, kill, monkeypatch, name):
    def build(chosen, shape, classes, seed, *more, **options):
        torch.manual_seed(seed)
        return _Normed(math.prod(shape), classes)

    monkeypatch.setattr("simgmc.experiment.assembly.build_model", build)
    stopped_after_every_round_equals_never_stopped(scenario([method(name)]), tmp_path, trainers, kill)
    state = trainers[-1].state_dict()["workload"]
    assert int(state["2.num_batches_tracked"][0]) >= ROUNDS and float(state["2.running_mean"].abs().sum()) > 0


def test_samples_that_are_tuples_go_on_too(tmp_path, trainers, kill):
    samples = "tests.workloads.test_several_inputs:train_tuples"
    own = {"dataset": {"name": "import", "train": samples, "test": samples}, "partition": "iid", "batch_per_worker": 4,
           "model": {"name": "import", "factory": "tests.workloads.test_several_inputs:Two"}}  # fmt: skip
    file = scenario([method("local-sgd")], *((f"workload.{key}", value) for key, value in own.items()))
    stopped_after_every_round_equals_never_stopped(file, tmp_path, trainers, kill)
    assert int(trainers[-1].state_dict()["workload"]["norm.num_batches_tracked"][0]) >= ROUNDS


PROBLEM = {
    "problem": {"name": "quadratic", "matrices": [[1.0, 2.0, 3.0], [2.0, 1.0, 0.5]],
                "minimisers": [[1.0, 0, 0], [0, 1.0, 2.0]], "start": [3.0, 3.0, 3.0], "noise": 0.1},
    "workers": 2, "rounds": ROUNDS, "evaluate_every": "2 rounds",
}  # fmt: skip


def test_problems_in_float64_go_on_too(tmp_path, trainers, kill):
    content = {
        **SMALL,
        "workload": PROBLEM,
        "methods": [method("gmc"), method("def-a")],
        "report": {"baseline": "gmc", "metric": "gap", "target": 0.01},
    }
    content |= {"cluster": {**SMALL["cluster"], "hosts": {}}, "optimizer": {**SMALL["optimizer"], "weight_decay": 0.0}}
    stopped_after_every_round_equals_never_stopped(ScenarioFile(content, "small.toml"), tmp_path, trainers, kill)


def test_a_grid_of_clusters_and_a_second_seed_go_on_too(tmp_path, trainers, kill):
    file = scenario(
        [method("gmc"), method("dmsgd")], ("seeds", [1, 2]), ("grid.cluster.bandwidth", ["5 Mbit/s", "200 kbit/s"])
    )
    stopped_after_every_round_equals_never_stopped(file, tmp_path, trainers, kill)


@pytest.mark.parametrize("name", ["gmc", "local-sgd", "d-psgd"])
def test_evaluations_at_simulated_times_are_made_once_each(tmp_path, trainers, kill, name):
    file = scenario([method(name)], ("workload.evaluate_every", "25 ms"), ("report.single_workers", True))
    stopped_after_every_round_equals_never_stopped(file, tmp_path, trainers, kill)


def test_a_training_that_diverges_does_so_in_the_same_round(tmp_path, trainers, kill):
    wild = {"name": "wild", "algorithm": "dmsgd", "learning_rate": 3e4}
    file = scenario([wild], ("workload.rounds", 40), ("workload.evaluate_every", "40 rounds"))
    kill(None)
    run(file, tmp_path / "never", every=1e9)
    kill(3)
    with pytest.raises(Killed):
        run(file, tmp_path / "run")
    kill(None)
    run(file, tmp_path / "run")
    assert files(tmp_path / "run") == files(tmp_path / "never")
    assert b"diverged" in files(tmp_path / "run")["breakdown.csv"]


def test_a_cluster_that_stops_by_a_crash_stops_in_the_same_round(tmp_path, trainers, kill):
    crash = ("cluster.crashes", {"workers": [{"worker": 2, "at": "100 ms"}], "policy": "stop"})
    file = scenario([method("gmc")], crash, ("workload.rounds", 40))
    kill(None)
    run(file, tmp_path / "never", every=1e9)
    kill(2)
    with pytest.raises(Killed):
        run(file, tmp_path / "run")
    kill(None)
    run(file, tmp_path / "run")
    assert files(tmp_path / "run") == files(tmp_path / "never")


def test_what_was_evaluated_is_not_evaluated_again(tmp_path, kill, monkeypatch):
    from simgmc.workloads.classification import ClassificationWorkload

    calls, evaluate = [], ClassificationWorkload.evaluate
    monkeypatch.setattr(ClassificationWorkload, "evaluate", lambda *arguments: calls.append(1) or evaluate(*arguments))
    file = scenario([method("gmc")])
    for _ in range(ROUNDS):
        kill(1)
        with pytest.raises(Killed):
            run(file, tmp_path / "run")
    kill(None)
    run(file, tmp_path / "run")
    assert len(calls) == 4  # rounds 0, 2, 4 and 5


def test_long_runs_keep_their_costs_in_pieces_that_are_packed_once(tmp_path, trainers, kill, monkeypatch):
    monkeypatch.setattr(log, "_PIECE", 2)
    packed, pack = [], log._file
    monkeypatch.setattr(log, "_file", lambda rounds, key="": packed.append(len(rounds)) or pack(rounds, key))
    stopped_after_every_round_equals_never_stopped(scenario([method("gmc")]), tmp_path, trainers, kill)
    packed.clear()
    kill(None)
    run(scenario([method("dmsgd")]), tmp_path / "other")
    assert packed == [1, 2, 0, 1, 2, 0, 1, 5]  # at last the file of the whole run


def test_the_state_of_another_method_is_refused(tmp_path, trainers, kill):
    kill(1)
    with pytest.raises(Killed):
        run(scenario([method("gmc")]), tmp_path / "run")
    file = scenario([{**method("gmc"), "algorithm": "ef-sgdm"}])
    (tmp_path / "run" / "scenario.toml").write_text(file.resolved())
    with pytest.raises(SimgmcError, match=r"saved state holds .*momentum_buffer"):
        run(file, tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_saves_the_round_first_and_goes_on_from_there(tmp_path, monkeypatch, capfd, number):
    file = scenario([method("gmc")], ("workload.evaluate_every", "1 rounds"))

    def started(out, **options):
        console = Console(file=StringIO(), width=200)
        running.run(file, out=out, device="cpu", console=console, **options)
        return console.file.getvalue()

    started(tmp_path / "never")
    evaluated = RunProgress.evaluated

    def asked(self, training, state):
        evaluated(self, training, state)
        if state.round == 3:
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(RunProgress, "evaluated", asked)
        with pytest.raises(KeyboardInterrupt) as interrupt:
            started(tmp_path / "run")
    assert interrupt.value.args == (number,) and "this round is finished and saved first" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    printed = started(tmp_path / "run", resume=True)
    assert "gmc, seed 3 goes on after round 3" in printed and "gmc, seed 3: goes on after round 3" in printed
    assert files(tmp_path / "run") == files(tmp_path / "never")


def test_a_second_signal_does_not_wait(monkeypatch):
    from simgmc.core.interruption import Interruption

    interruption = Interruption()
    with interruption.listening(), interruption.held():
        signal.raise_signal(signal.SIGINT)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not interruption.asked
    with interruption.listening():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_signals_that_the_process_ignores_stay_ignored():
    from simgmc.core.interruption import Interruption

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption().listening():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
