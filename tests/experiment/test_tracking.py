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
from simgmc.experiment.engines.choice import Sweeping
from simgmc.experiment.tracking import trackers
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


def scalars(out):
    """{series: {name: [(round, seconds, value), ...]}} of TensorBoard, by its own reader, in the order of rounds."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found = {}
    for file in out.glob("tensorboard/*/*"):
        for event in EventFileLoader(str(file)).Load():
            for one in event.summary.value:
                rows = found.setdefault(file.parent.name, {}).setdefault(one.tag, [])
                rows.append((event.step, event.wall_time, one.tensor.float_val[0]))
    return {series: {name: sorted(rows) for name, rows in names.items()} for series, names in found.items()}


def assert_logged_as_written(out):
    found, series = scalars(out), written(out)
    assert len(found) == len(series) == 8
    for (method, bandwidth, seed), points in series.items():
        (name,) = (
            one for one in found
            if one.startswith(f"{method}, ") and one.endswith(f", {bandwidth.replace('/', ' per ')}, seed {seed}")
        )  # fmt: skip
        assert {"test_loss", "gap", "epoch", "bytes_up", "bytes_down"} <= set(found[name])
        for tag in ("epoch", "test_loss", "bytes_up"):
            expected = [(number, seconds, values[tag]) for number, seconds, values in points]
            assert [one[:2] for one in found[name][tag]] == [one[:2] for one in expected]
            assert [one[2] for one in found[name][tag]] == pytest.approx(
                [one[2] for one in expected], rel=1e-6
            )  # single precision
        assert len(found[name]["gap"]) == len(points)


def test_tensorboard_has_every_series_against_simulated_time_once(tmp_path):
    pytest.importorskip("tensorboard")
    out = run(tmp_path / "run", "tensorboard")
    assert_logged_as_written(out)
    files = sorted(out.glob("tensorboard/*/*"))
    assert run(out, ["tensorboard"]) == out  # again: everything is there
    assert sorted(out.glob("tensorboard/*/*")) == files
    run(out, "tensorboard", overwrite=True)
    assert_logged_as_written(out)


def test_evaluations_are_there_as_they_come_and_a_run_that_goes_on_logs_none_twice(tmp_path, monkeypatch):
    """Stopped after every third evaluation; what was logged by then is there, and in the end everything once."""
    pytest.importorskip("tensorboard")
    out, real, added = tmp_path / "run", trackers.TensorBoard.add, []

    def add(self, key, point):
        real(self, key, point)
        added.append((key.words, point[0]))
        if len(added) % 3 == 0:
            raise KeyboardInterrupt(2)

    monkeypatch.setattr(trackers.TensorBoard, "add", add)
    stops = 0
    while True:
        try:
            run(out, "tensorboard", checkpoint_every=0)
            break
        except KeyboardInterrupt:
            stops += 1
            logged = [(name, row[0]) for name, of in scalars(out).items() for row in of["epoch"]]
            assert {(words.replace("/", " per "), number) for words, number in added} <= set(logged)
    assert stops >= 4 and len(added) == len(set(added))
    assert_logged_as_written(out)


@pytest.mark.slow
@pytest.mark.parametrize("sweeping", [None, Sweeping()])
def test_what_other_processes_train_is_logged_as_it_comes(tmp_path, monkeypatch, sweeping):
    pytest.importorskip("tensorboard")
    out, real, added = tmp_path / "run", trackers.TensorBoard.add, []

    def add(self, key, point):
        real(self, key, point)
        added.append((key.words, point[0]))

    monkeypatch.setattr(trackers.TensorBoard, "add", add)
    run(out, "tensorboard", jobs=2, sweeping=sweeping)
    # Each asynchronous training is of one network, a synchronous one is trained on the first of two.
    assert len(added) == len(set(added)) == 4 * (4 + 2)
    assert_logged_as_written(out)


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
    again = run(tmp_path / "run", "wandb")
    assert again == out and len(begun) == len(series)
    assert len({one.given["id"] for one in begun}) == len(begun)
    assert {one.axes["*"] for one in begun} == {"sim_time_s"}
    for name in ("test_loss", "bytes_up"):
        logged = sorted(
            [row["round"], row["sim_time_s"], row[name]] for one in begun for row in one.rows if name in row
        )
        assert logged == sorted([number, time, one[name]] for points in series.values() for number, time, one in points)
    first = {one.given["id"] for one in begun}
    run(tmp_path / "run", "wandb", overwrite=True)
    assert len({one.given["id"] for one in begun} - first) == len(series)  # another run, in W&B too


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
