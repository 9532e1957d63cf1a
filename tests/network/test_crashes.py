"""Workers that crash: the policies, and what they do to time."""

from __future__ import annotations

import numpy as np
import pytest

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Compress, Compute, RoundCosts
from simgmc.network.cluster.cluster import ClusterSettings, simulate
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.crashes import Crash, Crashes
from simgmc.network.conditions.work import Duration
from simgmc.network.exchanges.accounts import CATEGORIES
from simgmc.network.topology.catalogue import star, worker_names
from tests.network.exchanges import message, uniform

EXACT = 1e-9
ROUND = RoundCosts((Compute(1), message([120_000] * 3)))
WAIT = CATEGORIES.index("wait")


def run(*crashes, policy="wait", rounds=4, collective="ring", costs=ROUND):
    settings = ClusterSettings(
        star(uniform(3, 1e6, 0.0)),
        worker_names(3),
        "server",
        collective,
        ComputeTime(1.0),
        Duration(0.1),
        Duration(0),
        conditions=(Crashes(crashes, policy),),
    )
    return simulate(settings, [costs] * rounds)


EXCHANGE = 2 * 2 / 3 * 0.12


def test_waiting_for_a_crashed_worker_costs_its_absence_and_the_lost_step():
    timing = run(Crash(1, at=0.75, back=2.0))
    assert timing.round_end[0].max() == pytest.approx(3.0 + EXCHANGE, rel=EXACT)
    assert timing.breakdown[0, 1, WAIT] == pytest.approx(2.0, rel=EXACT)
    assert timing.breakdown[0, 0, WAIT] == pytest.approx(2.0, rel=1e-2)
    assert not timing.absent.any()


def test_a_crash_while_nothing_is_computed_strikes_afterwards():
    timing = run(Crash(1, at=1.05, back=1.5), rounds=2)
    assert timing.round_end[0] == pytest.approx(run(rounds=1).round_end[0], rel=EXACT)
    assert timing.round_end[1].max() > 2.5


def test_rounds_go_on_without_a_crashed_worker_until_it_is_back():
    timing = run(Crash(2, at=0.5, back=2.6), policy="without", rounds=5)
    assert timing.absent[:, 2].tolist() == [True, True, True, False, False] and not timing.absent[:, :2].any()
    two = 2 * 1 / 2 * 0.12
    assert timing.round_end[0, :2] == pytest.approx([1.0 + two] * 2, rel=2e-2)
    assert np.diff(timing.round_end, axis=0, prepend=0) == pytest.approx(
        timing.breakdown.sum(axis=2), rel=1e-9, abs=1e-9
    )


def test_a_worker_that_never_returns_is_left_out_for_good():
    timing = run(Crash(0, at=1.5), policy="without", collective="parameter-server")
    assert timing.absent[:, 0].tolist() == [False, True, True, True]
    assert timing.sent_by_workers.tolist() == [360_000, 240_000, 240_000, 240_000]


def test_a_run_can_stop_at_a_crash():
    timing = run(Crash(0, at=2.5), policy="stop")
    assert "worker0 crashed at t = 2.5 s" in timing.stopped
    assert len(timing.round_end) == 2


def test_a_crash_between_two_steps_of_a_round_is_survived():
    costs = RoundCosts((Compute(1), Compress(100), message([120_000] * 3), Compute(1), message([120_000] * 3)))
    timing = run(Crash(1, at=1.6, back=1.7), policy="without", costs=costs, rounds=3)
    assert timing.absent[0, 1] and not timing.absent[1:, 1].any() and len(timing.round_end) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Crashes((Crash(0, 1.0),), "wait"),
        lambda: Crashes((Crash(0, 2.0, 1.0),), "without"),
        lambda: Crashes((), "ignore"),
        lambda: run(Crash(7, 1.0, 2.0)),
    ],
)
def test_impossible_crashes_are_refused(wrong):
    with pytest.raises(SimgmcError):
        wrong()
