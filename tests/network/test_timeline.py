"""Timelines: every worker's time accounted for, every link's load within its bandwidth."""

from __future__ import annotations

import json

import pytest

from simgmc.costs.steps import Compress, Compute, RoundCosts
from simgmc.network.cluster.chrome_trace import chrome_trace
from simgmc.network.cluster.cluster import ClusterSettings, simulate
from simgmc.network.cluster.timeline import Recorder
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.overlap import Overlap
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.conditions.work import Duration
from simgmc.network.topology.catalogue import star, worker_names
from tests.network.exchanges import message, uniform

EXACT = 1e-9
COSTS = RoundCosts((Compute(1), Compress(4000), message([40_000] * 3)))


def settings(collective="parameter-server", latency=0.01, **more):
    machines = star(uniform(3, 1e6, latency))
    conditions = (Stragglers(sigma=0.3), *more.pop("conditions", ()))
    return ClusterSettings(
        machines, worker_names(3), "server", collective, ComputeTime(0.1), Duration(0.02), Duration(latency),
        conditions=conditions, **more,
    )  # fmt: skip


@pytest.mark.parametrize("collective", ["parameter-server", "ring"])
def test_a_window_of_rounds_is_recorded_without_gaps(collective):
    recorder = Recorder(1, 2)
    timing = simulate(settings(collective), [COSTS] * 3, recorder=recorder)
    assert timing.round_end == pytest.approx(simulate(settings(collective), [COSTS] * 3).round_end, rel=EXACT)
    timeline = recorder.timeline(worker_names(3), timing.round_end)
    for host in worker_names(3):
        spans = sorted((s for s in timeline.spans if s.track == host), key=lambda s: s.start)
        assert {"compute", "compress", "send"} <= {s.what for s in spans}
        covered = spans[0].start
        for span in spans:
            assert span.start <= covered + 1e-12 and span.end >= span.start
            covered = max(covered, span.end)
        assert covered == pytest.approx(timing.round_end[2][worker_names(3).index(host)], rel=EXACT)


def test_link_loads_stay_within_bandwidth_and_carry_the_bytes():
    recorder = Recorder(0, 0)
    timing = simulate(settings(), [COSTS], recorder=recorder)
    timeline = recorder.timeline(worker_names(3), timing.round_end)
    for link, changes in timeline.rates.items():
        assert all(rate <= timeline.bandwidth[link] * (1 + EXACT) for _, rate in changes)
        moved = sum(rate * (after - time) for (time, rate), (after, _) in zip(changes, changes[1:]))
        place = timing.links.index(tuple(link.split(" -> ")))
        assert changes[-1][1] == 0.0 and moved == pytest.approx(timing.link_bytes[place], rel=1e-9)


def test_the_chrome_trace_is_json_with_one_track_per_host_and_link():
    recorder = Recorder(0, 1)
    timing = simulate(settings("ring"), [COSTS] * 2, recorder=recorder)
    trace = json.loads(json.dumps(chrome_trace(recorder.timeline(worker_names(3), timing.round_end))))
    tracks = [event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"]
    assert len(tracks) == len(set(tracks)) and set(worker_names(3)) <= set(tracks) and "worker0 -> switch" in tracks
    assert all(event["dur"] >= 0 for event in trace["traceEvents"] if event["ph"] == "X")


def test_buckets_overlap_with_the_backward_pass():
    costs = RoundCosts((Compute(1), message([40_000] * 3)))
    plain = simulate(settings("ring", 1e-4), [costs] * 3)
    hidden = simulate(settings("ring", 1e-4, conditions=(Overlap(4),)), [costs] * 3)
    assert hidden.total < plain.total and hidden.exposed < 1.0 == pytest.approx(plain.exposed)
    assert hidden.sent_by_workers.tolist() == plain.sent_by_workers.tolist()
    whole = hidden.breakdown.sum(axis=2)
    assert whole.sum(axis=0) == pytest.approx(hidden.round_end[-1], rel=EXACT)


def test_one_bucket_and_no_backward_pass_is_no_overlap():
    costs = RoundCosts((Compute(1), message([40_000] * 3)))
    found = simulate(settings("ring", conditions=(Overlap(1),)), [costs] * 3)
    assert found.round_end == pytest.approx(simulate(settings("ring"), [costs] * 3).round_end, rel=EXACT)


def test_auto_is_never_slower_than_any_single_collective():
    costs = [RoundCosts((Compute(1), message([size] * 3))) for size in (40, 4_000, 4_000_000)]
    still = settings("auto")
    best = simulate(still, costs)
    assert sum(best.chosen.values()) == 3
    for name in (
        "parameter-server",
        "ring",
        "lock-step-ring",
        "halving-doubling",
        "double-binary-tree",
        "colocated-parameter-server",
    ):
        assert best.total <= simulate(settings(name), costs).total * (1 + 0.05)
