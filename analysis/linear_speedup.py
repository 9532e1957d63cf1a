"""Linear speed-up in the number of workers: loss against simulated time of PD-SGDM and SwarmSGD.

    python analysis/linear_speedup.py --data-dir DATA --runs runs/linear_speedup --out analysis/results/linear_speedup

trains with 1, 2, 4, 8 and 16 workers, each with the same batch, and a learning rate in proportion
to their number; writes ``linear_speedup.md`` and ``linear_speedup.png``. The theorems (Gao and
Huang 2020; Nadiradze et al. 2021) say that the error after T steps falls like 1 / sqrt(K T) where
the noise of the minibatches rules: K workers need a K-th of the steps. For comparison one worker
is trained with the rate of sixteen, too: nobody averages its noise away.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

import simgmc
from simgmc.results.directory.run_directory import open_run
from simgmc.results.series.curves import curve
from simgmc.results.series.measures import GAP
from simgmc.results.series.read import Results, read_results

STYLE = Path(__file__).parents[1] / "simgmc" / "results" / "figures" / "simgmc.mplstyle"
WORKERS = (1, 2, 4, 8, 16)
METHODS = {"PD-SGDM": "pd-sgdm", "SwarmSGD": "swarm-sgd-non-blocking"}
TARGETS = (0.03, 0.015)
"""Gaps F - F*, above where the noise holds a method with these rates."""
RATE = 0.002
"""Learning rate per worker."""


def scenario(workers: int, seeds: list[int], rate: float) -> dict[str, Any]:
    """Logistic regression on a9a, whose samples all workers share, on a network that costs next to nothing."""
    return {
        "seeds": seeds,
        "workload": {
            "problem": {
                "name": "logistic-regression",
                "dataset": "a9a",
                "regularisation": 1e-3,
                "partition": "iid",
                "batch_per_worker": 4,
            },
            "workers": workers,
            "epochs": 0.6,
            "evaluate_every": "0.005 epochs",
        },
        "optimizer": {"learning_rate": rate, "momentum": 0.9},
        "cluster": {
            "topology": "star",
            "bandwidth": "10 Gbit/s",
            "latency": "10 us",
            "collective": "ring",
            "compute": {"gradient": "10 ms", "compression": "0.1 ms", "aggregation": "0.1 ms"},
            "stragglers": {"sigma": 0.1},
        },
        "gossip": {"graph": "ring"},
        "methods": [{"name": name, "algorithm": algorithm, "period": 4} for name, algorithm in METHODS.items()],
        "report": {"metric": "gap", "target": min(TARGETS), "baseline": "PD-SGDM", "single_workers": False},
    }


def table(found: dict[int, Results], alone: Results, seeds: int) -> str:
    """Markdown: time to each gap, and how many times sooner than one worker."""
    lines = [
        f"Time to a gap F − F* on a9a against the number of workers (mean ± standard deviation over {seeds} seeds; in "
        "brackets how many times sooner than one worker). Batch 4 a worker, momentum 0.9, 4 local steps, gossip on a "
        f"ring, learning rate {RATE:g} times the workers, a gradient takes 10 ms (log-normal, 0.1), 10 Gbit/s and 10 "
        "µs.",
        "",
        "    python analysis/linear_speedup.py --data-dir DATA --runs runs/linear_speedup --out "
        "analysis/results/linear_speedup",
        "",
        "| workers |"
        + "".join(f" {method}, gap {target:g} |" for method in METHODS for target in TARGETS)
        + " time per step, PD-SGDM | SwarmSGD |",
        "|" + " --- |" * (3 + len(METHODS) * len(TARGETS)),
    ]
    for workers, results in found.items():
        cells = [_cell(found, workers, method, target) for method in METHODS for target in TARGETS]
        steps = [
            1e3
            * np.mean([one.finished.sim_time_s / one.finished.rounds for one in results.at(method, results.points[0])])
            for method in METHODS
        ]
        steps[0] /= 4  # a round of PD-SGDM is four steps
        lines.append(f"| {workers} | {' | '.join(cells)} | {' | '.join(f'{one:.2f} ms' for one in steps)} |")
    ends = [series["gap"][len(series["gap"]) // 2 :] for series in alone.at("PD-SGDM", alone.points[0])]
    sixteen = [
        series["gap"][len(series["gap"]) // 2 :]
        for series in found[max(found)].at("PD-SGDM", found[max(found)].points[0])
    ]
    lines += [
        "",
        f"The gap over the second half of the training is {np.mean(sixteen):.3f} on average with {max(found)} workers "
        f"(PD-SGDM), and {np.mean(ends):.3f} with one worker of the same rate: it is the averaging that lets the rate "
        "grow with the workers. What PD-SGDM lacks of a linear speed-up is the time in which it waits for its "
        "neighbours, whose gradients take unequally long; SwarmSGD waits for nobody. The rate for one worker and the "
        "two gaps were chosen after a trial with 1 and 16 workers, so that minibatch noise matters and every number "
        "of workers gets there.",
    ]
    lines += ["", "![Gap over time and time to a gap](linear_speedup.png)"]
    return "\n".join(lines) + "\n"


def _cell(found: dict[int, Results], workers: int, method: str, target: float) -> str:
    spread = _time(found[workers], method, target)
    one = _time(found[min(found)], method, target)
    if spread is None:
        return "not reached"
    times = f" ({one.mean / spread.mean:.1f}×)" if one else ""
    return f"{spread.mean:.2f} ± {spread.std or 0:.2f} s{times}"


def _time(results: Results, method: str, target: float):
    return results.reach(method, results.points[0], target).spread


def draw(found: dict[int, Results], alone: Results, path: Path) -> None:
    """Gap over time with each number of workers, and time to the gaps over the number of workers."""
    figure, panels = pyplot.subplots(1, 3, figsize=(8, 3.4), layout="constrained")
    colours = pyplot.get_cmap("viridis")(np.linspace(0, 0.88, len(found)))
    lines = [
        (f"{workers} worker" + "s" * (workers > 1), results, {"color": colour})
        for colour, (workers, results) in zip(colours, found.items(), strict=True)
    ]
    lines.append((f"1 worker, rate of {max(found)}", alone, {"color": "0.6", "zorder": 1}))
    for axes, method in zip(panels, METHODS, strict=False):
        for label, results, style in lines:
            line = curve(results, method, results.points[0], "sim_time_s")
            assert line is not None
            later = line.x > 0
            axes.plot(line.x[later], line.mean[later], lw=1.1, label=label, **style)
        for target in TARGETS:
            axes.axhline(target, color="0.4", lw=0.8, ls="--")
        axes.set(title=method, xscale="log", yscale="log", xlabel="simulated time (s)")
        axes.set_yticks([0.01, 0.03, 0.1, 0.3])
    panels[0].set_ylabel("gap F(w) − F*")
    lowest, highest = zip(*(axes.get_ylim() for axes in panels[:2]), strict=True)
    for axes in panels[:2]:
        axes.set_ylim(min(lowest), max(highest))
    _scaling(panels[2], found)
    for axes in panels:
        axes.minorticks_off()
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
    figure.legend(*panels[2].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    figure.savefig(path, dpi=200)
    pyplot.close(figure)


def _scaling(axes: Axes, found: dict[int, Results]) -> None:
    for colour, method in zip(("C2", "C0"), METHODS, strict=True):
        for marker, target in zip("os", TARGETS, strict=True):
            spreads = {workers: _time(results, method, target) for workers, results in found.items()}
            reached = {workers: spread for workers, spread in spreads.items() if spread}
            if reached:
                means, stds = [one.mean for one in reached.values()], [one.std or 0 for one in reached.values()]
                axes.errorbar(
                    list(reached),
                    means,
                    stds,
                    color=colour,
                    marker=marker,
                    ms=4,
                    lw=1,
                    label=f"{method}, gap {target:g}",
                )
    begin = max(
        spread.mean for method in METHODS for target in TARGETS if (spread := _time(found[min(found)], method, target))
    )
    ideal = np.array(list(found))
    axes.plot(ideal, begin * ideal[0] / ideal, color="0.4", ls=":", label="linear speed-up")
    axes.set(title="time to a gap", xscale="log", yscale="log", xlabel="workers", ylabel="simulated time (s)")
    axes.set_xticks(list(found))
    axes.set_yticks([1, 3, 10, 30])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument(
        "--runs",
        type=Path,
        required=True,
        help="where the five run directories go; finished ones are taken as they are",
    )
    parser.add_argument("--out", type=Path, required=True, help="of the files, without their ends")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    seeds = list(range(1, arguments.seeds + 1))
    found = {}
    for name, workers, rate in (
        *((f"{workers}-workers", workers, RATE * workers) for workers in WORKERS),
        ("alone", 1, RATE * max(WORKERS)),
    ):
        run = simgmc.run(scenario(workers, seeds, rate), out=arguments.runs / name, data_dir=arguments.data_dir)
        found[name] = read_results(open_run(run), methods=list(METHODS), measure=GAP)
    alone = found.pop("alone")
    by_workers = dict(zip(WORKERS, found.values(), strict=True))
    text = table(by_workers, alone, len(seeds))
    print(text)
    arguments.out.with_suffix(".md").write_text(text, encoding="utf-8")
    with pyplot.style.context(STYLE):
        draw(by_workers, alone, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
