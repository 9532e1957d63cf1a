"""Evaluations in TensorBoard and Weights & Biases; TensorBoard's are read back by its own reader."""

import csv
import importlib
import sys
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from simgmc.core.errors import SimgmcError
from simgmc.experiment import run as running
from simgmc.scenario import ScenarioFile

CONTENT = {
    "name": "small",
    "seeds": [1, 2],
    "workload": {
        "workers": 2, "rounds": 6, "evaluate_every": "2 rounds",
        "problem": {
            "name": "quadratic", "matrices": [[1.0, 2.0], [2.0, 1.0]], "minimisers": [[1.0, 0.0], [0.0, 1.0]],
            "start": [3.0, 3.0],
        },
    },
    "optimizer": {"learning_rate": 0.1},
    "cluster": {
        "bandwidth": "1 kbit/s", "latency": "5 ms", "collective": "ring",
        "compute": {"gradient": "20 ms", "compression": "1 ms", "aggregation": "1 ms"},
    },
    "methods": [{"algorithm": "dmsgd"}, {"algorithm": "async-sgd", "learning_rate": 0.02}],
    "report": {"metric": "gap"},
    "grid": {"cluster.bandwidth": ["1 kbit/s", "1 Mbit/s"]},
}  # fmt: skip


def run(out, log, **options):
    file = ScenarioFile(CONTENT, "small.toml")
    return running.run(file, out=out, device="cpu", console=Console(file=StringIO()), plots=False, log=log, **options)


def written(run):
    """{(method, bandwidth, seed): [(round, seconds, value of every name), ...]} by the run's own tables."""
    found = {}
    for row in csv.DictReader((run / "metrics.csv").open()):
        values = {name: float(row[name]) for name in ("epoch", "test_loss", "bytes_up")}
        found.setdefault((row["method"], row["cluster.bandwidth"], row["seed"]), []).append(
            (int(row["round"]), float(row["sim_time_s"]), values)
        )
    return found


def test_tensorboard_has_every_series_against_simulated_time_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = run(tmp_path / "run", "tensorboard")
    assert run(out, ["tensorboard"]) == out  # again: everything is there
    folders = {folder.name: folder for folder in (out / "tensorboard").iterdir()}
    series = written(out)
    assert len(folders) == len(series) == 8
    for (method, bandwidth, seed), points in series.items():
        (name,) = (
            one for one in folders
            if one.startswith(f"{method}, ") and one.endswith(f", {bandwidth.replace('/', ' per ')}, seed {seed}")
        )  # fmt: skip
        assert len(list(folders[name].iterdir())) == 1
        events = EventAccumulator(str(folders[name]))
        events.Reload()
        assert {"test_loss", "gap", "epoch", "bytes_up"} <= set(events.Tags()["scalars"])
        for tag in ("epoch", "test_loss", "bytes_up"):
            found = [(one.step, one.wall_time, one.value) for one in events.Scalars(tag)]
            expected = [(number, seconds, values[tag]) for number, seconds, values in points]
            assert [one[:2] for one in found] == [one[:2] for one in expected]
            assert [one[2] for one in found] == pytest.approx(
                [one[2] for one in expected], rel=1e-6
            )  # single precision
    run(out, "tensorboard", overwrite=True)
    assert {len(list(folder.iterdir())) for folder in (out / "tensorboard").iterdir()} == {1}


def test_weights_and_biases_gets_a_run_for_each_series_whose_axis_is_simulated_time(tmp_path, monkeypatch):
    begun = []

    def init(**given):
        one = SimpleNamespace(given=given, rows=[], axes={}, finished=False)
        one.log = one.rows.append
        one.define_metric = lambda name, step_metric=None: one.axes.update({name: step_metric})
        one.finish = lambda: setattr(one, "finished", True)
        begun.append(one)
        return one

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    out = run(tmp_path / "run", "wandb")
    series = written(out)
    assert len(begun) == len(series) and all(one.finished for one in begun)
    assert len({one.given["id"] for one in begun}) == len(begun)
    assert {one.axes["*"] for one in begun} == {"sim_time_s"}
    logged = sorted([row["round"], row["sim_time_s"], row["test_loss"]] for one in begun for row in one.rows)
    assert logged == sorted(
        [number, time, one["test_loss"]] for points in series.values() for number, time, one in points
    )


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_said_before_anything_is_computed(tmp_path, monkeypatch, name):
    real = importlib.import_module

    def without(module, *more):
        if module == name:
            raise ImportError(module)
        return real(module, *more)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(SimgmcError, match=rf"the package {name} is not installed; pip install 'simgmc\[{name}\]'"):
        run(tmp_path / "run", name)
    assert not (tmp_path / "run").exists()


def test_another_name_is_refused_and_none_imports_nothing(tmp_path):
    with pytest.raises(SimgmcError, match='log = "mlflow": must be one of "tensorboard", "wandb"'):
        run(tmp_path / "run", "mlflow")
    before = set(sys.modules)
    run(tmp_path / "run", ())
    assert not {name for name in set(sys.modules) - before if name.partition(".")[0] in ("tensorboard", "wandb")}
