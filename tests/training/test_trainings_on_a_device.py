"""Trainings on a device: whatever a method does with its workers' vectors stays there and has the CPU's bits."""

import numpy as np
import pytest

from simgmc.algorithms import ALGORITHMS
from simgmc.core.layout import Layout
from simgmc.experiment.plan import trainings
from simgmc.experiment.under_way.evaluations import Milestones
from simgmc.experiment.under_way.events import EventsUnderWay
from simgmc.training.saved_state import from_arrays, to_arrays
from simgmc.workloads.problems.quadratic import Quadratics
from simgmc.workloads.problems.quadratic_workload import QuadraticWorkload
from tests.far_device import FAR, FarDevice, uniforms_of_the_host
from tests.small_runs import fifty_rounds_of

LAYOUT = Layout(("conv", "bias", "linear"), ((4, 3, 2, 2), (4,), (10, 6)))
WAITS = {"sgd": 1, "dmsgd": 1, "local-sgd": 1, "d-psgd": 1, "ef-signsgd": 1, "gmc": 7, "powersgd": 2}
"""How often the host waits for the device in a round, whatever the number of workers."""


def workload(device):
    draws = np.random.default_rng(0)
    problem = Quadratics(
        draws.uniform(0.5, 2, (4, LAYOUT.d)), draws.standard_normal((4, LAYOUT.d)), draws.standard_normal(LAYOUT.d), 0.3
    )
    made = QuadraticWorkload(problem, 1, device)
    made.layout = LAYOUT
    return made


class Short(Milestones):
    """Six gradients a worker."""

    def over_by_clock(self, gradients):
        return gradients >= 6


def trained(name, device, saved=True):
    """What some rounds leave: sizes of messages, evaluations, state. ``saved``: and restored after each of them."""
    (training,) = trainings(fifty_rounds_of(name).points)
    work = workload(device)
    if ALGORITHMS[name].asynchronous:
        trainer = training.trainer(work)
        settings = training.settings(training.points[0])
        under_way = EventsUnderWay(trainer, settings, Short(training.scenario, training.method, 1.0), training.scenario)
        under_way.run()
        return [(state.time, state.test_loss, dict(state.others)) for state in under_way.outcome.states], to_arrays(
            trainer.state_dict()
        )
    trainer = training.trainer(work)
    found = []
    for _ in range(4):
        FarDevice.waits.clear()
        steps = trainer.next_round().with_everybody()
        waits = FarDevice.waits.total()
        found += [
            [getattr(step, "up", None) for step in steps],
            work.evaluate(trainer.model()),
            *map(work.evaluate, trainer.models()),
        ]
        arrays, plain = to_arrays(trainer.state_dict())
        if saved:
            trainer = training.trainer(work)
            trainer.load_state_dict(from_arrays(dict(arrays), plain, work.device))
    assert device == "cpu" or waits <= WAITS.get(name, waits)
    return found, (arrays, plain)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_training_on_a_device_has_the_bits_of_one_on_the_cpu(name, monkeypatch):
    monkeypatch.setattr("simgmc.compression.quantisation.quantise.uniforms", uniforms_of_the_host)
    near, (arrays, plain) = trained(name, "cpu")
    with FarDevice():
        far, (there, plain_there) = trained(name, FAR)
    assert repr(near) == repr(far) and plain == plain_there
    assert arrays.keys() == there.keys() and all(np.array_equal(arrays[key], there[key]) for key in arrays)


@pytest.mark.parametrize("name", [name for name, algorithm in ALGORITHMS.items() if not algorithm.asynchronous])
def test_a_training_saved_and_restored_after_every_round_has_the_bits_of_one_never_stopped(name):
    found, (arrays, plain) = trained(name, "cpu")
    expected, (whole, plain_whole) = trained(name, "cpu", saved=False)
    assert repr(found) == repr(expected) and plain == plain_whole
    assert arrays.keys() == whole.keys() and all(np.array_equal(arrays[key], whole[key]) for key in arrays)
