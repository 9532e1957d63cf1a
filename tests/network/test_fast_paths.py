"""Fast paths against the event-by-event simulation, on random inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.network.breakdown import exchange_breakdown
from simgmc.network.collectives.sliced_ring import all_gather_chunks, all_reduce_chunks, ring_schedule
from simgmc.network.fast_ring import Ring, solve

from .exchanges import execute, finish_times, hosts

EXACT = 1e-9


@st.composite
def rings(draw):
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    workers = draw(st.integers(2, 7))
    gather, lock_step = draw(st.booleans()), draw(st.booleans())
    slices = 1 if lock_step else draw(st.integers(1, 5))
    size = rng.integers(0, 10**5, workers).astype(float)
    adding = rng.uniform(0, 0.3, (workers - 1, workers)) if draw(st.booleans()) and not gather else None
    final = rng.uniform(0, 1, workers) if gather else None
    ring = Ring((all_gather_chunks if gather else all_reduce_chunks)(size), slices, adding, final, lock_step)
    up, down = rng.uniform(1e3, 1e6, workers), rng.uniform(1e3, 1e6, workers)
    return ring, up, down, rng.uniform(0, 0.1, workers), rng.uniform(0, 3, workers)


@given(rings())
@settings(max_examples=150, deadline=None)
def test_ring_recurrence_equals_the_events(case):
    ring, up, down, latency, ready = case
    workers = len(up)
    execution = execute(ring_schedule(ring), hosts(up, down, latency), ready)
    expected = finish_times(execution)
    rate, between = np.minimum(up, np.roll(down, -1)), latency + np.roll(latency, -1)
    found = solve(ring, rate, between, ready, np.zeros(workers), np.zeros(workers))
    assert found.finish == pytest.approx(expected, rel=EXACT)
    for worker in range(workers):
        origin = found.origin[worker]
        if ready[origin] >= ready[worker]:
            _, lost, adding, wait = exchange_breakdown(execution, worker, ready[worker], expected[worker])
            assert (lost, adding) == pytest.approx((found.latency[worker], found.aggregate[worker]), rel=1e-6, abs=1e-9)
            assert wait == pytest.approx(ready[origin] - ready[worker], rel=EXACT, abs=1e-12)
