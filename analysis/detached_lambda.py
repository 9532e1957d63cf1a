"""Accuracy over the detached coefficient lambda (Table 3 of the GMC paper, in small).

    simgmc run scenarios/detached_lambda.toml --data-dir DATA
    python analysis/detached_lambda.py runs/detached_lambda [--out analysis/results/detached_lambda.png]

Prints the table (mean and standard deviation over seeds) and draws it.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from simgmc.results.directory.run_directory import open_run
from simgmc.results.figures.looks import look
from simgmc.results.series.read import read_results
from simgmc.results.series.summary import summarize

STYLE = Path(__file__).parents[1] / "simgmc" / "results" / "figures" / "simgmc.mplstyle"


def cell(mean: float, deviation: float) -> str:
    """A cell of the table."""
    return "diverged" if math.isnan(mean) else f"{mean:.2f} ± {deviation:.2f}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("detached_lambda.png"))
    arguments = parser.parse_args()
    rows = {row.method: row.final for row in summarize(read_results(open_run(arguments.run)))}
    baseline = rows.pop("DMSGD")
    assert baseline is not None, "DMSGD diverged"
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for method, final in rows.items():
        name, _, value = method.rpartition(" ")
        found = (math.nan, math.nan) if final is None else (100 * final.mean, 100 * (final.std or 0.0))
        curves.setdefault(name, []).append((float(value), *found))
    print("| lambda | " + " | ".join(curves) + " |\n| --- |" + " --- |" * len(curves))
    for index, (coefficient, *_) in enumerate(next(iter(curves.values()))):
        print(f"| {coefficient:g} | " + " | ".join(cell(*points[index][1:]) for points in curves.values()) + " |")
    print(f"\nDMSGD, uncompressed: {100 * baseline.mean:.2f} ± {100 * (baseline.std or 0.0):.2f}")
    with pyplot.style.context(STYLE):
        figure, axes = pyplot.subplots(figsize=(3.5, 2.6), layout="constrained")
        for name, points in curves.items():
            values, means, deviations = zip(*points, strict=True)
            failed = [value for value, mean in zip(values, means, strict=True) if math.isnan(mean)]
            lost = f" (diverged at λ = {', '.join(f'{value:g}' for value in failed)})" if failed else ""
            axes.errorbar(values, means, deviations, capsize=2, label=name + lost, **look([*curves], name))
        axes.axhline(100 * baseline.mean, color="0.4", linestyle="--", linewidth=0.8, label="DMSGD, uncompressed")
        axes.set(xlabel="detached coefficient λ", ylabel="test accuracy (%)")
        axes.legend()
        figure.savefig(arguments.out, dpi=200)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()
