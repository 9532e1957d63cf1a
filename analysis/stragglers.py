"""What one slow worker costs each method, from a run of scenarios/swarm_stragglers.toml.

    simgmc run scenarios/swarm_stragglers.toml --data-dir DATA
    python analysis/stragglers.py runs/swarm_stragglers --out analysis/results/stragglers

writes ``stragglers.md``, a table, and ``stragglers.png``: time to the target and to the end
without and with the slow worker, their ratios, idle shares and staleness.
"""

from __future__ import annotations

import argparse
import tomllib
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

from simgmc.results.directory.details import idle_share
from simgmc.results.directory.run_directory import RunDirectory, open_run
from simgmc.results.series.reach import Ratio, Reach, advantage
from simgmc.results.series.read import ComparisonPoint, Results, read_results

STYLE = Path(__file__).parents[1] / "simgmc" / "results" / "figures" / "simgmc.mplstyle"
SLOWDOWN = "cluster.hosts.worker3.slowdown"
GANTT = {
    "all-reduce DMSGD": "stragglers_all_reduce.png",
    "SwarmSGD": "stragglers_swarm.png",
    "SwarmSGD, blocking": "stragglers_swarm_blocking.png",
}
COLOURS = ("#9aa3ad", "#d1495b")
"""Without and with the slow worker."""


@dataclass(frozen=True)
class Case:
    """A method with all workers alike, or with a slow one; arrays over the seeds."""

    reach: Reach
    seconds: np.ndarray
    """Simulated time of the whole training."""
    final: np.ndarray
    """Accuracy at its end."""
    idle: float
    """Share of the time in which a worker neither computed nor compressed, the mean over workers and seeds."""
    idle_slow: float
    """Of the worker that is or will be slow."""
    staleness: tuple[float, int] | None
    """Mean and maximum over all gradients; None where there is none."""


def case(run: RunDirectory, results: Results, method: str, point: ComparisonPoint, target: float) -> Case:
    """What the run found there."""
    details, series = run.details(), results.at(method, point)
    found = [details[one.key] for one in series]
    idle = np.array([idle_share(one.seconds) for one in found])
    counts: dict[int, int] = {}
    for one in found:
        for staleness, count in one.staleness.items():
            counts[staleness] = counts.get(staleness, 0) + count
    total = sum(counts.values())
    return Case(
        reach=results.reach(method, point, target),
        seconds=np.array([one.finished.sim_time_s for one in series]),
        final=np.array([one["test_accuracy"][-1] for one in series]),
        idle=float(idle.mean()),
        idle_slow=float(idle[:, 3].mean()),
        staleness=(sum(s * n for s, n in counts.items()) / total, max(counts)) if total else None,
    )


def table(cases: dict[str, tuple[Case, ...]], scenario: dict, seeds: int) -> str:
    """Markdown."""
    target = scenario["report"]["target"]
    lines = [
        f"One of eight workers five times slower: simulated seconds to {100 * target:g} % test accuracy (mean ± "
        f"standard deviation over {seeds} seeds) and to the end of {scenario['workload']['epochs']:g} epochs, without "
        "and with the slow worker.",
        "",
        "    simgmc run scenarios/swarm_stragglers.toml --data-dir DATA",
        "    python analysis/stragglers.py runs/swarm_stragglers --out analysis/results/stragglers",
        "",
        "| method | to target, without | with | times | to the end, without | with | times | idle %, without | with | "
        "idle % of the slow one | staleness with, mean (max) | accuracy % at the end, with |",
        "|" + " --- |" * 12,
    ]
    for method, (alike, slow) in cases.items():
        ratio = advantage(alike.reach, slow.reach)
        staleness = "-" if slow.staleness is None else f"{slow.staleness[0]:.2f} ({slow.staleness[1]})"
        lines.append(
            f"| {method} | {_reach(alike.reach)} | {_reach(slow.reach)} | **{_ratio(ratio)}** | "
            f"{alike.seconds.mean():.1f} | {slow.seconds.mean():.1f} | "
            f"**{slow.seconds.mean() / alike.seconds.mean():.2f}×** | {100 * alike.idle:.0f} | {100 * slow.idle:.0f} | "
            f"{100 * slow.idle_slow:.0f} | {staleness} | {100 * slow.final.mean():.1f} ± "
            f"{100 * slow.final.std(ddof=1):.1f} |"
        )
    slowdown = max(scenario["grid"][SLOWDOWN])
    workers = scenario["workload"]["workers"]
    lines += [
        "",
        f"With the slow worker {workers} workers compute {workers - 1 + 1 / slowdown:g} times what one does: a method "
        f"that waits for nobody must take {workers / (workers - 1 + 1 / slowdown):.2f} times as long for the same "
        f"gradients. A barrier multiplies the time of the gradients by {slowdown}, and leaves the communication, and "
        "what the others' unequal times cost before, as it was. A time to the target is known to within "
        f"{scenario['workload']['evaluate_every']}, the time between two evaluations. The rates were chosen among "
        "four each by one run without a slow worker (seed 100); they and the target were settled after seeing those "
        "runs, before these.",
        "",
        "![Time to target and idle share](stragglers.png)",
        "",
        "Who waits for whom, `simgmc timeline runs/swarm_stragglers --at "
        + SLOWDOWN
        + "=5 --rounds 2:5 --method ...`, of "
        "all-reduce DMSGD, SwarmSGD, and SwarmSGD, blocking (worker3 is the slow one; whoever wants to meet it waits):",
        "",
        *(f"![Gantt chart of {method}]({file})" for method, file in GANTT.items()),
    ]
    return "\n".join(lines) + "\n"


