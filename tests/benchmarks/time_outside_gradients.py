"""Where the wall-clock time of a scenario goes: gradients, and everything else.

    python tests/benchmarks/time_outside_gradients.py [SCENARIO] [--set KEY=VALUE ...]

Runs the scenario as ``simgmc run`` does, with the clock read around every gradient call,
evaluation, compression, aggregation, network simulation and plot. Shares of one run.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console

from simgmc import reporting, running, simulation
from simgmc.scenario import ScenarioFile
from simgmc.training.stacked import StackedTrainer
from simgmc.training.workload import ClassificationWorkload

spent: dict[str, float] = defaultdict(float)
nested: list[float] = []


def timed(part: str, function):
    """Own time of ``function``: what calls inside it already count is not counted twice."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        start = time.perf_counter()
        nested.append(0.0)
        try:
            return function(*args, **kwargs)
        finally:
            whole = time.perf_counter() - start
            spent[part] += whole - nested.pop()
            if nested:
                nested[-1] += whole

    return wrapped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", nargs="?", default=str(Path(__file__).parents[2] / "scenarios" / "quickstart.toml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--data-dir")
    arguments = parser.parse_args()
    from simgmc.cli import _toml_value

    settings = [(key, _toml_value(value)) for key, _, value in (text.partition("=") for text in arguments.settings)]
    ClassificationWorkload.gradients = timed("gradients", ClassificationWorkload.gradients)
    ClassificationWorkload.evaluate = timed("evaluation", ClassificationWorkload.evaluate)
    StackedTrainer.run_round = timed("algorithm, compression, aggregation", StackedTrainer.run_round)
    simulation.simulate = timed("network simulation", simulation.simulate)
    reporting.draw_plots = timed("plots", reporting.draw_plots)
    whole = timed("everything else (data, set-up, files, tables)", running.run)
    file = ScenarioFile.read(arguments.scenario, settings)
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        start = time.perf_counter()
        whole(file, out=out, device="cpu", data_dir=arguments.data_dir, console=Console(file=io.StringIO()))
        total = time.perf_counter() - start
    print(f"{arguments.scenario}: {total:.1f} s")
    for part, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {seconds:8.2f} s  {seconds / total:6.1%}  {part}")
    print(f"  outside gradients: {1 - spent['gradients'] / total:.1%}")


if __name__ == "__main__":
    main()
