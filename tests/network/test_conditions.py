"""What slows workers down, what conditions refuse, and whether exchanges may be solved at once under them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Compute, RoundCosts
from simgmc.network.cluster.cluster import ClusterSettings, simulate
from simgmc.network.cluster.walks.at_once import AtOnce
from simgmc.network.cluster.walks.provable import nothing_but_messages
from simgmc.network.collectives import FIRST_K
from simgmc.network.conditions.catalogue import CONDITIONS
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.condition import Condition
from simgmc.network.conditions.crashes import Crash, Crashes
from simgmc.network.conditions.failures import LinkFailure
from simgmc.network.conditions.jitter import Jitter
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.conditions.overlap import Overlap
from simgmc.network.conditions.pauses import Pauses
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.conditions.traffic import Traffic
from simgmc.network.conditions.wandering import Wandering
from simgmc.network.conditions.work import Duration, Throughput
from simgmc.network.topology.catalogue import star, worker_names
from simgmc.network.topology.routing import Links
from tests.network.exchanges import hosts, message, uniform


def stood_still(pauses, start, end, offset):
    """Seconds of pauses between two times, pause by pause."""
    first = int((start - offset) // pauses.period) - 1
    begins = [offset + n * pauses.period for n in range(first, int((end - offset) // pauses.period) + 2)]
    return sum(max(min(end, begin + pauses.length) - max(start, begin), 0.0) for begin in begins)


@given(st.floats(0, 5), st.floats(0.01, 3), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_pauses_stretch_work_by_the_time_stood_still(start, seconds, offset):
    pauses = Pauses(period=1.0, length=0.25)
    end = pauses.stretched(start, seconds, offset)
    assert end - start - stood_still(pauses, start, end, offset) == pytest.approx(seconds, rel=1e-9)


def test_work_without_a_pause_in_the_way_is_not_stretched():
    assert Pauses(10.0, 1.0).stretched(2.0, 3.0, 0.5) == pytest.approx(5.0)
    assert Pauses(10.0, 1.0).stretched(2.0, 3.0, 4.0) == pytest.approx(6.0)
    assert Pauses(10.0, 1.0).stretched(4.5, 1.0, 4.0) == pytest.approx(6.0)
    assert Pauses(10.0, 1.0).stretched(4.5, 0.0, 4.0) >= 4.5


def test_shifted_exponential_stragglers_are_never_faster_and_have_the_stated_mean():
    stragglers = Stragglers("shifted-exponential", mean=0.5)
    factors = np.concatenate([stragglers.factors(2, t, 0, 64) for t in range(200)])
    assert factors.min() >= 1 and factors.mean() == pytest.approx(1.5, rel=0.02)


def test_log_normal_stragglers_have_median_one_and_the_stated_spread():
    factors = np.log(np.concatenate([Stragglers(sigma=0.4).factors(1, t, 0, 64) for t in range(300)]))
    assert np.median(factors) == pytest.approx(0.0, abs=0.02) and factors.std() == pytest.approx(0.4, rel=0.02)


def test_draws_depend_on_seed_round_and_worker_only():
    stragglers = Stragglers(sigma=0.3)
    assert (stragglers.factors(5, 7, 0, 4) == stragglers.factors(5, 7, 0, 4)).all()
    assert (stragglers.factors(5, 7, 0, 4) != stragglers.factors(5, 8, 0, 4)).all()
    assert (stragglers.factors(5, 7, 0, 4) != stragglers.factors(6, 7, 0, 4)).all()


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: ComputeTime(-1), "compute time -1"),
        (lambda: ComputeTime(1.0, (0,)), "slowdown"),
        (lambda: Stragglers(sigma=-0.1), "Stragglers: sigma = -0.1 must be a number of at least 0"),
        (lambda: Stragglers(sigma=float("nan")), "sigma = nan"),
        (lambda: Stragglers(), "log-normal needs sigma"),
        (lambda: Stragglers("shifted-exponential", sigma=1.0), "shifted-exponential needs mean"),
        (lambda: Pauses(1.0, 1.0), "length 1.0 must be below period 1.0"),
        (lambda: Pauses(0.0, 1.0), "Pauses: period = 0.0 must be a finite number of seconds, above 0"),
        (lambda: Wandering(1e-4, 1.0), 'interval = 0.0001 must be a finite number of seconds, at least "1 ms"'),
        (lambda: Overlap(0), "buckets = 0"),
        (lambda: Jitter(0.0, 1.0), "mean = 0.0"),
        (lambda: Jitter(0.1, 0.0), "interval = 0.0"),
        (lambda: Overheads(efficiency=0.0), "efficiency = 0.0"),
        (lambda: Overheads(window=0.0), "window = 0.0"),
        (lambda: Overheads(streams=2), "streams = 2 changes nothing where a connection has no limit"),
        (lambda: Overheads(rate_cap=0.0), "rate_cap = 0.0 must be a finite number of bytes/s, above 0"),
    ],
)
def test_impossible_conditions_are_refused_by_their_field(build, says):
    with pytest.raises(SimgmcError, match=re.escape(says)):
        build()


@pytest.mark.parametrize("collective", ["parameter-server", "ring"])
@pytest.mark.parametrize(("streams", "mbit"), [(1, 100), (4, 400), (20, 1000)])
def test_a_connection_carries_its_window_once_per_round_trip(collective, streams, mbit):
    """200 ms there and back and 2.5 MB under way are 100 Mbit/s, on a link of ten times that."""
    latency, nbytes = 0.1, 50_000_000
    settings_ = ClusterSettings(
        star(uniform(2, 125e6, latency)), worker_names(2), "server", collective, ComputeTime(0.0), Duration(0.0),
        Duration(0.0), conditions=(Overheads(window=2.5e6, streams=streams),),
    )  # fmt: skip
    found = simulate(settings_, [RoundCosts((Compute(1), message([nbytes] * 2)))]).total
    rate = mbit * 125e3
    # Both workers' messages share the server's link; round the ring of two each half crosses twice, in 8 slices.
    server, tau = 2 * (latency + nbytes / min(rate, 125e6 / 2)), nbytes / 2 / 8 / rate
    ring = max(16 * tau + latency, 2 * (tau + latency) + 7 * tau)
    assert found == pytest.approx(server if collective == "parameter-server" else ring, rel=1e-9)


def test_the_window_is_held_against_the_round_trip_of_each_route():
    machines = hosts([1e6] * 2, [1e6] * 2, [0.01, 0.04], servers=1)
    links = Links(star(machines))
    overheads = Overheads(window=1e3)
    assert overheads.most(links, "worker0", "worker1") == pytest.approx(1e3 / 0.1)
    assert overheads.most(links, "worker0", "server") == pytest.approx(1e3 / 0.04)


EXAMPLES = {
    "transport": Overheads(0.9, 1e-4, 1.5, 4e5),
    "stragglers": Stragglers(sigma=0.4),
    "pauses": Pauses(0.3, 0.05),
    "overlap": Overlap(3),
    "jitter": Jitter(0.002, 0.05),
    "changes": NetworkChanges(
        failures=(LinkFailure(0.1, 0.15, source="worker1"),),
        wandering=(Wandering(0.02, 0.5),),
        traffic=(Traffic(2, 1e4, 0.02),),
    ),
    "crashes": Crashes((Crash(1, 0.03, 0.3),), "wait"),
}


def cluster(*conditions, collective="ring", **more):
    machines = uniform(4, 1e6, 0.005)
    return ClusterSettings(
        star(machines), worker_names(4), "server", collective, ComputeTime(0.02), Duration(0.003), Throughput(1e6),
        seed=3, conditions=conditions, **more,
    )  # fmt: skip


def walk(settings_):
    """The times of six rounds, and whether they were walked without events."""
    rounds = [RoundCosts((Compute(1), message([4000] * 4)))] * 6
    return simulate(settings_, rounds), nothing_but_messages(settings_) and AtOnce([settings_]).possible(rounds[0])


def test_every_condition_has_an_example_here():
    assert list(EXAMPLES) == [kind.key for kind in CONDITIONS]


@pytest.mark.parametrize("collective", ["ring", "parameter-server", "halving-doubling"])
@pytest.mark.parametrize("key", EXAMPLES)
def test_what_a_condition_says_of_itself_is_true(key, collective):
    """Where it says that exchanges may be solved at once, the times are those of the events; else all is events."""
    condition = EXAMPLES[key]
    (found, solved), (events, never) = (
        walk(cluster(condition, collective=collective, fast=fast)) for fast in (True, False)
    )
    assert len(found.round_end) == 6 and not never
    assert found.round_end == pytest.approx(events.round_end, rel=1e-9)
    assert found.breakdown.sum(axis=2) == pytest.approx(events.breakdown.sum(axis=2), rel=1e-6, abs=1e-9)
    assert not solved or (condition.static and condition.whole)
    if collective == "ring":
        assert solved == (condition.static and condition.whole)
        assert found.total != walk(cluster())[0].total, "the example must change something"


@dataclass(frozen=True)
class Invented(Condition):
    """A condition of one's own: all links are slower for a while."""

    key = "invented"

    def begin(self, network):
        factor, links = network.new_factor(), range(len(network.network.links))
        network.network.at(0.05, lambda _: network.set_factor(factor, links, 0.1))
        network.network.at(0.15, lambda _: network.set_factor(factor, links, 1.0))


