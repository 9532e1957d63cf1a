"""Tables 1 and 2 of the GMC paper, in small, beside the paper's figures.

    simgmc run scenarios/gmc_tables_small.toml --data-dir DATA
    python analysis/gmc_tables.py runs/gmc_tables_small [--out analysis/results/gmc_tables.md]

Prints final accuracy (mean and standard deviation over seeds) and relative communication
cost (equation 9, reading U) of every method, IID and Dirichlet 0.1, as Markdown.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

from simgmc.results.run_directory import open_run
from simgmc.results.series import read_results
from simgmc.results.summary import summarize

PAPER = {
    "iid": {"DMSGD": "≈ 92", "DGC w/ mfm": "≈ 92", "DGC w/o mfm": "≈ 92", "CSER": "91.7", "DEF-A": "≈ 92", "GMC": "≈ 92"},
    "dirichlet": {"DMSGD": "-", "DGC w/ mfm": "67.1", "DGC w/o mfm": "81.9", "CSER": "78.7", "DEF-A": "82.2", "GMC": "86.5"},
}
"""CIFAR-10 accuracy in percent: ResNet-20-BN with IID data, ResNet-20-GN with Dirichlet 0.1."""
PAPER_RCC = {"DMSGD": "100", "CSER": "0.62-0.70"}
OTHERS_RCC = "0.63-0.66"


def table(directory: Path) -> str:
    """The run's results and the paper's, as Markdown."""
    run = open_run(directory)
    scenario = tomllib.loads(run.scenario_text())
    methods = [method["name"] for method in scenario["methods"]]
    results = read_results(run, methods=methods)
    rows = summarize(results, target=scenario["report"]["target"], baseline=scenario["report"]["baseline"])
    lines = []
    for kind, title in (("iid", "IID"), ("dirichlet", "Dirichlet 0.1")):
        lines += [
            f"### {title}",
            "",
            "| method | accuracy %, here | accuracy %, paper | RCC %, here | RCC %, paper |",
            "| --- | --- | --- | --- | --- |",
        ]
        chosen = [row for row in rows if kind in str(dict(row.point.grid)["workload.partition"])]
        for row in sorted(chosen, key=lambda row: -row.final.mean):
            deviation = "" if row.final.std is None else f" ± {100 * row.final.std:.2f}"
            accuracy = f"{100 * row.final.mean:.2f}{deviation}"
            paper_rcc = PAPER_RCC.get(row.method, OTHERS_RCC)
            lines.append(f"| {row.method} | {accuracy} | {PAPER[kind][row.method]} | {100 * row.rcc.mean:.3f} | {paper_rcc} |")
        lines.append("")
    workload = scenario["workload"]
    lines.append(
        f"Here: {workload['model']['name']} {workload['model'].get('hidden', '')} on {workload['dataset']['name']}, "
        f"{workload['epochs']:g} epochs, {len(scenario['seeds'])} seeds, sorted by accuracy. "
        "Paper: ResNet-20 on CIFAR-10, 200 epochs."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    text = table(arguments.run)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
