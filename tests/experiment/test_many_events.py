"""Runs in which far more happens on the network than their own messages: said, refused, and heard of meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from simgmc.core import heartbeat
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.costs.steps import Average, Compute, RoundCosts
from simgmc.experiment.plan import trainings
from simgmc.experiment.preflight.many_events import (
    events_before_run,
    events_of,
    least_seconds,
    little,
)
from simgmc.network.cluster.cluster import simulate
from simgmc.network.flows import fluid
from simgmc.workloads.noise import NoiseWorkload
from tests.small_runs import SMALL, scenario

WANDERING = ("cluster.changes", {"wandering": [{"interval": "100 ms", "sigma": 0.0, "source": "worker0"}]})
STEADY = {key: value for key, value in SMALL["cluster"].items() if key not in ("stragglers", "hosts")}


def of(*settings):
    return scenario(("cluster", STEADY), ("methods", SMALL["methods"][:1]), WANDERING, *settings)


def test_what_happens_anyway_and_how_long_rounds_take_at_least_is_known_without_simulating(small_average):
    training = trainings(of().points)[0]
    settings = training.settings(training.points[0])
    often, what = settings.happening
    assert often == pytest.approx(10) and "wanders" in what
    least = least_seconds(settings, 1, 1e6)
    assert least == pytest.approx(0.01 + 1e6 / (5e6 / 8))
    assert simulate(settings, [small_average(1_000_000)]).total > least.max()


def test_a_line_says_what_takes_hours_and_what_takes_days_is_refused_with_the_keys():
    assert events_before_run(of()) == []
    (line,) = events_before_run(of(("cluster.bandwidth", "10 bit/s"), ("workload.rounds", 400)))
    assert "wanders every 0.1 s" in line and "events, about" in line
    with pytest.raises(SimgmcError, match=r"cluster.changes: DMSGD.*events.*make it rarer.*cluster.bandwidth"):
        events_before_run(of(("cluster.bandwidth", "1 bit/s"), ("workload.rounds", 4 * 10**6)))


def test_a_check_refuses_what_a_run_refuses_whatever_it_takes_to_know_the_lengths(tmp_path, monkeypatch):
    monkeypatch.setenv("SIMGMC_DATA", str(tmp_path))
    content = {key: value for key, value in SMALL["workload"].items() if key != "rounds"}
    content |= {"epochs": 10**4, "evaluate_every": "1000 epochs"}
    gmc = (("methods", SMALL["methods"][1:2]), ("report", {"baseline": "GMC"}))
    slow = (("cluster.bandwidth", "1 bit/s"), *gmc, ("workload", content))
    with pytest.raises(SimgmcError, match=r"cluster.changes: GMC.*events.*make it rarer"):
        events_before_run(of(*slow))
    (line,) = events_before_run(of(*slow, ("workload.dataset", "cifar10")))
    assert "GMC" in line and "cifar10" in line, "what cannot be read is said"


@pytest.mark.parametrize("length", [("workload.rounds", 1000), ("workload.epochs", 100)])
def test_a_training_counts_all_its_rounds(length):
    slow = {**STEADY, "bandwidth": "1 kbit/s"}
    content = {**SMALL["workload"]}
    content.pop("rounds")
    content[length[0].removeprefix("workload.")] = length[1]
    training = trainings(of(("cluster", slow), WANDERING, ("workload", content)).points)[0]
    found = list(events_of(training, 5e6, 10.0))
    assert f"{1000 * 2.5e6 / 125 / 86400:.3g} d of simulated time" in found[0], "100 epochs of 10 batches, or 1,000"


def test_a_simulation_of_many_events_is_heard_of_meanwhile(small_average, monkeypatch):
    monkeypatch.setattr(fluid, "BEAT", 50)
    training = trainings(of().points)[0]
    heard: list[float] = []
    with heartbeat.listening(heard.append):
        total = simulate(training.settings(training.points[0]), [small_average(10_000_000)]).total
    assert len(heard) > 2 and heard == sorted(heard) and heard[-1] <= total
    heartbeat.beat(1.0)
    assert heard[-1] != 1.0, "nobody listens any more"


def test_a_message_is_taken_to_be_small():
    sent = {one.method.name: little(one, 800) for one in trainings(scenario().points)}
    assert sent["DMSGD"] == 100 and sent["GMC"] == 0


@pytest.mark.parametrize(("algorithm", "some", "near"), [("dmsgd", 60, 1e-9), ("async-sgd", 160, 0.2)])
def test_a_prediction_samples_the_events_and_says_what_it_did(algorithm, some, near, monkeypatch):
    """The bandwidth wanders by nothing, so that a sample tells the times of the whole."""
    of_method = ("methods", [{"name": "it", "algorithm": algorithm}])
    training = trainings(of(of_method, ("report", {})).points)[0]
    noise = NoiseWorkload(4, Layout(("w",), ((50_000,),)), batches_per_epoch=4.0, seed=3)

    def found(most):
        monkeypatch.setattr("simgmc.experiment.training.SAMPLED", most)
        (one,) = training.predict(noise)
        return one

    whole, half, none = found(40_000), found(some), found(1)
    assert (whole.sampled, whole.lower_bound) == ("", False)
    assert f"{some} of about" in half.sampled and not half.lower_bound
    assert half.sim_time_s == pytest.approx(whole.sim_time_s, rel=near)
    assert "1 of at least" in none.sampled and none.lower_bound
    assert none.sim_time_s == pytest.approx(whole.sim_time_s, rel=1e-9)
    assert whole.rounds == half.rounds == none.rounds


@pytest.fixture
def small_average():
    def round_of(nbytes):
        up = np.full(4, nbytes)
        return RoundCosts([Compute(1), Average(up, nbytes, True, 4, up, 0)])

    return round_of
