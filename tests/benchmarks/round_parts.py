"""Where the time of a whole round goes: gradients, compression, aggregation, simulation, evaluation.

    python tests/benchmarks/round_parts.py [--device cpu|cuda] [--rounds 20] [--models ...] [--out FILE.md]

Whole runs as ``simgmc run`` does them, 8 workers x 16 on 50,000 random images, with the clock read around every part.
``update`` is a method's own arithmetic on all workers' vectors. Evaluation on 10,000 images counts as
it comes about, once in the 391 rounds of an epoch. Start-up, files and plots, which do not
come again in every round, are left out. Means over the rounds after the first three.

    python tests/benchmarks/round_parts.py --scenario FILE [--set KEY=VALUE ...] [--data-dir DIR]

The same parts, start-up and plots of one scenario from its start to its end.
"""

from __future__ import annotations

import argparse
import functools
import io
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from simgmc.core.outside.settings import toml_value
from simgmc.experiment import assembly, synchronous
from simgmc.experiment import run as running
from simgmc.experiment.assembly import Given
from simgmc.results import report as reporting
from simgmc.scenario import ScenarioFile
from simgmc.training.rounds import StackedRound
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.dataset import Dataset

PARTS = ("gradient", "compress", "aggregate", "update", "simulate", "evaluate")
WARM_UP = 3
MODELS = {
    "MLP 784-256-10": ((1, 28, 28), {"name": "mlp", "hidden": [256]}),
    "CNN": ((3, 32, 32), {"name": "cnn"}),
    "ResNet-20 BN": ((3, 32, 32), {"name": "resnet20", "norm": "batch"}),
    "ResNet-20 GN": ((3, 32, 32), {"name": "resnet20", "norm": "group"}),
    "ViT-4": ((3, 32, 32), {"name": "vit", "depth": 4}),
}
METHODS = {
    "DMSGD": {"algorithm": "dmsgd"},
    "GMC 0.1 %": {"algorithm": "gmc", "compressor": {"name": "sampled-top-k", "density": 0.001}},
    "GMC 1 %, exact": {"algorithm": "gmc", "compressor": {"name": "top-k", "density": 0.01}},
}