def _ratio(ratio: Ratio | None) -> str:
    return "-" if ratio is None else f"{'' if ratio.bound == '=' else ratio.bound + ' '}{ratio.value:.2f}×"


def _reach(reach: Reach) -> str:
    spread, missed = reach.spread, len(reach.spent)
    if spread is None:
        return f"> {reach.at_least:.1f}"
    return (
        f"{spread.mean:.1f}"
        + (f" ± {spread.std:.1f}" if spread.std is not None else "")
        + (f" ({missed} missed)" if missed else "")
    )


def draw(cases: dict[str, tuple[Case, ...]], target: float, path: Path) -> None:
    """Bars: time to the target, and idle share, without and with the slow worker."""
    figure, (times, idle) = pyplot.subplots(1, 2, figsize=(7, 3.6), sharey=True, layout="constrained")
    places = np.arange(len(cases))
    for index, (colour, label) in enumerate(zip(COLOURS, ("eight alike", "one 5× slower"), strict=True)):
        each = [pair[index] for pair in cases.values()]
        means = [one.reach.at_least for one in each]
        stds = [one.reach.spread.std or 0.0 if one.reach.spread else 0.0 for one in each]
        offset = (index - 0.5) * 0.38
        times.barh(places + offset, means, 0.36, xerr=stds, color=colour, label=label, error_kw={"lw": 1})
        idle.barh(places + offset, [100 * one.idle for one in each], 0.36, color=colour)
    for place, (alike, slow) in zip(places, cases.values(), strict=True):
        ratio = advantage(alike.reach, slow.reach)
        end = slow.reach.at_least + (slow.reach.spread.std or 0.0 if slow.reach.spread else 0.0)
        times.annotate(_ratio(ratio), (end, place + 0.19), (5, 0), textcoords="offset points", va="center")
    _axis(times, f"simulated time to {100 * target:g} % accuracy (s)")
    times.margins(x=0.2)
    times.set_yticks(places, list(cases))
    times.invert_yaxis()
    _axis(idle, "idle share of the workers' time (%)")
    idle.set_xlim(0, 100)
    figure.legend(*times.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=200)
    pyplot.close(figure)


def _axis(axes: Axes, label: str) -> None:
    axes.set_xlabel(label)
    axes.grid(axis="y", visible=False)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="of the files, without their ends")
    arguments = parser.parse_args()
    run = open_run(arguments.run)
    scenario = tomllib.loads(run.scenario_text())
    target: float = scenario["report"]["target"]
    methods: list[str] = [method["name"] for method in scenario["methods"]]
    results = read_results(run, methods=methods)
    points = sorted(results.points, key=lambda point: float(dict(point.grid)[SLOWDOWN]))
    cases = {method: tuple(case(run, results, method, point, target) for point in points) for method in methods}
    text = table(cases, scenario, len(scenario["seeds"]))
    print(text)
    arguments.out.with_suffix(".md").write_text(text, encoding="utf-8")
    with pyplot.style.context(STYLE):
        draw(cases, target, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
