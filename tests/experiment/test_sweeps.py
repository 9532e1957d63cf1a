"""What a sweep never trains again, and what it gives up."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from simgmc.commands.replay import replay
from simgmc.core.errors import GivenUp
from simgmc.core.interruption import Interruption
from simgmc.experiment import run as running
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.engines.here import Here
from simgmc.experiment.plan import trainings
from simgmc.experiment.progress import RunProgress
from simgmc.experiment.sweeps.halving import HalvingJudge
from simgmc.experiment.sweeps.recognised import carry_over
from simgmc.experiment.under_way.evaluations import GIVEN_UP, State
from simgmc.results.directory.run_directory import create, open_run
from simgmc.scenario import ScenarioFile
from simgmc.scenario.point import Report
from simgmc.scenario.sweep import Halving
from tests.end_to_end.stopping import files
from tests.small_runs import SMALL

CONTENT = {
    **SMALL,
    "workload": {**SMALL["workload"], "rounds": 4, "evaluate_every": "1 rounds"},
    "methods": [{"name": "DMSGD", "algorithm": "dmsgd"}, {"name": "server", "algorithm": "async-sgd"}],
    "report": {"baseline": "DMSGD"},
}


def sweep(rates, *settings):
    return ScenarioFile({**CONTENT, "sweep": {"methods.*.learning_rate": rates}}, "small.toml", settings)


def train(file, out, told=lambda training, state: None):
    """As a sweep does in this process; returns the trainings that were begun."""
    directory = create(out, file.resolved(), grid_keys=tuple(file.grid))
    begun = []

    class Noting(RunProgress):
        def evaluated(self, training, state):
            super().evaluated(training, state)
            told(training, state)

    class Engine(Here):
        def train(self, tasks, *arguments):
            begun.extend(task.training.key for task in tasks)
            return super().train(tasks, *arguments)

    plan = trainings(file.points)
    workload_of = WorkloadFactory("cpu", None, 1)
    engine = Engine(workload_of, 1e9, Interruption())
    with Noting(Console(file=StringIO()), len(plan)) as progress:
        running.run_trainings(plan, directory, workload_of, progress, choose=lambda tasks: engine)
    return begun


def test_more_values_and_seeds_train_what_is_new_and_leave_the_bytes_of_a_sweep_begun_with_them(tmp_path):
    train(sweep([0.1, 0.2]), tmp_path / "run")
    larger = sweep([0.05, 0.1, 0.2], ("seeds", [3, 4]))
    assert carry_over(larger, tmp_path / "run") == 4
    begun = train(larger, tmp_path / "run")
    assert len(begun) == 2 * 3 * 2 - 4 and not [key for key in begun if "seed 3" in key and "0.05" not in key]
    train(larger, tmp_path / "anew")
    found, expected = files(tmp_path / "run"), files(tmp_path / "anew")
    models = {name for name in expected if name.startswith("models")}  # they name the scenario that they are of
    assert found.keys() == expected.keys()
    assert {name: found[name] for name in found.keys() - models} == {
        name: expected[name] for name in expected.keys() - models
    }


@pytest.mark.parametrize(
    "change", [("workload.batch_per_worker", 4), ("optimizer.weight_decay", 0.0), ("cluster.latency", "9 ms")]
)
def test_what_follows_from_other_settings_is_not_taken_for_the_same(tmp_path, change):
    """Of another cluster a synchronous training stays, as costs; here its series are of that cluster, and none do."""
    train(sweep([0.1]), tmp_path / "run")
    before = files(tmp_path / "run")
    assert carry_over(sweep([0.1], change), tmp_path / "run") == 0
    assert files(tmp_path / "run") == before  # and the run itself refuses the directory


def given_up_at(round):
    def told(training, state):
        if state.round >= round:
            raise GivenUp("it is the worst")

    return told


def test_a_training_that_is_given_up_is_finished_as_far_as_it_came_and_can_be_replayed(tmp_path):
    file = sweep([0.1])
    train(file, tmp_path / "whole")
    train(file, tmp_path / "run", given_up_at(2))
    whole, found = open_run(tmp_path / "whole"), open_run(tmp_path / "run")
    assert len(found.finished()) == 2 and train(file, tmp_path / "run") == []
    for key, breakdown in found.breakdowns().items():
        assert breakdown.rounds == 2 and breakdown.stopped.startswith(f"{GIVEN_UP} after")
        evaluations = found.evaluations()[key]
        assert evaluations == whole.evaluations()[key][: len(evaluations)] and evaluations[-1].round == 2
    methods = {"methods": CONTENT["methods"][:1], "sweep": {"methods.*.learning_rate": [0.1]}}
    train(ScenarioFile({**CONTENT, **methods}, "small.toml"), tmp_path / "one", given_up_at(2))
    slower, console = [("cluster.latency", "9 ms")], Console(file=StringIO())
    replay(tmp_path / "one", settings=slower, out=tmp_path / "on", console=console, plots=False)
    assert [one.rounds for one in open_run(tmp_path / "on").breakdowns().values()] == [2]


def test_of_nine_trainings_that_come_in_order_of_merit_three_pass_the_first_rung_and_one_the_second():
    """Of those that have come so far a third goes on: of the best ones first, the first, then each third."""
    pytest.importorskip("ray.tune.schedulers", reason="needs Ray Tune, which the extra simgmc[ray] brings")
    plan = [one for one in trainings(sweep([0.01 * (n + 1) for n in range(9)]).points) if one.method.name == "DMSGD"]
    judge = HalvingJudge(plan, Halving(first=1.0, factor=3), Report(), higher=True)

    def hears(number, epoch):
        return judge.hears(number, State(int(epoch), epoch, None, 1.0, 1 - 0.1 * number))

    assert [hears(number, 0.5) for number in range(9)] == [None] * 9
    first = [number for number in range(9) if hears(number, 1.0) is None]
    assert first[0] == 0 and len(first) <= 3
    assert all(hears(number, 2.0) is None for number in first)
    assert [number for number in first if hears(number, 3.0) is None][0] == 0
    assert "accuracy" in (hears(8, 3.0) or "accuracy")
