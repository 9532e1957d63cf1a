"""Tables 1 and 2 of the GMC paper beside the paper's figures.

    simgmc run scenarios/gmc_tables_small.toml --data-dir DATA
    quick="--data-dir DATA --set workload.precision=bfloat16"
    simgmc run scenarios/gmc_cifar10_noniid.toml $quick --set workload.epochs=6
    simgmc run scenarios/gmc_cifar10_iid.toml $quick --set workload.epochs=6
    simgmc run scenarios/gmc_cifar10_iid.toml $quick --set workload.epochs=40 --method DMSGD --method GMC \\
        --out runs/iid40
    cd runs && python ../analysis/gmc_tables.py gmc_tables_small gmc_cifar10_noniid gmc_cifar10_iid iid40 [--out FILE]

Prints final accuracy (mean and standard deviation over seeds), relative communication cost
(equation 9, reading U) and simulated time of every method, IID and Dirichlet 0.1, as Markdown.
Runs of the same partition and workload share a table.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

from simgmc.core.quantities import time_text
from simgmc.results.directory.run_directory import open_run
from simgmc.results.series.read import read_results, transport_text
from simgmc.results.series.summary import summarize

PAPER = {
    "iid": {
        "DMSGD": "≈ 92",
        "DGC w/ mfm": "≈ 92",
        "DGC w/o mfm": "≈ 92",
        "CSER": "91.7",
        "DEF-A": "≈ 92",
        "GMC": "≈ 92",
    },
    "dirichlet": {
        "DMSGD": "-",
        "DGC w/ mfm": "67.1",
        "DGC w/o mfm": "81.9",
        "CSER": "78.7",
        "DEF-A": "82.2",
        "GMC": "86.5",
    },
}
"""CIFAR-10 accuracy in percent: ResNet-20-BN with IID data, ResNet-20-GN with Dirichlet 0.1."""
PAPER_RCC = {"DMSGD": "100", "CSER": "0.62-0.70"}
OTHERS_RCC = "0.63-0.66"


TITLES = {"iid": "IID", "dirichlet": "Dirichlet 0.1"}


def rows_of(directory: Path) -> dict[tuple[str, str], dict[str, dict]]:
    """By partition and workload, by method: what the run found, its times by collective."""
    run = open_run(directory)
    scenario = tomllib.loads(run.scenario_text())
    workload, seeds = scenario["workload"], len(scenario["seeds"])
    model = " ".join(str(workload["model"][key]) for key in ("name", "hidden", "norm") if key in workload["model"])
    settings = (
        f"{model} on {workload['dataset']['name']}, {workload.get('precision', 'float32')}, {workload['epochs']:g} "
        f"epochs, {seeds} seed{'s' * (seeds > 1)}"
    )
    results = read_results(run, methods=[method["name"] for method in scenario["methods"]])
    found: dict[tuple[str, str], dict[str, dict]] = {}
    for row in summarize(results):
        if row.unfinished:
            continue
        partition = str(dict(row.point.grid).get("workload.partition", workload["partition"]))
        kind = next(kind for kind in TITLES if kind in partition)
        one = found.setdefault((kind, settings), {}).setdefault(
            row.method, {"final": row.final, "rcc": row.rcc, "times": {}}
        )
        one["times"][transport_text(row.transport)] = time_text(row.sim_time_s.mean)
    return found


def tables(directories: list[Path]) -> str:
    """The runs' results and the paper's, as Markdown."""
    merged: dict[tuple[str, str], dict[str, dict]] = {}
    for directory in directories:
        for place, methods in rows_of(directory).items():
            merged.setdefault(place, {}).update(methods)
    lines = []
    for (kind, settings), methods in merged.items():
        clusters = list(dict.fromkeys(name for one in methods.values() for name in one["times"]))
        titles = [
            "method",
            "accuracy %, here",
            "accuracy %, paper",
            "RCC %, here",
            "RCC %, paper",
            *(f"simulated, {name}" for name in clusters),
        ]
        lines += [f"### {TITLES[kind]}: {settings}", "", f"| {' | '.join(titles)} |", "|" + " --- |" * len(titles)]
        for method, one in sorted(methods.items(), key=lambda item: -item[1]["final"].mean):
            deviation = "" if one["final"].std is None else f" ± {100 * one['final'].std:.2f}"
            cells = [
                method,
                f"{100 * one['final'].mean:.2f}{deviation}",
                PAPER[kind].get(method, "-"),
                f"{100 * one['rcc'].mean:.3f}",
            ]
            cells += [PAPER_RCC.get(method, OTHERS_RCC), *(one["times"].get(name, "-") for name in clusters)]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines.append(
        "Sorted by accuracy. Paper: ResNet-20 on CIFAR-10, 200 epochs, batch norm with IID data, group norm with "
        "Dirichlet 0.1."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    text = tables(arguments.runs)
    print(text)
    if arguments.out:
        title, commands = __doc__.split("\n\n")[:2]
        arguments.out.write_text(f"# {title}\n\n{commands}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
