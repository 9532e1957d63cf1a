"""A small GPT over a wide-area network: each method at its best learning rate of a small grid.

    python analysis/char_gpt.py --data-dir DATA [--runs runs/char_gpt] [--out analysis/results/char_gpt.png]

Runs scenarios/char_gpt.toml three times, with every method's first guess of a rate times 1/3, 1 and 3; what is
finished is not run again. Prints how all of them did and draws the best of each method against simulated time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

import simgmc
from simgmc.results.directory.run_directory import open_run
from simgmc.results.figures.looks import look
from simgmc.results.series.read import read_results
from simgmc.scenario import ScenarioFile

ROOT = Path(__file__).parents[1]
SCENARIO = ROOT / "scenarios" / "char_gpt.toml"
STYLE = ROOT / "simgmc" / "results" / "figures" / "simgmc.mplstyle"
FACTORS = (1 / 3, 1.0, 3.0)
GUESSES = {"GMC": 0.1}
"""The rate in the middle of the grid, of methods that do not step as Adam does; of those 0.003."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--runs", type=Path, default=Path("runs/char_gpt"))
    parser.add_argument("--out", type=Path, default=Path("char_gpt.png"))
    arguments = parser.parse_args()
    methods = ScenarioFile.read(SCENARIO).points[0].scenario.methods
    names, found = [method.name for method in methods], {}
    for factor in FACTORS:
        rates = {name: float(f"{factor * GUESSES.get(name, 0.003):.2g}") for name in names}
        settings = {f"methods.{name}.learning_rate": rate for name, rate in rates.items()}
        path = simgmc.run(
            SCENARIO, out=arguments.runs / f"times_{factor:.2g}", settings=settings, data_dir=arguments.data_dir
        )
        for one in read_results(open_run(path)).series:
            found[one.key.method, rates[one.key.method]] = one
    print("| method | learning rate | final loss | simulated time (s) |\n| --- | --- | --- | --- |")
    best = {}
    for name in names:
        rates = sorted(rate for method, rate in found if method == name)
        best[name] = min(rates, key=lambda rate: found[name, rate]["test_loss"][-1])
        for rate in rates:
            one, mark = found[name, rate], " (best)" if rate == best[name] else ""
            print(f"| {name} | {rate:g}{mark} | {one['test_loss'][-1]:.3f} | {one['sim_time_s'][-1]:.0f} |")
    with pyplot.style.context(STYLE):
        figure, axes = pyplot.subplots(figsize=(4.5, 3.0), layout="constrained")
        for name in names:
            one = found[name, best[name]]
            axes.plot(one["sim_time_s"][1:], one["test_loss"][1:], label=f"{name}, {best[name]:g}", **look(names, name))
        axes.set(xscale="log", xlabel="simulated time (s)", ylabel="test loss (nats per character)")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(title="method, learning rate")
        figure.savefig(arguments.out, dpi=200)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()
