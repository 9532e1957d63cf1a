"""Networks that change: failures, traces, random bandwidth, background traffic."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Compute, RoundCosts
from simgmc.network.cluster.cluster import Cluster, ClusterSettings, simulate
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.failures import LinkFailure
from simgmc.network.conditions.traces import BandwidthSteps, BandwidthTrace
from simgmc.network.conditions.traffic import Traffic
from simgmc.network.conditions.wandering import Wandering
from simgmc.network.conditions.work import Duration
from simgmc.network.topology.catalogue import Host, ring, star, worker_names
from tests.network.exchanges import message, uniform

EXACT = 1e-9


def cluster(changes, collective="parameter-server", workers=2, latency=0.0, seed=0):
    machines = uniform(workers, 1e6, latency)
    return ClusterSettings(
        star(machines),
        worker_names(workers),
        "server",
        collective,
        ComputeTime(1.0),
        Duration(0),
        Duration(0),
        seed=seed,
        conditions=(changes,),
    )


def total(changes, **kinds):
    rounds = kinds.pop("rounds", 1)
    return simulate(
        cluster(changes, **kinds), [RoundCosts((Compute(1), message([500_000] * kinds.get("workers", 2))))] * rounds
    ).total


def test_a_link_that_is_down_for_a_while_delays_what_crosses_it():
    # Pushes take 1 s together from t = 1 s, pulls likewise.
    assert total(NetworkChanges()) == pytest.approx(3.0, rel=EXACT)
    assert total(
        NetworkChanges(failures=(LinkFailure(1.5, 4.0, source="switch", destination="server"),))
    ) == pytest.approx(5.5, rel=EXACT)
    assert total(NetworkChanges(failures=(LinkFailure(0.2, 0.9, source="*", destination="*"),))) == pytest.approx(
        3.0, rel=EXACT
    )


def test_a_link_that_never_comes_back_ends_the_run_even_if_the_network_goes_on_changing():
    dead = LinkFailure(1.25, source="worker1", destination="switch")
    for extra in (
        {},
        {"wandering": (Wandering(0.1, 0.1, source="worker0"),)},
        {"traffic": (Traffic(1, 1e3, 0.1),)},
    ):
        timing = simulate(
            cluster(NetworkChanges(failures=(dead,), **extra)), [RoundCosts((Compute(1), message([500_000] * 2)))] * 2
        )
        assert re.search(r"worker1 -> server.*t = 1.25 s.*worker1 -> switch has no bandwidth", timing.stopped)
        late = simulate(
            cluster(NetworkChanges(failures=(LinkFailure(4.25, source="worker1", destination="switch"),), **extra)),
            [RoundCosts((Compute(1), message([500_000] * 2)))] * 3,
        )
        assert len(late.round_end) == 1 and late.stopped


def test_a_trace_scales_the_bandwidth_over_and_over():
    half = BandwidthTrace(BandwidthSteps((0.0, 1.0), (1.0, 0.5), period=2.0))
    # 1 .. 2 s at half speed, 2 .. 3 s at full speed, 3 .. 4 s at half speed.
    assert total(NetworkChanges(traces=(half,))) == pytest.approx(1 + 1 + 0.5 + 0.5 + 1.0, rel=EXACT)


def test_a_trace_is_read_from_a_file(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("# a comment\ntime_s,factor\n0,1\n1,0.5\nperiod,2\n")
    assert BandwidthSteps.from_file(path) == BandwidthSteps((0.0, 1.0), (1.0, 0.5), 2.0)
    path.write_text("time_s,factor\n0,fast\n")
    with pytest.raises(SimgmcError, match=r'trace.csv, line 2: factor = "fast": must be a number'):
        BandwidthSteps.from_file(path)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: BandwidthSteps((1.0,), (1.0,)),
        lambda: BandwidthSteps((0.0,), (0.0,)),
        lambda: BandwidthSteps((0.0, 0.0), (1.0, 2.0)),
        lambda: Wandering(0.0, 0.1),
        lambda: Traffic(0, 1.0, 1.0),
        lambda: total(NetworkChanges(failures=(LinkFailure(0.0, source="moon", destination="*"),))),
        lambda: total(NetworkChanges(failures=(LinkFailure(2.0, 1.0, source="*", destination="*"),))),
    ],
)
def test_impossible_dynamics_are_refused(wrong):
    with pytest.raises(SimgmcError):
        wrong()


def test_random_bandwidth_depends_on_the_seed_only():
    wandering = NetworkChanges(wandering=(Wandering(0.2, 0.5, memory=0.8),))
    assert total(wandering, seed=1) == total(wandering, seed=1) != total(wandering, seed=2)
    # A wandering median of 1 keeps the order of magnitude.
    assert 1.5 < total(wandering, seed=1) < 9


def test_background_traffic_slows_the_run_down_and_is_counted():
    busy = NetworkChanges(traffic=(Traffic(4, 2e5, 0.2),))
    timing = simulate(cluster(busy, workers=4, seed=3), [RoundCosts((Compute(1), message([500_000] * 4)))] * 3)
    assert timing.total > total(NetworkChanges(), workers=4, rounds=3) and timing.background_bytes > 0


@given(
    st.integers(0, 2**32),
    st.sampled_from(
        ["parameter-server", "ring", "halving-doubling", "double-binary-tree", "colocated-parameter-server"]
    ),
)
@settings(max_examples=25, deadline=None)
def test_bytes_are_conserved_and_links_never_exceeded_under_faults_and_traces(seed, collective):
    rng = np.random.default_rng(seed)
    changes = NetworkChanges(
        failures=(LinkFailure(1.2, 1.2 + float(rng.uniform(0.1, 2)), source="worker1", destination="switch"),),
        traces=(BandwidthTrace(BandwidthSteps((0.0, 0.7), (1.0, float(rng.uniform(0.2, 2))), 1.3), source="worker0"),),
        wandering=(Wandering(0.3, 0.4, 0.5),),
        traffic=(Traffic(2, 1e5, 0.3),),
    )
    run = Cluster(replace(cluster(changes, collective, workers=3, latency=0.01, seed=seed), collective=collective))
    network = run.fabric.network
    advance = network.advance
    times = []

    def watched():
        advance()
        times.append(network.now)
        load: dict[int, float] = {}
        for transfer, rate in network.rates():
            for link in transfer.route:
                load[link] = load.get(link, 0.0) + rate
        for link, rate in load.items():
            assert rate <= network.capacity[link] * (1 + EXACT)

    network.advance = watched
    timing = run.run([RoundCosts((Compute(1), message([40_000] * 3)))] * 2, None)
    plain = simulate(
        cluster(NetworkChanges(), collective, workers=3, latency=0.01),
        [RoundCosts((Compute(1), message([40_000] * 3)))] * 2,
    )
    assert (timing.sent_by_workers == plain.sent_by_workers).all()
    assert timing.link_bytes == pytest.approx(plain.link_bytes)
    assert times == sorted(times)
    assert np.diff(timing.round_end, axis=0, prepend=0) == pytest.approx(
        timing.breakdown.sum(axis=2), rel=1e-9, abs=1e-9
    )


def test_a_failure_holds_on_a_link_of_unlimited_bandwidth():
    """Two hosts over a wire without a limit: down until 5 s, a message of 1 s goes afterwards."""
    graph = ring([Host(name, 1e6, 1e6, 0.0) for name in worker_names(2)])
    failure = LinkFailure(0.0, 5.0, source="port of worker0", destination="port of worker1")
    for changes, seconds in ((NetworkChanges(), 2.0), (NetworkChanges(failures=(failure,)), 7.0)):
        settings = ClusterSettings(
            graph, worker_names(2), None, "lock-step-ring", ComputeTime(1e-9), Duration(0), Duration(0),
            conditions=(changes,), explained=True,
        )  # fmt: skip
        timing = simulate(settings, [RoundCosts((Compute(1), message([2_000_000] * 2)))])
        assert timing.total == pytest.approx(seconds, rel=1e-6)
    assert timing.bottleneck().startswith("link port of worker0 -> port of worker1")
    assert "5 s of it without bandwidth" in timing.bottleneck()


def test_a_mahimahi_trace_lets_a_packet_pass_in_every_stated_millisecond(tmp_path):
    (tmp_path / "trace.txt").write_text("1\n1\n3\n4\n")
    steps = BandwidthSteps.from_file(tmp_path / "trace.txt")
    assert steps.absolute and steps.period == 0.004
    assert steps.times == (0.0, 0.001, 0.002) and steps.factors == (3e6, 0.0, 1.5e6)
    (tmp_path / "trace.txt").write_text("5\n3\n")
    with pytest.raises(SimgmcError, match='line 2: "3" must be a whole number of milliseconds, never falling'):
        BandwidthSteps.from_file(tmp_path / "trace.txt")


def test_a_trace_of_bandwidths_replaces_the_nominal_one(tmp_path):
    (tmp_path / "trace.csv").write_text("time_s,bandwidth_mbit_s\n0,8\n2,80\n")
    steps = BandwidthSteps.from_file(tmp_path / "trace.csv")
    assert steps.absolute and steps.factors == (1e6, 1e7) and steps.period is None


def test_a_run_that_ends_in_its_first_round_says_what_held_it_up():
    failure = LinkFailure(0.0, None, source="switch", destination="server")
    settings = replace(cluster(NetworkChanges(failures=(failure,))), explained=True)
    timing = simulate(settings, [RoundCosts((Compute(1), message([500_000] * 2)))])
    assert timing.total == 0 and "switch -> server has no bandwidth" in timing.stopped
    assert timing.bottleneck() == "nothing took time"


@pytest.mark.parametrize(
    "header, period", [("time_s", "10"), ("time_s", "10 s"), ("time_ms", "10 s"), ("time_ms", "10000 ms")]
)
def test_a_traces_period_has_its_unit_or_that_of_times_in_seconds(tmp_path, header, period):
    (tmp_path / "trace.csv").write_text(f"{header},factor\n0,1\n5,0.5\nperiod,{period}\n")
    assert BandwidthSteps.from_file(tmp_path / "trace.csv").period == 10