def test_a_condition_that_says_nothing_of_itself_is_simulated_event_by_event():
    (found, solved), (events, _) = (walk(cluster(Invented(), fast=fast)) for fast in (True, False))
    assert not solved and found.round_end.tobytes() == events.round_end.tobytes()
    assert found.total > 1.1 * walk(cluster())[0].total


@pytest.mark.parametrize(("static", "whole"), [(False, False), (True, False), (False, True), (True, True)])
def test_exchanges_are_solved_at_once_only_where_a_condition_states_both(static, whole):
    kind = type("Stated", (Condition,), {"key": "stated", "static": static, "whole": whole})
    assert walk(cluster(kind()))[1] == (static and whole)


def test_what_does_not_go_together_is_refused():
    overlap, crashes = EXAMPLES["overlap"], EXAMPLES["crashes"]
    for conditions, collective, says in (
        ((overlap, crashes), "ring", "overlap: overlap and crashes together are not supported"),
        ((overlap, Invented()), "ring", "overlap and invented together are not supported"),
        ((overlap,), FIRST_K, "overlap: first-k-parameter-server takes whole messages"),
        ((crashes,), FIRST_K, "crashes: first-k-parameter-server takes whole messages"),
        ((Pauses(1.0, 0.1), Pauses(2.0, 0.1)), "ring", "pauses: stated twice"),
        ((Crashes((Crash(1, 0.03, 0.3),), "without"),), "auto", "crashes: auto cannot go on without crashed workers"),
    ):
        with pytest.raises(SimgmcError, match=says):
            cluster(*conditions, collective=collective)
    cluster(overlap, EXAMPLES["stragglers"], EXAMPLES["changes"])


