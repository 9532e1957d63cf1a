"""A server that waits for the first k of n messages, and crashes that the others go on after: who takes
part, and when.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Compress, Compute, RoundCosts
from simgmc.network.cluster.cluster import ClusterSettings, simulate
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.collectives import Options
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.crashes import Crash, Crashes
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.conditions.work import Duration
from simgmc.network.topology.catalogue import star, worker_names
from tests.network.exchanges import hosts, message, uniform

EXACT = 1e-9
NBYTES = 12_000


def cluster(k, late="dropped", workers=4, slowdown=(), machines=None, **more):
    machines = machines or uniform(workers, 1e6, 0.01)
    collective = "parameter-server" if k is None else "first-k-parameter-server"
    options = Options() if k is None else Options(k=k, late=late)
    return ClusterSettings(
        star(machines),
        worker_names(workers),
        "server",
        collective,
        more.pop("compute", None) or ComputeTime(1.0, slowdown=tuple(slowdown)),
        Duration(0.02),
        Duration(0.1),
        options=options,
        **more,
    )


class Told:
    """A round that is told who takes part; its average then has a size that depends on that."""

    def __init__(self, log, workers=4):
        self.log = log
        self.steps = [Compute(1), Compress(100), message([NBYTES + 4 * k for k in range(workers)], down=0)]

    def step(self, number):
        return self.steps[number] if number < len(self.steps) else None

    def resolve(self, number, membership):
        self.log.append(membership)
        workers = len(self.steps[number].up)
        whole = len(membership.taken) == workers
        self.steps[number] = dataclasses.replace(
            self.steps[number],
            down=1000 * len(membership.taken),
            participants=None if whole else np.isin(np.arange(workers), sorted(membership.taken)),
            receivers=None if whole else membership.receivers,
        )
        return self.steps[number]


def told(settings_, rounds=8, recorder=None):
    log = []
    plans = [Told(log, len(settings_.workers)) for _ in range(rounds)]
    timing = simulate(settings_, plans, recorder=recorder)
    return timing, log, [RoundCosts(one.steps) for one in plans]


slowdowns = st.lists(st.floats(0.5, 6.0), min_size=4, max_size=4)


@given(slowdowns, st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_with_k_equal_to_n_it_is_the_parameter_server_to_the_last_bit(slowdown, sigma):
    slow = {"slowdown": slowdown, "conditions": (Stragglers(sigma=sigma),)}
    first, log, costs = told(cluster(4, **slow))
    assert all(one.taken == frozenset(range(4)) for one in log)
    plain = simulate(cluster(None, fast=False, **slow), costs)
    for name in (
        "round_end",
        "breakdown",
        "sent_by_workers",
        "received_by_workers",
        "communication",
        "link_bytes",
        "link_messages",
        "absent",
    ):
        assert getattr(first, name).tobytes() == getattr(plain, name).tobytes(), name


@given(slowdowns, st.integers(1, 4), st.sampled_from(["dropped", "carried"]), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_bytes_and_times_are_those_of_what_was_taken(slowdown, k, late, sigma, seed):
    timing, log, costs = told(cluster(k, late, slowdown=slowdown, conditions=(Stragglers(sigma=sigma),), seed=seed))
    assert all(len(one.taken) == k and one.receivers == 4 for one in log)
    for number, (one, steps) in enumerate(zip(log, costs)):
        sizes = steps[-1].up
        assert timing.received_by_workers[number] == 4 * 1000 * k == timing.out_of_server[number]
        taken, lost = (sum(int(sizes[w]) for w in which) for which in (one.taken, one.lost))
        assert taken <= timing.sent_by_workers[number] == timing.into_server[number] <= taken + lost
        if late == "carried":
            assert not one.lost
    assert np.diff(timing.round_end, axis=0, prepend=0) == pytest.approx(
        timing.breakdown.sum(axis=2), rel=1e-9, abs=1e-9
    )
    assert (np.diff(timing.round_end, axis=0, prepend=0) > 0).all()
    # Every worker is in each average, or has lost its message, or has missed the round; carried, it may be both late
    # and taken.
    there = np.array([[w in one.taken for w in range(4)] for one in log])
    if late == "dropped":
        assert ((there + timing.lost + timing.absent) == 1).all() and not timing.carried.any()
    else:
        assert (timing.carried <= (there & timing.absent)).all() and (timing.absent & there <= timing.carried).all()


@pytest.mark.parametrize("late", ["dropped", "carried"])
def test_one_slow_worker_does_not_hold_the_others(late):
    slow = told(cluster(3, late, slowdown=(1, 1, 1, 5)), rounds=10)[0]
    equal = told(cluster(None), rounds=10)[0]
    waited = told(cluster(None, slowdown=(1, 1, 1, 5)), rounds=10)[0]
    assert slow.total == pytest.approx(equal.total, rel=0.03) and waited.total > 4.2 * slow.total


def test_the_answer_comes_when_the_kth_message_is_there():
    """What shares the server's link: the messages that are sent at once, then after the adding n answers."""
    own = [RoundCosts((Compute(1), message([1000] * 4, down=1000)))]
    timing = simulate(cluster(3, compute=ComputeTime(0.0, slowdown=(1,) * 4)), own)
    alike = (4 * 1000 / 1e6 + 0.01) + 0.1 + (4 * 1000 / 1e6 + 0.01)
    assert timing.round_end[0] == pytest.approx([alike] * 4, rel=EXACT)
    late = simulate(cluster(3, compute=ComputeTime(1.0, slowdown=(1, 1, 1, 9))), own)
    answered = 1 + (3 * 1000 / 1e6 + 0.01) + 0.1 + (4 * 1000 / 1e6 + 0.01)
    assert late.round_end[0] == pytest.approx([answered] * 4, rel=EXACT)
    assert late.sent_by_workers[0] == 3000 and late.absent[0].tolist() == [False] * 3 + [True]


