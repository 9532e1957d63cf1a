"""Where methods without a barrier or a server end on a convex problem, beside the centralised ones.

    simgmc run scenarios/asynchronous_convex.toml --data-dir DATA
    python analysis/asynchronous_convex.py runs/asynchronous_convex --out analysis/results/asynchronous_convex

writes ``asynchronous_convex.md``, a table, and ``asynchronous_convex.png``: the gap F - F* over the
epochs, smoothed by a running geometric mean, IID and with skewed labels.
"""

from __future__ import annotations

import argparse
import math
import tomllib
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter

from simgmc.results.directory.run_directory import open_run
from simgmc.results.figures.looks import look
from simgmc.results.series.measures import GAP
from simgmc.results.series.read import ComparisonPoint, Results, Series, read_results

STYLE = Path(__file__).parents[1] / "simgmc" / "results" / "figures" / "simgmc.mplstyle"
WINDOW = 7
"""Evaluations of the running mean."""
LINEAR = "ADSAGA"
ROUNDING = 1e-13
"""Gaps below are left out where a rate of convergence is measured."""


def level(series: Series) -> float:
    """Geometric mean of the gap over the second half of the training."""
    late = series["epoch"] >= series["epoch"][-1] / 2
    return math.exp(np.log(np.maximum(series["gap"][late], 1e-17)).mean())


def factor(series: Series) -> float:
    """By how much the gap falls in an epoch, by a straight line through its logarithm above rounding."""
    above = np.cumprod(series["gap"] > ROUNDING).astype(bool) & (series["epoch"] >= 1)
    return math.exp(np.polyfit(series["epoch"][above], np.log(series["gap"][above]), 1)[0])


def table(results: Results) -> str:
    """Markdown."""
    lines = [
        "Geometric mean of the gap F − F* over the second half of 25 epochs (a9a, regularisation 0.01, 8 workers, "
        "batch 64, constant rates that are the same step per epoch), and simulated seconds for all of them.",
        "",
        "    simgmc run scenarios/asynchronous_convex.toml --data-dir DATA",
        "    python analysis/asynchronous_convex.py runs/asynchronous_convex --out "
        "analysis/results/asynchronous_convex",
        "",
        "| method |" + "".join(f" {_title(results, point)} |" for point in results.points) + " simulated time |",
        "|" + " --- |" * (2 + len(results.points)),
    ]
    for method in results.methods:
        each = [results.at(method, point)[0] for point in results.points]
        lines.append(
            f"| {method} |"
            + "".join(f" {level(series):.1e} |" for series in each)
            + f" {each[0].finished.sim_time_s:.1f} s |"
        )
    rates = [f"{factor(results.at(LINEAR, point)[0]):.2f} ({_title(results, point)})" for point in results.points]
    lines += [
        "",
        f"{LINEAR} converges linearly: every epoch multiplies its gap by {' and '.join(rates)}, until rounding in "
        f"float64 ends it near {min(results.at(LINEAR, point)[0]['gap'].min() for point in results.points):.0e}.",
    ]
    lines += ["", "![Gap over epochs](asynchronous_convex.png)"]
    return "\n".join(lines) + "\n"


def _title(results: Results, point: ComparisonPoint) -> str:
    return ", ".join(results.values(point)).removeprefix("partition ")


def draw(results: Results, path: Path) -> None:
    """The gap over the epochs, a panel for each partition."""
    figure, panels = pyplot.subplots(1, len(results.points), figsize=(8, 3.6), sharey=True, layout="constrained")
    for axes, point in zip(panels, results.points, strict=True):
        for method in results.methods:
            (series,) = results.at(method, point)
            gap = np.log(np.maximum(series["gap"], 1e-17))
            smooth = [math.exp(gap[max(0, n - WINDOW // 2) : n + WINDOW // 2 + 1].mean()) for n in range(len(gap))]
            smooth[0] = series["gap"][0]
            axes.plot(
                series["epoch"],
                smooth,
                label=method,
                markevery=(2 * results.methods.index(method), 18),
                ms=4,
                **look(results.methods, method),
            )
        axes.set(title=_title(results, point), yscale="log", xlabel="epochs")
        axes.set_ylim(1e-15, 1)
        axes.set_yticks([10.0**n for n in range(-15, 1, 3)])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}" if value < 0.01 else f"{value:g}"))
    panels[0].set_ylabel("gap F(w) − F*")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=200)
    pyplot.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="of the files, without their ends")
    arguments = parser.parse_args()
    run = open_run(arguments.run)
    scenario = tomllib.loads(run.scenario_text())
    results = read_results(run, methods=[method["name"] for method in scenario["methods"]], measure=GAP)
    text = table(results)
    print(text)
    arguments.out.with_suffix(".md").write_text(text, encoding="utf-8")
    with pyplot.style.context(STYLE):
        draw(results, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