def test_several_conditions_slow_a_worker_together():
    """Factors multiply, and a second condition may interrupt what the first has made longer."""
    both = cluster(Stragglers(sigma=0.5), Pauses(1.0, 0.25))
    assert (both.compute_times(2, 0, 3) == 3 * 0.02 * Stragglers(sigma=0.5).factors(3, 2, 0, 4)).all()
    assert both.done(1, 0.7, 2.0) == Pauses(1.0, 0.25).done(3, 1, 0.7, 2.0)

    class Longer(Pauses):
        key = "longer"

    longer = cluster(Pauses(1.0, 0.25), Longer(10.0, 5.0))
    first = Pauses(1.0, 0.25).done(3, 1, 0.7, 20.0)
    assert longer.done(1, 0.7, 20.0) == Pauses(10.0, 5.0).done(3, 1, 0.7, first - 0.7) > first


@dataclass(frozen=True)
class Halved(Condition):
    """Changes the graph that it is given."""

    key = "halved"

    def seen(self, graph):
        for _, _, link in graph.edges(data=True):
            link["bandwidth"] /= 2
        return graph


def test_a_condition_of_ones_own_may_change_the_graph_that_it_sees_and_no_other_cluster_notices():
    one = cluster(Halved())
    again = replace(one, seed=1)
    assert sum(rate for _, _, rate in again.payload_graph.edges(data="bandwidth")) == pytest.approx(
        sum(rate for _, _, rate in one.payload_graph.edges(data="bandwidth"))
    )
