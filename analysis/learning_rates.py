"""Do methods with local steps have the learning rate of each step's own epoch, and do all end at the same one?

    python analysis/learning_rates.py [OUT]

DiLoCo (500 local steps a round unless stated), SlowMo (12), local SGD (4) and DMSGD (1) are trained for three epochs of
the digits that come with scikit-learn, with a cosine schedule that follows the rounds, drawn as ``learning_rates.png``
in the folder OUT (analysis/results): the factor on each method's own rate at every gradient, by epoch, and where its
rounds end. The table says at which gradient, epoch and rate the method ends.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))

from simgmc.experiment.assembly import WorkloadFactory, build_stacked_trainer  # noqa: E402 - found from the root
from simgmc.experiment.plan import trainings  # noqa: E402
from simgmc.results.figures import looks, panels  # noqa: E402
from simgmc.scenario import ScenarioFile  # noqa: E402

EPOCHS = 3
METHODS: list[dict[str, Any]] = [
    {"name": "DiLoCo", "algorithm": "diloco", "learning_rate": 1e-3},
    {"name": "SlowMo", "algorithm": "slowmo"},
    {"name": "local SGD", "algorithm": "local-sgd"},
    {"name": "DMSGD", "algorithm": "dmsgd"},
]
SCENARIO = {
    "name": "learning-rates",
    "seeds": [0],
    "workload": {"dataset": "digits", "model": "mlp", "workers": 4, "batch_per_worker": 16, "epochs": EPOCHS},
    "optimizer": {"learning_rate": 0.05, "schedule": {"kind": "cosine", "per": "round"}},
    "cluster": {
        "bandwidth": "10 Mbit/s",
        "latency": "5 ms",
        "collective": "ring",
        "compute": {"gradient": "10 ms", "compression": "1 ms", "aggregation": "1 ms"},
    },
    "methods": METHODS,
}


def rates(training, workload) -> tuple[list[float], list[float], list[int]]:
    """The epoch and the rate at every gradient, and how many gradients there were at the end of each round."""
    trainer = build_stacked_trainer(training, workload, "all")
    milestones = training.milestones(workload.batches_per_epoch)
    epochs, found, ends, begun = [], [], [], trainer.lr_at
    compute = workload.gradients

    def noted(at, step):
        epochs.append(trainer.epoch)
        found.append(begun(trainer.epoch))
        assert trainer.last_lr == found[-1], "a gradient has another rate than that of its epoch"
        return compute(at, step)

    workload.gradients = noted
    while not milestones.over(trainer.rounds, trainer.gradients):
        trainer.next_round().with_everybody()
        ends.append(len(epochs))
    workload.gradients = compute
    assert trainer.last_lr is not None
    return [*epochs, trainer.epoch], [*found, trainer.last_lr], ends


def main() -> None:
    matplotlib.use("agg")
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "results")
    file = ScenarioFile(SCENARIO, "learning_rates.py")
    workload = WorkloadFactory("cpu", None, 1)(file.points[0].scenario, 0)
    names = [one["name"] for one in METHODS]
    print("| method | rounds | gradients | ends at epoch | last rate |\n| --- | --- | --- | --- | --- |")
    with panels.style():
        figure = Figure(figsize=(panels.COLUMN_WIDTH, 2.8))
        curves, rounds = figure.subplots(2, sharex=True, height_ratios=[3, 1])
        for place, training in enumerate(trainings(file.points)):
            name = training.method.name
            epochs, found, ends = rates(training, workload)
            print(f"| {name} | {len(ends)} | {ends[-1]} | {epochs[-1]:.4g} | {found[-1]:.3g} |")
            color = looks.look(names, name)["color"]
            own = [one / found[0] for one in found]
            width = 1 + 2 * (len(METHODS) - 1 - place)  # one over the other, where they are the same
            curves.step(epochs, own, where="post", color=color, label=name, lw=width)
            rounds.eventplot([epochs[end] for end in ends], lineoffsets=-place, linelengths=0.7, colors=color, lw=1)
        curves.set_ylabel("share of the\nmethod's rate")
        curves.legend(fontsize=7)
        rounds.set_xlabel("epoch")
        rounds.set_ylabel("ends of\nrounds")
        rounds.set_yticks([-place for place in range(len(names))], names, fontsize=7)
        rounds.set_xlim(0, EPOCHS * 1.03)
        rounds.grid(False)
        figure.align_ylabels()
        figure.savefig(out / "learning_rates.png", dpi=200, bbox_inches="tight")


if __name__ == "__main__":
    main()
