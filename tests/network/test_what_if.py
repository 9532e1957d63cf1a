"""What bound a run, and the pictures of it."""

from __future__ import annotations

import pytest

from simgmc.costs import Compute
from simgmc.network.cluster import ClusterSettings, simulate
from simgmc.network.conditions import ComputeTime, Duration
from simgmc.network.pictures import draw_gantt, draw_topology, draw_utilisation
from simgmc.network.timeline import Recorder
from simgmc.network.topology import star, worker_names
from simgmc.network.what_if import what_if

from .exchanges import message, uniform

EXACT = 1e-9


def settings(seconds, latency):
    return ClusterSettings(
        star(uniform(4, 1e6, latency)), worker_names(4), "server", "parameter-server", ComputeTime(seconds), Duration(0), Duration(0)
    )


@pytest.mark.parametrize(
    "seconds,latency,nbytes,bottleneck",
    [(1.0, 0.001, 100, "compute"), (0.001, 0.001, 10**6, "-> server|server ->"), (0.001, 1.0, 100, "latency")],
)
def test_the_bottleneck_is_named_and_easing_it_helps_most(seconds, latency, nbytes, bottleneck):
    rounds = [(Compute(1), message([nbytes] * 4))] * 2
    found = what_if(settings(seconds, latency), lambda: rounds)
    transfer, wire = 2 * 4 * nbytes / 1e6, 2 * latency
    assert found.as_is == pytest.approx(2 * (seconds + transfer + wire), rel=EXACT)
    assert found.twice_the_bandwidth == pytest.approx(2 * (seconds + transfer / 2 + wire), rel=EXACT)
    assert found.half_the_latency == pytest.approx(2 * (seconds + transfer + wire / 2), rel=EXACT)
    assert found.half_the_compute == pytest.approx(2 * (seconds / 2 + transfer + wire), rel=EXACT)
    assert any(part in found.bottleneck for part in bottleneck.split("|")) and len(found.lines()) == 4


def test_pictures_are_drawn(tmp_path):
    recorder = Recorder(0, 1)
    chosen = settings(0.05, 0.01)
    timing = simulate(chosen, [(Compute(1), message([10_000] * 4))] * 2, recorder=recorder)
    timeline = recorder.timeline(chosen.workers, timing.round_end)
    draw_gantt(timeline, [*chosen.workers, "server"], tmp_path / "gantt.png")
    draw_utilisation(timeline, tmp_path / "links.png")
    draw_topology(chosen.graph, timing, tmp_path / "topology.png")
    assert all(path.stat().st_size > 5_000 for path in tmp_path.iterdir()) and len(list(tmp_path.iterdir())) == 3
