"""Short runs that are stopped whenever a state has been saved, and begun again until they end."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from simgmc.algorithms import ALGORITHMS
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.plan import trainings
from simgmc.experiment.progress import RunProgress
from simgmc.experiment.run import run_trainings
from simgmc.results.directory.run_directory import create
from simgmc.scenario import ScenarioFile
from simgmc.training.saved_state import to_arrays
from tests.small_runs import SMALL

ROUNDS = 5
WORKLOAD = {
    **SMALL["workload"],
    "model": {"name": "mlp", "hidden": [6]},
    "rounds": ROUNDS,
    "evaluate_every": "2 rounds",
}


def scenario(methods, *settings):
    content = {
        **SMALL,
        "workload": WORKLOAD,
        "methods": methods,
        "report": {"target": 0.3, "baseline": methods[0]["name"]},
    }
    content["cluster"] = {**SMALL["cluster"], "hosts": {}}
    if any(ALGORITHMS[one["algorithm"]].mixing != "none" for one in methods):
        content["gossip"] = {"graph": "ring"}
    return ScenarioFile(content, "small.toml", settings)


class Killed(BaseException):
    """The process is gone."""


def run(file, out, every=0.0):
    """As simgmc run does, without its tables."""
    directory = create(out, file.resolved(), grid_keys=tuple(file.grid))
    console = Console(file=StringIO(), width=120)
    with RunProgress(console, len(trainings(file.points)), file.points[0].scenario.report.metric) as progress:
        run_trainings(trainings(file.points), directory, WorkloadFactory("cpu", None, 1), progress, every)
    return console.file.getvalue()


def files(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(Path(path).rglob("*")) if file.is_file()}


def bits(trainer):
    arrays, plain = to_arrays(trainer.state_dict())
    return repr(plain), {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()}


def stopped_after_every_round_equals_never_stopped(file, tmp_path, trainers, kill):
    kill(None)
    run(file, tmp_path / "never", every=1e9)
    expected = [bits(trainer) for trainer in trainers]
    trainers.clear()
    kills = 0
    while True:
        kill(1)
        try:
            run(file, tmp_path / "run")
            break
        except Killed:
            kills += 1
    assert files(tmp_path / "run") == files(tmp_path / "never")
    assert kills >= ROUNDS * len(expected)
    assert bits(trainers[-1]) == expected[-1]
