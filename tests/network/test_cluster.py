"""Workers on the simulated cluster: simulated time, its breakdown, and bytes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.costs.steps import Compress, Compute, RoundCosts
from simgmc.network.cluster.cluster import ClusterSettings, simulate
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.conditions.work import Duration, Throughput
from simgmc.network.exchanges.accounts import CATEGORIES
from simgmc.network.topology.catalogue import star, worker_names
from tests.network.exchanges import hosts, message, uniform

EXACT = 1e-9
BANDWIDTH, LATENCY = 1e6, 0.01


def cluster(
    collective,
    workers=4,
    machines=None,
    compute=ComputeTime(0.1),
    compression=Duration(0.02),
    aggregation=Duration(0.05),
    **more,
):
    machines = machines or uniform(workers, BANDWIDTH, LATENCY)
    return ClusterSettings(
        star(machines), worker_names(workers), "server", collective, compute, compression, aggregation, **more
    )


def round_of(up, **kinds):
    return RoundCosts((Compute(1), Compress(4000), message(up, **kinds)))


def test_a_parameter_server_round_is_compute_compress_push_add_pull():
    timing = simulate(cluster("parameter-server"), [round_of([1000] * 4, down=2000)] * 3)
    one = 0.1 + 0.02 + (0.01 + 0.004) + 0.05 + (0.01 + 0.008)
    assert timing.round_end == pytest.approx(np.outer([1, 2, 3], np.full(4, one)), rel=EXACT)
    spent = dict(zip(CATEGORIES, timing.breakdown[0, 0]))
    expected = {"compute": 0.1, "compress": 0.02, "transfer": 0.012, "latency": 0.02, "aggregate": 0.05, "wait": 0.0}
    assert spent == pytest.approx(expected, rel=EXACT, abs=1e-12)
    assert timing.sent_by_workers.tolist() == timing.into_server.tolist() == [4000.0] * 3
    assert timing.received_by_workers.tolist() == timing.out_of_server.tolist() == [8000.0] * 3


def test_a_ring_round_has_only_latency_transfer_and_adding_on_its_chain():
    timing = simulate(cluster("lock-step-ring-all-reduce"), [round_of([4000] * 4)])
    assert timing.breakdown[0] == pytest.approx(
        np.tile([0.1, 0.02, 6 * 0.001, 6 * 0.01, 0.05, 0], (4, 1)), rel=EXACT, abs=1e-12
    )
    assert (timing.sent_by_workers[0], timing.into_server[0]) == (6 * 4000, 0)


def test_one_slow_host_holds_everybody_in_a_lock_step_ring():
    machines = hosts([1e6, 1e6, 1e5, 1e6], [1e6, 1e6, 1e5, 1e6], [LATENCY / 2] * 4)
    settings_ = cluster("lock-step-ring-all-reduce", machines=machines, aggregation=Duration(0.0))
    timing = simulate(settings_, [round_of([4000] * 4)])
    # The slow rank's successor receives every chunk at a tenth of the speed.
    assert timing.round_end.max() == pytest.approx(0.12 + 6 * (0.01 + 0.01), rel=EXACT)


def test_others_wait_for_a_slow_worker_at_the_server():
    compute = ComputeTime(0.1, slowdown=(1, 1, 1, 6))
    timing = simulate(cluster("parameter-server", compute=compute), [round_of([1000] * 4)])
    end = 0.6 + 0.02 + 0.011 + 0.05 + 0.014
    assert timing.round_end == pytest.approx(np.full((1, 4), end), rel=EXACT)
    wait = timing.breakdown[0, :, CATEGORIES.index("wait")]
    assert wait == pytest.approx([0.5, 0.5, 0.5, 0.0], rel=EXACT, abs=1e-12)


def test_a_fast_worker_goes_on_as_soon_as_it_has_its_own_update():
    machines = hosts([1e6] * 2, [1e6, 1e4], [LATENCY / 2] * 2)
    timing = simulate(cluster("parameter-server", 2, machines), [round_of([1000] * 2)] * 2)
    assert timing.round_end[0, 1] - timing.round_end[0, 0] > 0.09
    idle = np.diff(timing.round_end[:, 0])[0] - timing.breakdown[1, 0].sum()
    assert idle == pytest.approx(0.0, abs=1e-12)


def test_stragglers_are_the_stated_draws():
    stragglers = Stragglers(sigma=0.5)
    drawn = 0.1 * stragglers.factors(3, 0, 0, 4)
    settings_ = cluster("lock-step-ring-all-gather", conditions=(stragglers,), seed=3)
    timing = simulate(settings_, [round_of([0] * 4, summable=False)])
    assert timing.breakdown[0, :, 0] == pytest.approx(drawn, rel=EXACT)
    assert timing.round_end[0].max() == pytest.approx(drawn.max() + 0.02 + 3 * 0.01 + 0.05, rel=EXACT)


def test_throughputs_charge_bytes_and_durations_charge_times():
    settings_ = cluster("parameter-server", compression=Throughput(8000), aggregation=Throughput(8000))
    timing = simulate(settings_, [round_of([1000] * 4)])
    assert timing.breakdown[0, 0, 1] == pytest.approx(0.5) and timing.breakdown[0, 0, 4] == pytest.approx(0.5)


@given(
    st.sampled_from(["parameter-server", "ring", "lock-step-ring-all-reduce", "lock-step-ring-all-gather"]),
    st.integers(1, 6),
    st.floats(0, 1),
    st.integers(0, 9),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_the_breakdown_adds_up_and_time_only_grows(collective, workers, sigma, seed, data):
    speeds = data.draw(st.lists(st.floats(1e4, 1e7), min_size=workers, max_size=workers))
    machines = hosts(speeds, speeds[::-1], [0.003] * workers)
    summable = collective == "lock-step-ring-all-reduce"
    sizes = [
        [800] * workers if summable else data.draw(st.lists(st.integers(0, 9000), min_size=workers, max_size=workers))
        for _ in range(4)
    ]
    rounds = [round_of(up, summable=summable) for up in sizes]
    timing = simulate(
        cluster(collective, workers, machines, ComputeTime(0.05), conditions=(Stragglers(sigma=sigma),), seed=seed),
        rounds,
    )
    assert np.diff(timing.round_end, axis=0, prepend=0) == pytest.approx(
        timing.breakdown.sum(axis=2), rel=1e-9, abs=1e-12
    )
    assert (timing.breakdown >= -1e-12).all() and (np.diff(timing.round_end, axis=0) > 0).all()


def test_rounds_are_pulled_when_the_first_worker_needs_them_and_reported_when_the_last_is_done():
    log = []

    def rounds():
        for number in range(3):
            log.append(("pull", number))
            yield round_of([1000] * 4)

    simulate(cluster("ring"), rounds(), lambda number, time: log.append(("done", number)))
    assert log == [("pull", 0), ("pull", 1), ("done", 0), ("pull", 2), ("done", 1), ("done", 2)]


def test_where_training_diverges_the_rounds_before_are_finished_by_all():
    class Diverges(RoundCosts):
        def resolve(self, number, membership):
            raise DivergenceError("not finite")

    slow = cluster("parameter-server", compute=ComputeTime(0.1, (1.0, 1.0, 1.0, 1.5)))
    rounds = [round_of([1000] * 4)] * 2
    cut = simulate(slow, [*rounds, Diverges(rounds[0]), rounds[0]])
    assert cut.stopped is None and np.array_equal(cut.round_end, simulate(slow, rounds).round_end)


def test_an_identity_compressor_has_no_compress_step():
    timing = simulate(cluster("ring"), [RoundCosts((Compute(1), message([1000] * 4)))])
    assert timing.breakdown[0, :, 1].tolist() == [0.0] * 4


def test_one_worker_only_computes():
    timing = simulate(cluster("parameter-server", 1), [round_of([1000])] * 2)
    assert timing.round_end[:, 0] == pytest.approx([0.12, 0.24], rel=EXACT)


def test_no_rounds_take_no_time():
    assert simulate(cluster("ring"), []).total == 0.0


def test_a_dead_link_ends_the_run_and_is_reported_with_its_hosts_and_time():
    settings_ = cluster("parameter-server")
    settings_.graph["worker2"]["switch"]["bandwidth"] = 0.0
    timing = simulate(settings_, [round_of([1000] * 4)])
    assert re.search(r"worker2 -> server.*t = 0.12 s.*worker2 -> switch has no bandwidth", timing.stopped)
    assert len(timing.round_end) == 0 and timing.total == 0.0


def test_impossible_settings_are_refused():
    with pytest.raises(SimgmcError, match="needs 1 server host; none named"):
        simulate(
            ClusterSettings(
                star(uniform(2, 1e6, 0.0)),
                worker_names(2),
                None,
                "parameter-server",
                ComputeTime(1),
                Duration(0),
                Duration(0),
            ),
            [round_of([1000] * 2)],
        )
    with pytest.raises(SimgmcError, match="worker2.*not in the network"):
        ClusterSettings(
            star(uniform(2, 1e6, 0.0)), worker_names(5), None, "ring", ComputeTime(1), Duration(0), Duration(0)
        )
    with pytest.raises(SimgmcError, match="2 workers, the cluster has 4"):
        simulate(cluster("ring"), [round_of([1, 2])])