def test_dropped_a_slow_worker_is_in_no_average_and_takes_every_model():
    timing, log, _ = told(cluster(3, slowdown=(1, 1, 1, 5)))
    assert all(one.taken == {0, 1, 2} and not one.lost for one in log)
    assert timing.absent[:, 3].all() and not timing.absent[:, :3].any()
    assert np.ptp(timing.round_end, axis=1) == pytest.approx(0, abs=1e-9)
    assert timing.breakdown[:, 3, 0] == pytest.approx(np.diff(timing.round_end[:, 3], prepend=0), rel=EXACT)


def test_carried_a_worker_twice_as_slow_enters_every_second_average_one_round_late():
    timing, log, _ = told(cluster(3, "carried", slowdown=(1, 1, 1, 1.7)), rounds=6)
    assert [3 in one.taken for one in log] == [False, True] * 3
    assert timing.carried[:, 3].tolist() == [False, True] * 3 == timing.absent[:, 3].tolist()


def test_ties_go_by_rank():
    for late, expected in (("dropped", [{0, 1, 2}] * 3), ("carried", None)):
        timing, log, _ = told(cluster(3, late), rounds=3)
        if expected:
            assert [one.taken for one in log] == expected and all(one.lost == {3} for one in log)
        else:
            assert log[0].taken == {0, 1, 2} and 3 in log[1].taken


def test_a_message_over_a_slow_link_is_cut_off_when_the_answer_comes():
    machines = hosts([1e6, 1e6, 1e6, 2e3], [1e6] * 4, [0.005] * 4)
    recorder = Recorder(0, 19)
    timing, log, _ = told(cluster(3, machines=machines), rounds=20, recorder=recorder)
    assert all(one.lost == {3} for one in log) and timing.lost[:, 3].all()
    assert (timing.sent_by_workers == 3 * NBYTES + 4 * 3).all()
    rates = recorder.timeline(worker_names(4), timing.round_end).rates["worker3 -> switch"]
    assert {round(rate) for _, rate in rates} <= {0, 2000} and len(rates) >= 20