class Watch:
    """Seconds and calls of every part; what a part calls that counts by itself is not counted twice."""

    def __init__(self, device: str):
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._device = device
        self._nested: list[float] = []

    def clear(self) -> None:
        self.seconds.clear()
        self.calls.clear()

    def timed(self, part: str, function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            start = self._now()
            self._nested.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                whole = self._now() - start
                self.seconds[part] += whole - self._nested.pop()
                self.calls[part] += 1
                if self._nested:
                    self._nested[-1] += whole

        return wrapped

    def _now(self) -> float:
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def watch(device: str) -> Watch:
    """Reads the clock around every part from now on."""
    found = Watch(device)
    ClassificationWorkload.gradients = found.timed("gradient", ClassificationWorkload.gradients)
    ClassificationWorkload.evaluate = found.timed("evaluate", ClassificationWorkload.evaluate)
    StackedRound._averaged = found.timed("aggregate", StackedRound._averaged)
    StackedRound._mix = found.timed("aggregate", StackedRound._mix)
    StackedRound._run = found.timed("update", StackedRound._run)
    synchronous.simulate = found.timed("simulate", synchronous.simulate)
    reporting.draw_plots = found.timed("plots", reporting.draw_plots)
    known, build = set(), assembly.build_stacked_trainer

    def built(*arguments):
        trainer = build(*arguments)
        for field in vars(trainer.algorithm).values():
            if hasattr(field, "density") and type(field) not in known:
                known.add(type(field))
                type(field).__call__ = found.timed("compress", type(field).__call__)
        return trainer

    assembly.build_stacked_trainer = built
    return found


def round_parts(found: Watch, model: str, method: str, rounds: int, device: str) -> dict[str, float]:
    """Seconds of a round, by part."""
    shape, network = MODELS[model]
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (50_000, *shape), dtype=np.uint8), rng.integers(0, 10, 50_000)
    data = Dataset(
        "given", images, labels, images[:10_000], labels[:10_000], 10, np.full(shape[0], 120.0), np.full(shape[0], 60.0)
    )
    content = {
        "name": "parts", "seeds": [1],
        "workload": {
            "dataset": {"name": "given", "digest": "random"}, "model": network, "workers": 8, "batch_per_worker": 16,
            "augment": shape[0] == 3, "rounds": rounds + WARM_UP, "evaluate_every": f"{rounds + WARM_UP} rounds",
        },
        "optimizer": {"learning_rate": 0.001},
        "cluster": {
            "topology": "star", "bandwidth": "100 Mbit/s", "latency": "1 ms", "collective": "parameter-server",
            "stragglers": {"sigma": 0.2},
            "compute": {"gradient": "1 ms", "compression": "1 ms", "aggregation": "1 ms"},
        },
        "methods": [METHODS[method]],
        "report": {"baseline": METHODS[method]["algorithm"]},
    }  # fmt: skip
    reporting.draw_plots = lambda *arguments, **options: {}
    seen, gradients = 0, ClassificationWorkload.gradients

    def counted(self, at, step):
        nonlocal seen
        if step == WARM_UP:
            found.clear()
        seen = max(seen, step + 1)
        return gradients(self, at, step)

    ClassificationWorkload.gradients = counted
    try:
        with tempfile.TemporaryDirectory() as out:
            running.run(
                ScenarioFile(content, "parts", ()),
                out=out,
                given=Given(data),
                device=device,
                console=Console(file=io.StringIO()),
            )
    finally:
        ClassificationWorkload.gradients = gradients
    assert seen == rounds + WARM_UP
    parts = {part: found.seconds[part] / rounds for part in PARTS}
    parts["simulate"] *= rounds / (rounds + WARM_UP)  # all rounds are simulated at the end
    parts["evaluate"] = found.seconds["evaluate"] / found.calls["evaluate"] / (50_000 / 128)
    return parts


def table(chosen: argparse.Namespace) -> str:
    """Markdown: milliseconds of every part, and the share outside gradients."""
    found = watch(chosen.device)
    lines = [
        f"| model | method | {' | '.join(f'{part}, ms' for part in PARTS)} | outside gradients |",
        "|" + " --- |" * (3 + len(PARTS)),
    ]  # fmt: skip
    for model in chosen.models:
        for method in METHODS:
            parts = round_parts(found, model, method, chosen.rounds, chosen.device)
            outside = 1 - parts["gradient"] / sum(parts.values())
            lines.append(
                f"| {model} | {method} | {' | '.join(f'{1e3 * parts[part]:.3g}' for part in PARTS)} | {outside:.1%} |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines)


def whole_scenario(chosen: argparse.Namespace) -> None:
    found = watch(chosen.device)
    settings = [(key, toml_value(value)) for key, _, value in (text.partition("=") for text in chosen.settings)]
    whole = found.timed("everything else (data, set-up, files, tables)", running.run)
    with tempfile.TemporaryDirectory() as out:
        file = ScenarioFile.read(chosen.scenario, settings)
        start = time.perf_counter()
        whole(file, out=out, device=chosen.device, data_dir=chosen.data_dir, console=Console(file=io.StringIO()))
        total = time.perf_counter() - start
    print(f"{chosen.scenario}: {total:.1f} s")
    for part, seconds in sorted(found.seconds.items(), key=lambda item: -item[1]):
        print(f"  {seconds:8.2f} s  {seconds / total:6.1%}  {part}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scenario")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--data-dir")
    chosen = parser.parse_args()
    if chosen.scenario:
        whole_scenario(chosen)
        return
    text = table(chosen)
    if chosen.out:
        what = __doc__.split("\n\n")[2]
        chosen.out.write_text(
            "# Where the time of a round goes\n\n    python tests/benchmarks/round_parts.py --out "
            f"{chosen.out}\n\n{what}\n\n{text}\n"
        )


if __name__ == "__main__":
    main()
