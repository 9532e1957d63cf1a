"""Pictures of the simulated network."""

from __future__ import annotations

from simgmc.costs import Compute
from simgmc.network.cluster import ClusterSettings, simulate
from simgmc.network.conditions import ComputeTime, Duration
from simgmc.network.pictures import draw_gantt, draw_topology, draw_utilisation
from simgmc.network.timeline import Recorder
from simgmc.network.topology import star, worker_names

from .exchanges import message, uniform


def settings(seconds, latency):
    return ClusterSettings(
        star(uniform(4, 1e6, latency)), worker_names(4), "server", "parameter-server", ComputeTime(seconds), Duration(0), Duration(0)
    )


def test_pictures_are_drawn(tmp_path):
    recorder = Recorder(0, 1)
    chosen = settings(0.05, 0.01)
    timing = simulate(chosen, [(Compute(1), message([10_000] * 4))] * 2, recorder=recorder)
    timeline = recorder.timeline(chosen.workers, timing.round_end)
    draw_gantt(timeline, [*chosen.workers, "server"], tmp_path / "gantt.png")
    draw_utilisation(timeline, tmp_path / "links.png")
    draw_topology(chosen.graph, timing, tmp_path / "topology.png")
    assert all(path.stat().st_size > 5_000 for path in tmp_path.iterdir()) and len(list(tmp_path.iterdir())) == 3
