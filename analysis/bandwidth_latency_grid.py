"""Who reaches the target first, on 20 x 20 networks from 1 Mbit/s to 1 Gbit/s and 0.1 ms to 100 ms?

Takes a finished run of the quickstart, whose rounds it replays on every network, under a
parameter server and a ring, and prints how long that took beside what training again at every
point would have taken. That second number is not measured as a whole: one training of each
method is, and multiplied by the seeds and the points.

    simgmc run scenarios/quickstart.toml --out runs/quickstart
    python analysis/bandwidth_latency_grid.py runs/quickstart --out runs/bandwidth-latency --figures analysis/results

The second command made ``analysis/results/bandwidth_latency_grid.png``.
Measured on two quiet cores: the replay of the 9,600 series took 17.8 s, tables, figures and the page included (34.1 s
before what is the same to the clock was walked once, 22.3 min before networks were walked together); 2,400 times one
training of each method is 4.4 h.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from simgmc.commands.replay import replay
from simgmc.core.quantities import time_text
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.plan import trainings
from simgmc.experiment.run import run_trainings
from simgmc.results.directory import run_directory
from simgmc.scenario import ScenarioFile

BANDWIDTHS = (1e6, 1e9)
"""bit/s of every host's link, each direction."""
LATENCIES = (1e-4, 1e-1)
"""Seconds of every host's link, one way."""
COLLECTIVES = ("parameter-server", "ring")


def spaced(ends: tuple[float, float], places: int, units: dict[str, float]) -> list[str]:
    """Values evenly spaced by their logarithms, three digits each, in the largest unit that is not too large."""
    texts = []
    for value in np.geomspace(*ends, places):
        rounded = float(f"{value:.3g}")
        unit = max(
            (name for name in units if units[name] <= rounded * (1 + 1e-9)),
            key=units.__getitem__,
            default=min(units, key=units.__getitem__),
        )
        texts.append(f"{rounded / units[unit]:.4g} {unit}")
    return texts


class Seconds:
    """Wall clock and CPU time, so that a machine with other work can be told from a slow program."""

    def __init__(self, work: Callable[[], Any]):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self.wall, self.cpu = time.perf_counter() - wall, time.process_time() - cpu

    def text(self, times: float = 1.0) -> str:
        """Both, this many times."""
        return f"{time_text(times * self.wall)} ({time_text(times * self.cpu)} of CPU)"


class _Silent:
    """Hears of a training's progress and says nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *said, **more: None


def train_once(file: ScenarioFile) -> Seconds:
    """One training of every method with the first seed on one network, its simulation included."""
    seed = file.points[0].scenario.seeds[0]
    single = file.with_settings([("seeds", [seed]), *((f"grid.{key}", None) for key in file.grid)])
    workload_of = WorkloadFactory("auto", None, None)
    workload_of(single.points[0].scenario, seed)  # the data is loaded once, however often one trains
    with tempfile.TemporaryDirectory() as folder:
        directory = run_directory.create(Path(folder) / "run", single.resolved())
        plan = trainings(single.points)
        return Seconds(lambda: run_trainings(plan, directory, workload_of, _Silent()))


def main() -> None:
    """Replay, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="finished run directory of scenarios/quickstart.toml")
    parser.add_argument("--out", required=True, help="run directory of the replay; what is there is replaced")
    parser.add_argument("--figures", help="where bandwidth_latency_grid.png goes (default: the replay's plots)")
    parser.add_argument("--places", type=int, default=20, help="bandwidths, and latencies (default 20)")
    arguments = parser.parse_args()

    file = ScenarioFile.read(Path(arguments.run) / "scenario.toml")
    settings = [
        *((f"grid.{key}", None) for key in file.grid),
        ("grid.cluster.collective", list(COLLECTIVES)),
        ("grid.cluster.bandwidth", spaced(BANDWIDTHS, arguments.places, {"Mbit/s": 1e6, "Gbit/s": 1e9})),
        ("grid.cluster.latency", spaced(LATENCIES, arguments.places, {"ms": 1e-3})),
    ]
    training = train_once(file)
    replaying = Seconds(lambda: replay(arguments.run, settings=settings, out=arguments.out, overwrite=True))

    scenario = file.points[0].scenario
    points, seeds, methods = len(COLLECTIVES) * arguments.places**2, len(scenario.seeds), len(scenario.methods)
    again = points * seeds
    print(
        f"\n{points} networks x {methods} methods x {seeds} seeds = {again * methods} series, on {os.cpu_count()} cores"
    )
    print(f"replay, tables and figures included:                   {replaying.text()}")
    print(f"training each again, {again} x a measured {time_text(training.wall)}:  {training.text(again)}")
    clock, cpu = again * training.wall / replaying.wall, again * training.cpu / replaying.cpu
    print(f"the replay is sooner by                                {clock:.3g} x by the clock, {cpu:.3g} x in CPU time")

    plots = Path(arguments.out) / "plots"
    figures = Path(arguments.figures) if arguments.figures else plots
    figures.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(plots / "first_to_target_map.png", figures / "bandwidth_latency_grid.png")
    print(f"drawn: {figures / 'bandwidth_latency_grid.png'}, and more in {plots}")


if __name__ == "__main__":
    main()