def test_carried_over_a_slow_link_one_message_at_a_time_is_on_its_way():
    machines = hosts([1e6, 1e6, 1e6, 2e3], [1e6] * 4, [0.005] * 4)
    timing, log, _ = told(cluster(3, "carried", machines=machines), rounds=20)
    taken = [number for number, one in enumerate(log) if 3 in one.taken]
    assert taken and timing.carried[:, 3].sum() == len(taken)
    # 6 s of sending after 1 s of work; an answer every 1.2 s or so.
    assert all(5 <= b - a <= 7 for a, b in zip(taken, taken[1:]))


@pytest.mark.parametrize("late", ["dropped", "carried"])
def test_stored_costs_come_to_the_same_times_and_refuse_another_cluster(late):
    own = cluster(3, late, conditions=(Stragglers(sigma=0.5),), seed=4)
    timing, _, costs = told(own)
    again = simulate(own, costs)
    assert (
        again.round_end.tobytes() == timing.round_end.tobytes()
        and again.breakdown.tobytes() == timing.breakdown.tobytes()
    )
    with pytest.raises(SimgmcError, match="another cluster"):
        simulate(cluster(3, late, conditions=(Stragglers(sigma=0.5),), seed=5), costs)


def test_rounds_that_do_not_end_with_one_average_are_refused():
    for costs in [
        RoundCosts((Compute(1),)),
        RoundCosts((Compute(1), message([8] * 4), Compute(1))),
        RoundCosts((message([8] * 4, down=8), message([8] * 4))),
    ]:
        with pytest.raises(SimgmcError, match="end with one average"):
            simulate(cluster(3), [costs] * 2)


@pytest.mark.parametrize(
    ("k", "says"),
    [(5, "k = 5.*more messages than there are workers, 4"), (0, "k = 0: must be a whole number of at least 1")],
)
def test_impossible_numbers_are_refused(k, says):
    with pytest.raises(SimgmcError, match=says):
        simulate(cluster(k), [RoundCosts((Compute(1), message([8] * 4)))])


# crashes that the others go on after ----------------------------------------------------


def test_those_left_are_told_as_soon_as_they_are_known_and_get_an_average_of_theirs():
    crashes = Crashes((Crash(2, 1.5, 4.2),), "without")
    timing, log, costs = told(cluster(None, conditions=(crashes,)))
    missed = [number for number, one in enumerate(log) if 2 not in one.taken]
    assert missed == list(np.flatnonzero(timing.absent[:, 2])) and 2 <= len(missed) <= 4
    for number, one in enumerate(log):
        assert timing.received_by_workers[number] == len(one.taken) ** 2 * 1000
        assert one.receivers == len(one.taken)
    again = simulate(cluster(None, conditions=(crashes,)), costs)
    assert again.round_end.tobytes() == timing.round_end.tobytes()


def test_when_all_are_gone_the_first_that_is_back_goes_on():
    crashes = Crashes((Crash(0, 1.5, 9.0), Crash(1, 1.6, 5.0), Crash(2, 1.5, 7.0), Crash(3, 1.4)), "without")
    log = []
    rounds = [Told(log) for _ in range(9)]
    timing = simulate(cluster(None, conditions=(crashes,)), rounds)
    assert np.diff(timing.round_end, axis=0, prepend=0) == pytest.approx(
        timing.breakdown.sum(axis=2), rel=1e-9, abs=1e-9
    )
    assert [sorted(one.taken) for one in log][:2] == [[0, 1, 2, 3], [1]] and sorted(log[-1].taken) == [0, 1, 2]
    assert len(log) == 8 and timing.absent[1].all() and timing.stopped is None


def test_a_run_ends_where_nobody_is_left():
    crashes = Crashes((Crash(0, 1.5, 9.0), Crash(1, 1.6), Crash(2, 1.5), Crash(3, 1.4), Crash(0, 12.5)), "without")
    timing, log, _ = told(cluster(None, conditions=(crashes,)), rounds=30)
    assert "worker0, the last one left, crashed at t = 12.5 s" in timing.stopped
    assert len(timing.round_end) < 8
