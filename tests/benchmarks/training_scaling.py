"""How a round's time and a run's memory grow with the number of workers and of parameters.

    python tests/benchmarks/training_scaling.py [--workers 256] [--rounds 6] [--out training_scaling] [--curves ...]

Whole runs on random images, each in a process of its own: 1 ... 256 workers that
share a total batch of 256 samples, or that have 16 samples each; 10 K ... 25 M parameters with 8 workers. A round is
everything from one call of the gradients to the next: gradients, method, network simulation. Its
median is shown beside the time of one plain pass over as many samples in the same process, and the
largest resident memory beside what the run's header had predicted. Writes OUT.md and OUT.png.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOTAL, OWN = 256, 16
GMC = {"algorithm": "gmc", "compressor": {"name": "top-k", "density": 0.01}}
MLP, RESNET = {"name": "mlp", "hidden": [256]}, {"name": "resnet20", "norm": "group"}
CURVES = {
    "MLP, 256 samples in all": ("workers", MLP, {"algorithm": "dmsgd"}, lambda workers: TOTAL // workers),
    "MLP, 16 a worker": ("workers", MLP, {"algorithm": "dmsgd"}, lambda workers: OWN),
    "MLP, 16 a worker, GMC 1 %": ("workers", MLP, GMC, lambda workers: OWN),
    "ResNet-20, 256 samples in all": ("workers", RESNET, {"algorithm": "dmsgd"}, lambda workers: TOTAL // workers),
    "ResNet-20, 16 a worker, GMC 1 %": ("workers", RESNET, GMC, lambda workers: OWN),
    "MLP, 8 workers × 16": ("parameters", None, {"algorithm": "dmsgd"}, lambda width: OWN),
    "MLP, 8 workers × 16, GMC 1 %": ("parameters", None, GMC, lambda width: OWN),
}
WIDTHS = (13, 126, 1258, 12_579, 31_446)
"""Hidden widths of perceptrons 784-h-10 with 10 K, 100 K, 1 M, 10 M and 25 M parameters."""


def scenario(model: dict, method: dict, workers: int, batch: int, rounds: int) -> dict:
    return {
        "name": "scaling", "seeds": [1],
        "workload": {
            "dataset": {"name": "given", "digest": "random"}, "model": model, "workers": workers,
            "batch_per_worker": batch, "rounds": rounds, "evaluate_every": f"{rounds} rounds",
        },
        "optimizer": {"learning_rate": 0.001},
        "cluster": {
            "topology": "star", "bandwidth": "1 Gbit/s", "latency": "1 ms", "collective": "parameter-server",
            "compute": {"gradient": "1 ms", "compression": "1 ms", "aggregation": "1 ms"},
        },
        "methods": [method],
        "report": {"baseline": method["algorithm"]},
    }  # fmt: skip


def measure(content: dict) -> None:
    """One run, in this process; prints what was found."""
    import numpy as np
    import torch
    from rich.console import Console

    from simgmc.core.processes.cores import usable_cores
    from simgmc.experiment import run as running
    from simgmc.experiment.assembly import Given
    from simgmc.experiment.preflight import trial
    from simgmc.scenario import ScenarioFile
    from simgmc.workloads.classification import ClassificationWorkload
    from simgmc.workloads.data.dataset import Dataset
    from simgmc.workloads.losses.functions import CrossEntropy
    from simgmc.workloads.models.catalogue import build_model

    workload = content["workload"]
    shape = (1, 28, 28) if workload["model"]["name"] == "mlp" else (3, 32, 32)
    rng = np.random.default_rng(0)
    count = max(2000, workload["workers"] * workload["batch_per_worker"])
    images, labels = rng.integers(0, 256, (count, *shape), dtype=np.uint8), rng.integers(0, 10, count)
    data = Dataset(
        "given", images, labels, images[:500], labels[:500], 10, np.full(shape[0], 120.0), np.full(shape[0], 60.0)
    )
    predicted, predict, starts = [], trial.predict_memory, []
    trial.predict_memory = lambda *given: predicted.append(predict(*given)) or predicted[-1]
    gradients = ClassificationWorkload.gradients

    def timed(self, at, step):
        starts.append(time.perf_counter())
        return gradients(self, at, step)

    ClassificationWorkload.gradients = timed
    with tempfile.TemporaryDirectory() as out:
        run = ScenarioFile(content, "scaling", ())
        running.run(run, out=out, given=Given(data), device="cpu", console=Console(file=io.StringIO()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = statistics.median(later - earlier for earlier, later in zip(starts[1:], starts[2:], strict=False))
    # the plain pass comes last: its memory is not the run's
    options = {key: value for key, value in workload["model"].items() if key != "name"}
    model = build_model(workload["model"]["name"], shape, 10, 1, **options).to(
        memory_format=torch.channels_last if shape[0] == 3 else torch.contiguous_format
    )
    samples = workload["workers"] * workload["batch_per_worker"]
    x, y = torch.randn(samples, *shape), torch.randint(10, (samples,))
    torch.set_num_threads(usable_cores())
    passes = []
    for _ in range(len(starts)):
        start = time.perf_counter()
        for part, right in zip(x.split(1024), y.split(1024), strict=True):  # what a plain pass would split as well
            CrossEntropy()(model(part), right).backward()
        passes.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "plain": statistics.median(passes[1:]), "peak": peak,
                      "predicted": predicted[0].total,
                      "parameters": sum(p.numel() for p in model.parameters())}))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=256, help="the largest number")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--out", type=Path, default=Path("training_scaling"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        measure(json.loads(chosen.one))
        return
    found: dict[str, list[dict]] = {}
    for label in chosen.curves:
        kind, model, method, batch = CURVES[label]
        sizes = [2**n for n in range(9) if 2**n <= chosen.workers] if kind == "workers" else WIDTHS
        for size in sizes:
            workers = size if kind == "workers" else 8
            content = scenario(model or {"name": "mlp", "hidden": [size]}, method, workers, batch(size), chosen.rounds)
            done = subprocess.run(
                [sys.executable, __file__, "--one", json.dumps(content)], stdout=subprocess.PIPE, text=True, check=True
            )
            one = {"workers": workers, "batch": batch(size), **json.loads(done.stdout.splitlines()[-1])}
            found.setdefault(label, []).append(one)
            print(label, row(one), flush=True)
    chosen.out.with_suffix(".md").write_text(table(found))
    draw(found, chosen.out.with_suffix(".png"))


def row(one: dict) -> str:
    figures = (
        f"{one['workers']} × {one['batch']} | {one['parameters']:,} | {1e3 * one['seconds']:.3g} | "
        f"{1e3 * one['plain']:.3g}"
    )
    return (
        f"| {figures} | {one['seconds'] / one['plain']:.2f} | {one['peak'] / 1e6:,.0f} | {one['predicted'] / 1e6:,.0f} "
        f"| {one['predicted'] / one['peak']:.3f} |"
    )


def table(found: dict[str, list[dict]]) -> str:
    lines = [
        "# How rounds and memory grow", "",
        "    python tests/benchmarks/training_scaling.py --out analysis/results/training_scaling", "",
        *__doc__.split("\n\n", 2)[2].replace(" Writes OUT.md and OUT.png.", "").strip().splitlines(),
    ]  # fmt: skip
    for label, ones in found.items():
        lines += [
            "",
            f"## {label}",
            "",
            "| workers × batch | parameters | round, ms | plain pass, ms | ratio | peak, MB | predicted, MB | ratio |",
        ]
        lines += ["|" + " --- |" * 8, *map(row, ones)]
    return "\n".join([*lines, "", "![Round time and memory](training_scaling.png)", ""])


def draw(found: dict[str, list[dict]], path: Path) -> None:
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter

    from simgmc.results.figures.panels import style

    with style():
        figure, panels = pyplot.subplots(1, 3, figsize=(9.6, 3.9), layout="constrained")
        for number, (label, ones) in enumerate(found.items()):
            kind = CURVES[label][0]
            place, axes = ("workers", panels[0]) if kind == "workers" else ("parameters", panels[1])
            x = [one[place] for one in ones]
            (line,) = axes.plot(
                x, [1e3 * one["seconds"] for one in ones], color=f"C{number}", marker="o", ms=3, lw=1.2, label=label
            )
            axes.plot(x, [1e3 * one["plain"] for one in ones], color=line.get_color(), lw=0.8, ls=":")
            panels[2].plot(
                [one["predicted"] / 1e6 for one in ones],
                [one["peak"] / 1e6 for one in ones],
                "o",
                ms=3,
                color=line.get_color(),
            )
        ends = panels[2].get_xlim()
        panels[2].fill_between(
            ends, [0.9 * end for end in ends], [1.1 * end for end in ends], color="0.9", zorder=0, label="within 10 %"
        )
        panels[2].set_xlim(ends)
        panels[0].set(title="more workers", xlabel="workers", ylabel="a round (ms); dotted: a plain pass")
        panels[1].set(title="larger models", xlabel="parameters", ylabel="a round (ms)")
        panels[2].set(title="memory", xlabel="predicted (MB)", ylabel="largest measured (MB)")
        for axes in panels:
            axes.set(xscale="log", yscale="log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(
                    FuncFormatter(lambda value, _: f"{value:,.12g}" if value < 1e6 else f"{value / 1e6:g} M")
                )
                axis.set_minor_formatter(NullFormatter())
        panels[0].set_xticks([1, 4, 16, 64, 256])
        for axis in (panels[2].xaxis, panels[2].yaxis):
            axis.set_ticks([500, 1000, 2000, 4000])
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
        figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower right", ncols=1)
        panels[2].legend()
        figure.savefig(path, dpi=180)


if __name__ == "__main__":
    main()
