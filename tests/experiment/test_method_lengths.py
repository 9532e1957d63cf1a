"""A method's own length of training and its own schedule, synchronous and under the clock."""

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.experiment.assembly import WorkloadFactory, learning_rate
from simgmc.experiment.plan import trainings
from simgmc.experiment.preflight.checks import late_milestones
from simgmc.experiment.preflight.prediction import predict
from simgmc.experiment.progress import RunProgress
from simgmc.results.directory.run_directory import open_run
from tests.small_runs import SMALL, run, scenario

METHODS = [
    {"name": "DMSGD", "algorithm": "dmsgd"},
    {"name": "twice", "algorithm": "dmsgd", "epoch_multiplier": 2},
    {"name": "local", "algorithm": "local-sgd", "period": 5, "epoch_multiplier": 0.5},
    {"name": "swarm", "algorithm": "swarm-sgd", "period": 1},
    {"name": "swarm twice", "algorithm": "swarm-sgd", "period": 1, "epoch_multiplier": 2},
    {"name": "steps", "algorithm": "dmsgd", "schedule": {"kind": "multi-step", "milestones": [1], "gamma": 0.5}},
]


def small(*settings):
    base = {**SMALL, "methods": METHODS, "report": {"target": 0.3, "baseline": "DMSGD"}}
    return scenario(*settings, base=base)


def in_epochs(epochs):
    return ("workload.rounds", None), ("workload.epochs", epochs), ("workload.evaluate_every", "1 epoch")


def rates(training, workload, epochs):
    return list(map(learning_rate(training, workload), epochs))


@pytest.fixture(scope="module")
def plan():
    file = small(*in_epochs(8))
    return {one.method.name: one for one in trainings(file.points)}, WorkloadFactory("cpu", None, 1)(
        file.points[0].scenario, 3
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(small(), tmp_path_factory.mktemp("rounds") / "run")[0]


@pytest.fixture(scope="module")
def of_two_epochs(tmp_path_factory):
    """A run directory, and the rounds of every method that were told beforehand."""
    told, started = {}, RunProgress.started

    def noted(self, training, rounds):
        told[training.method.name] = rounds
        started(self, training, rounds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunProgress, "started", noted)
        return run(small(*in_epochs(2)), tmp_path_factory.mktemp("epochs") / "run")[0], told


def test_a_multiplied_training_takes_so_many_rounds_and_gradients(finished):
    rounds = {key.method: found.rounds for key, found in open_run(finished).breakdowns().items()}
    assert rounds == {"DMSGD": 30, "twice": 60, "local": 15, "swarm": 30, "swarm twice": 60, "steps": 30}


def test_a_multiplied_training_takes_so_many_epochs(of_two_epochs):
    last = {key.method: rows[-1].epoch for key, rows in open_run(of_two_epochs[0]).evaluations().items()}
    expected = {"DMSGD": 2, "twice": 4, "local": 1, "swarm": 2, "swarm twice": 4, "steps": 2}
    assert last == pytest.approx(expected, abs=0.12)  # whole rounds, of 5 gradients in local SGD


def test_progress_is_told_how_many_rounds_a_training_will_take(of_two_epochs):
    out, told = of_two_epochs
    taken = {key.method: found.rounds for key, found in open_run(out).breakdowns().items()}
    assert told == pytest.approx(taken, abs=1) and told["local"] < told["DMSGD"] / 9


@pytest.mark.parametrize(("name", "longer"), [("DMSGD", "twice"), ("swarm", "swarm twice")])
def test_the_schedule_is_stretched_with_the_training(plan, name, longer):
    methods, workload = plan
    assert rates(methods[longer], workload, (0, 8, 12, 16)) == pytest.approx(
        rates(methods[name], workload, (0, 4, 6, 8))
    )
    assert rates(methods[longer], workload, (1,)) != rates(methods[longer], workload, (0,))  # still epoch by epoch


def test_a_methods_own_schedule_takes_the_place_of_the_shared_one(plan):
    methods, workload = plan
    assert rates(methods["steps"], workload, (0, 1, 7)) == pytest.approx([0.1, 0.05, 0.05])
    assert rates(methods["DMSGD"], workload, (0, 4)) == pytest.approx([0.1, 0.05])


def test_predictions_know_the_length(plan):
    methods, workload = plan
    once, twice = (
        predict(methods[name], workload.layout, workload.batches_per_epoch)[0] for name in ("DMSGD", "twice")
    )
    assert twice.rounds == 2 * once.rounds and twice.bytes_up == pytest.approx(2 * once.bytes_up)


@pytest.mark.parametrize("value", [0, -1, 1e9, float("nan")])
def test_a_multiplier_that_is_no_length_is_refused(value):
    with pytest.raises(SimgmcError, match=r"methods.twice.epoch_multiplier"):
        small(("methods.twice.epoch_multiplier", value))


def test_a_finished_longer_training_is_kept_when_the_run_is_given_again(finished):
    before = (finished / "metrics.csv").read_bytes()
    _, said = run(small(), finished)
    assert said.count("kept, it was finished before") == len(METHODS)
    assert (finished / "metrics.csv").read_bytes() == before


def test_late_milestones_of_a_methods_own_schedule_are_said():
    file = small(*in_epochs(1))
    assert late_milestones(file) == [
        "methods.steps.schedule.milestones: 1 past the end of training (1 epochs), so without effect"
    ]
