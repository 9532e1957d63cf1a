"""A small GPT over a wide-area network: each method at its best learning rate.

    python analysis/char_gpt.py --data-dir DATA [--runs runs/char_gpt] [--out analysis/results/char_gpt]

Trains every method of scenarios/char_gpt.toml with three rates, a factor of 3 apart, around a first guess. While a
method's best rate is the lowest or the highest that was tried, the next one in that direction is tried too, at most
four times. Then the best rate is trained with a second seed. What is finished is not trained again. Writes OUT.md,
how all of them did, and OUT.png, each method's best against simulated time.
"""

from __future__ import annotations

import argparse
import math
import tomllib
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

import simgmc
from simgmc.results.directory.run_directory import open_run
from simgmc.results.figures.looks import look
from simgmc.results.series.read import read_results

ROOT = Path(__file__).parents[1]
SCENARIO = ROOT / "scenarios" / "char_gpt.toml"
STYLE = ROOT / "simgmc" / "results" / "figures" / "simgmc.mplstyle"
FACTOR = 3
FURTHER = 4
"""Times that a method's grid is made longer at most."""
GUESSES = {"GMC": 0.1, "top-k AdamW": 0.001}
"""The first guess of a rate; of all others 0.003."""
SEEDS = (1, 2)

TEXT = """# A small GPT over a wide-area network

    python analysis/char_gpt.py --data-dir DATA --out analysis/results/char_gpt

A GPT of 106,880 parameters on Tiny Shakespeare for 0.6 epochs (294 steps of 4 workers x 8 blocks of 64 characters),
over 100 Mbit/s and 50 ms from host to host. Every method with rates a factor of 3 apart, on from a first guess until
the best stands between two that are worse (seed 1), and the best with seed 2 too. So short a training says more of
the time that the network takes than of where the losses would end. The picture shows each method at its best rate.

| method | learning rate | final loss | with seed 2 | simulated time (s) |
| --- | --- | --- | --- | --- |
"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--runs", type=Path, default=Path("runs/char_gpt"))
    parser.add_argument("--out", type=Path, default=Path("char_gpt"), help="without suffix")
    arguments = parser.parse_args()
    scenario = tomllib.loads(SCENARIO.read_text(encoding="utf-8"))
    names = [method["name"] for method in scenario["methods"]]

    def trained(name: str, rate: float, seed: int) -> Any:
        methods = [{**method, "learning_rate": rate} for method in scenario["methods"] if method["name"] == name]
        alone = {**scenario, "methods": methods, "seeds": [seed], "report": {**scenario["report"], "baseline": name}}
        path = arguments.runs / f"{name} {rate:g} seed {seed}".replace(" ", "_")
        run = simgmc.run(alone, out=path, data_dir=arguments.data_dir, quiet=True, plots=False)
        print(f"{name}, learning rate {rate:g}, seed {seed}: done", flush=True)
        return read_results(open_run(run)).series[0]

    rows, best = [], {}
    for name in names:
        found = searched(lambda rate, name=name: trained(name, rate, SEEDS[0]), GUESSES.get(name, 0.003))
        rate = min(found, key=lambda rate: final(found[rate]))
        best[name] = rate, [found[rate], *(trained(name, rate, seed) for seed in SEEDS[1:])]
        for tried in sorted(found):
            mark, again = (" (best)", f"{final(best[name][1][-1]):.3f}") if tried == rate else ("", "")
            seconds = found[tried]["sim_time_s"][-1]
            rows.append(f"| {name} | {tried:g}{mark} | {final(found[tried]):.3f} | {again} | {seconds:.0f} |")
    arguments.out.with_suffix(".md").write_text(TEXT + "\n".join(rows) + "\n", encoding="utf-8")
    with pyplot.style.context(STYLE):
        figure, axes = pyplot.subplots(figsize=(4.5, 3.0), layout="constrained")
        for name in names:
            rate, seeds = best[name]
            for one, label in zip(seeds, (f"{name}, {rate:g}", None), strict=True):
                axes.plot(one["sim_time_s"][1:], one["test_loss"][1:], label=label, **look(names, name))
        axes.set(xscale="log", xlabel="simulated time (s)", ylabel="test loss (nats per character)")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.legend(title="method, learning rate; two seeds each")
        figure.savefig(arguments.out.with_suffix(".png"), dpi=200)
    print(f"{arguments.out}.md and {arguments.out}.png")


def searched(trained: Any, guess: float) -> dict[float, Any]:
    """What was trained at each rate, on until the best one is neither the lowest nor the highest."""
    places = {place: trained(_rate(guess, place)) for place in (-1, 0, 1)}
    for _ in range(FURTHER):
        best = min(places, key=lambda place: final(places[place]))
        if min(places) < best < max(places):
            break
        place = best + (1 if best == max(places) else -1)
        places[place] = trained(_rate(guess, place))
    return {_rate(guess, place): one for place, one in places.items()}


def _rate(guess: float, place: int) -> float:
    return float(f"{guess * FACTOR**place:.2g}")


def final(one: Any) -> float:
    """The last test loss; infinite where the training diverged."""
    loss = float(one["test_loss"][-1])
    return loss if math.isfinite(loss) else math.inf


if __name__ == "__main__":
    main()
