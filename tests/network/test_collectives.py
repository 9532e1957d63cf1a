"""Collectives against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.network import collectives
from simgmc.network.collectives.pieces import cut
from simgmc.network.conditions.work import Duration, Throughput
from simgmc.network.validation.reference import sliced_ring_case
from tests.network.exchanges import execute, finish, finish_times, hosts, message, uniform

EXACT = 1e-9
bandwidths = st.floats(1e5, 1e10)
latencies = st.floats(0, 0.2)


@given(st.integers(2, 12), st.integers(1, 10**7), bandwidths, latencies)
@settings(max_examples=60, deadline=None)
def test_parameter_server_takes_two_latencies_and_the_servers_two_queues(workers, n, bandwidth, latency):
    average = message([n] * workers, down=3 * n)
    expected = (latency + workers * n / bandwidth) + 0.5 + (latency + workers * 3 * n / bandwidth)
    found = finish("parameter-server", average, uniform(workers, bandwidth, latency), aggregation=Duration(0.5))
    assert found == pytest.approx([expected] * workers, rel=EXACT)


def test_parameter_server_push_is_processor_sharing_of_unequal_messages():
    average = message([1000, 4000, 2000], down=500, summable=False)
    found = finish("parameter-server", average, uniform(3, 1000.0, 0.1), aggregation=Throughput(7000.0))
    assert found == pytest.approx([0.1 + 7.0 + 1.0 + 0.1 + 1.5] * 3, rel=EXACT)


@given(st.integers(2, 12), st.integers(1, 10**6), bandwidths, latencies, st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_lock_step_ring_all_reduce_takes_2_n_minus_1_steps(workers, items, bandwidth, latency, adding):
    average = message([4 * items * workers] * workers)
    expected = 2 * (workers - 1) * (latency + 4 * items / bandwidth) + adding
    found = finish(
        "lock-step-ring-all-reduce", average, uniform(workers, bandwidth, latency), aggregation=Duration(adding)
    )
    assert found == pytest.approx([expected] * workers, rel=EXACT)


def test_adding_in_a_ring_is_charged_per_chunk_where_it_is_a_rate():
    average = message([4000] * 4)
    found = finish("lock-step-ring-all-reduce", average, uniform(4, 1000.0, 0.1), aggregation=Throughput(500.0))
    assert found == pytest.approx([6 * 1.1 + 3 * 2.0] * 4, rel=EXACT)


@given(
    st.lists(st.integers(0, 10**6), min_size=2, max_size=9),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_ring_all_gather_of_unequal_messages_follows_its_recurrence(sizes, data):
    workers = len(sizes)
    draw = st.lists(st.floats(1e5, 1e7), min_size=workers, max_size=workers)
    up, down = data.draw(draw), data.draw(draw)
    ready = data.draw(st.lists(st.floats(0, 3), min_size=workers, max_size=workers))
    done = list(ready)
    for step in range(workers - 1):
        arrival = [
            done[i] + 0.01 + sizes[(i - step) % workers] / min(up[i], down[(i + 1) % workers]) for i in range(workers)
        ]
        done = [max(arrival[i], arrival[i - 1]) for i in range(workers)]
    machines = hosts(up, down, [0.005] * workers)
    found = finish("lock-step-ring-all-gather", message(sizes, summable=False), machines, ready)
    assert found == pytest.approx(done, rel=EXACT)


@pytest.mark.parametrize("summable,name", [(True, "lock-step-ring-all-reduce"), (False, "lock-step-ring-all-gather")])
def test_every_byte_of_a_ring_is_delivered(summable, name):
    execution = execute(collectives.schedule(name, message([1001, 1001, 1001]), Duration(0.0)), uniform(3, 1e3, 0.1))
    moved = sum(n for n, t in zip(execution.schedule.nbytes, execution.landed) if t >= 0)
    assert moved == (2 * 2 * 1001 if summable else 2 * 3 * 1001)
    assert execution.open == 0
    assert execution.finisher != [-1] * 3 and max(finish_times(execution)) == max(execution.landed)


@given(st.integers(0, 10**6), st.integers(0, 16), st.integers(1, 64))
def test_chunks_are_whole_items_as_equal_as_possible(nbytes, item, parts):
    chunks = cut(nbytes, item, parts)
    item = item or 1  # of no size: bytes
    header = nbytes % item
    assert chunks.sum() == nbytes and len(chunks) == parts
    chunks[0] -= header
    assert (chunks % item == 0).all() and chunks.max() - chunks.min() <= item


@pytest.mark.parametrize("name", collectives.COLLECTIVES)
def test_one_worker_exchanges_nothing(name):
    assert finish(name, message([1000]), uniform(1, 1e3, 0.1), ready=[2.5]) == [2.5]


def test_messages_that_cannot_be_summed_on_the_way_are_refused_with_an_alternative():
    with pytest.raises(SimgmcError, match="lock-step-ring-all-reduce.*different coordinates.*ring-all-gather"):
        collectives.schedule("lock-step-ring-all-reduce", message([8, 16], summable=False), Duration(0.0))


def test_an_unknown_collective_is_refused_with_the_nearest_name():
    with pytest.raises(SimgmcError, match='did you mean "ring-all-reduce"'):
        collectives.schedule("ring_allreduce", message([8]), Duration(0.0))


def test_every_collective_says_what_it_is_and_where_it_comes_from():
    for entry in collectives.COLLECTIVES.values():
        assert entry.summary and entry.source and entry.carries in ("any", "summable")


@given(st.integers(2, 10), st.integers(1, 10**6), bandwidths, latencies, st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_sliced_ring_all_reduce_exposes_one_latency(workers, items, bandwidth, latency, slices):
    average = message([4 * items * workers] * workers)
    tau = 4 * items / (slices * bandwidth)
    expected = max(2 * (workers - 1) * slices * tau + latency, 2 * (workers - 1) * (tau + latency) + (slices - 1) * tau)
    schedule = collectives.schedule("ring", average, Duration(0.0), collectives.Options(slices=slices))
    assert max(finish_times(execute(schedule, uniform(workers, bandwidth, latency)))) == pytest.approx(
        expected, rel=EXACT
    )


def test_every_sliced_ring_reference_case_agrees_to_1e_9(reference):
    for case in reference("sliced_ring_cases.json")["cases"]:
        assert sliced_ring_case(case) == pytest.approx(case["makespan"], rel=EXACT)


def test_adding_in_a_sliced_ring_overlaps_with_sending():
    average = message([32000] * 4)
    alone = max(finish("ring", average, uniform(4, 1e6, 0.0)))
    with_adding = max(finish("ring", average, uniform(4, 1e6, 0.0), aggregation=Duration(0.9 * 3 * 0.008)))
    slower = max(finish("ring", average, uniform(4, 1e6, 0.0), aggregation=Duration(3 * 3 * 0.008)))
    assert alone == pytest.approx(6 * 0.008) == with_adding
    # Adding is the bottleneck: three chunks are added one after the other, then three gathered.
    assert 9 * 0.008 < slower < (9 + 6) * 0.008


def test_ring_carries_sums_where_it_can_and_gathers_otherwise():
    summable = collectives.schedule("ring", message([4000] * 4), Duration(0.0)).nbytes.sum()
    gathered = collectives.schedule("ring", message([4000] * 4, summable=False), Duration(0.0)).nbytes.sum()
    assert (summable, gathered) == (2 * 3 * 4000, 3 * 4 * 4000)
    assert np.isfinite(summable)
