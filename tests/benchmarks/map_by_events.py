"""A finished map against the event simulation: random series of it, each put on its network again event by event.

    python tests/benchmarks/map_by_events.py runs/bandwidth-latency [--series 200] [--seed 0]

Prints the largest relative difference of the evaluations' times, of the whole time and of what it was spent on (in
shares of the whole), and fails above 1e-9.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from simgmc.experiment.plan import trainings
from simgmc.experiment.training import Training
from simgmc.network import simulate
from simgmc.network.exchanges.accounts import CATEGORIES
from simgmc.results.directory.records import SeriesKey
from simgmc.results.directory.run_directory import open_run
from simgmc.results.series.read import Series, read_results
from simgmc.scenario import GridPoint, ScenarioFile

EXACT = 1e-9


def differences(run: Path, training: Training, point: GridPoint) -> tuple[float, float, float]:
    """Of one series: of the evaluations' times, of the whole time, of what it was spent on."""
    directory = open_run(run)
    kept = _series(run)[training.series(point)]
    timing = simulate(replace(training.settings(point), fast=False), directory.read_costs(training.key))
    ends = np.concatenate(([0.0], timing.round_end.max(axis=1)))
    expected = ends[kept["round"].astype(int)]
    times = np.abs(kept["sim_time_s"] - expected) / np.maximum(expected, 1e-12)
    breakdown = kept.breakdown
    assert breakdown is not None
    spent = timing.breakdown.sum(axis=0).mean(axis=0)
    parts = [abs(getattr(breakdown, f"{name}_s") - value) for name, value in zip(CATEGORIES, spent, strict=True)]
    return float(times.max()), abs(breakdown.sim_time_s / timing.total - 1), max(parts) / timing.total


_READ: dict[Path, dict[SeriesKey, Series]] = {}


def _series(run: Path) -> dict[SeriesKey, Series]:
    if run not in _READ:
        _READ[run] = {one.key: one for one in read_results(open_run(run)).series}
    return _READ[run]


def main() -> None:
    """Draw, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a map: the run directory of a replay on many networks")
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    plan = trainings(ScenarioFile.read(chosen.run / "scenario.toml").points)
    every = [(training, point) for training in plan for point in training.points]
    many, since, rows = len(every), time.perf_counter(), []
    for number in np.random.default_rng(chosen.seed).choice(many, min(chosen.series, many), replace=False).tolist():
        rows.append(differences(chosen.run, *every[number]))
        if len(rows) % 10 == 0:
            print(f"{len(rows)} series: times differ by at most {max(one[0] for one in rows):.1e}", flush=True)
    found = np.array(rows)
    for what, column in zip(("times of evaluations", "whole time", "what it was spent on"), found.T, strict=True):
        print(f"{what:22} differ by at most {column.max():.1e}, at half of the series by {np.median(column):.1e}")
    print(f"{len(found)} of {many:,} series, event by event in {time.perf_counter() - since:.0f} s")
    if found[:, :2].max() > EXACT:
        raise SystemExit(f"more than {EXACT:.0e}")


if __name__ == "__main__":
    main()
