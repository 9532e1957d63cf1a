"""Columns may be added: directories of earlier and of later versions stay readable, damage is named."""

import csv
import math
import re
from dataclasses import dataclass, replace
from typing import Annotated

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.core.transport import Transport
from simgmc.results.directory import kept_run, run_directory
from simgmc.results.directory.columns import columns_of
from simgmc.results.directory.records import Evaluation, SeriesKey
from simgmc.results.directory.run_directory import create, open_run
from simgmc.results.directory.series_tables import METRICS, TABLES, SeriesTable
from simgmc.results.series import arrays
from simgmc.results.series.arrays import read_arrays
from simgmc.results.series.read import read_results
from tests.results.synthetic_runs import accuracy_curve, write_run

POINTS = [{"cluster.collective": "ring", "cluster.bandwidth": b, "gossip": "x"} for b in ("1 Mbit/s", "2 Mbit/s")]
METHODS = {"GMC": accuracy_curve(0.9, 0.3), "DGC": accuracy_curve(0.8, 0.1)}
TORN = SeriesKey("torn", Transport("collective", "ring"), 0, POINTS[0])


@dataclass(frozen=True)
class LaterEvaluation(Evaluation):
    energy_j: Annotated[float | None, "J"] = None


@pytest.fixture
def later(monkeypatch):
    """A version that has one column more, declared by the one field of its row."""
    table = SeriesTable("metrics.csv", LaterEvaluation, grid_last=True)

    def upgrade(on=True):
        for module in (kept_run, run_directory, arrays):
            monkeypatch.setattr(module, "METRICS", table if on else METRICS)
        monkeypatch.setitem(TABLES, "metrics.csv", table if on else METRICS)

    return upgrade


def small_run(path):
    return write_run(path, METHODS, points=POINTS, seeds=(0, 1), evaluations=2)


def again(path):
    return create(path, open_run(path).scenario_text(), grid_keys=tuple(POINTS[0]))


def with_columns(file, name, values):
    """Adds a column, as a later version might, in the middle of a file."""
    with file.open(newline="") as stream:
        rows = list(csv.reader(stream))
    for row, value in zip(rows, [name, *values], strict=True):
        row.insert(8, value)
    with file.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def test_an_added_column_is_read_with_its_default_from_a_directory_without_it(tmp_path, later):
    before = small_run(tmp_path).evaluations()
    later()
    directory = open_run(tmp_path)
    assert directory.evaluations() == {
        key: [LaterEvaluation(**vars(row), energy_j=None) for row in rows] for key, rows in before.items()
    }
    found = read_arrays(directory)
    assert all(math.isnan(value) for one in found.values() for value in one["energy_j"])
    assert read_results(directory).points


def test_a_run_that_goes_on_gets_the_added_column_and_keeps_what_is_finished(tmp_path, later):
    directory = small_run(tmp_path)
    finished, row = directory.finished(), directory.evaluations()[next(iter(directory.evaluations()))][0]
    directory.evaluated(TORN, row)
    later()
    directory = again(tmp_path)
    assert directory.finished() == finished
    written = LaterEvaluation(**vars(row), energy_j=1.5)
    directory.evaluated(TORN, written)
    assert open_run(tmp_path).evaluations()[TORN] == [written]
    assert read_arrays(directory)[TORN]["energy_j"].tolist() == [1.5]
    later(False)
    assert open_run(tmp_path).evaluations()[TORN] == [row]  # an earlier version leaves the column out


@pytest.mark.parametrize("file", ["metrics.csv", "breakdown.csv"])
def test_a_column_that_nobody_knows_is_ignored_and_kept(tmp_path, file):
    directory = small_run(tmp_path)
    before = directory.evaluations(), directory.breakdowns(), directory.finished()
    rows = (tmp_path / file).read_text().count("\n") - 1
    with_columns(tmp_path / file, "energy_j", [f"{row}.5" for row in range(rows)])
    directory = open_run(tmp_path)
    assert directory.grid_keys == ("cluster.bandwidth", "gossip")
    assert (directory.evaluations(), directory.breakdowns(), directory.finished()) == before
    assert set(read_arrays(directory)) == set(before[0])
    directory = again(tmp_path)
    assert (directory.evaluations(), directory.breakdowns(), directory.finished()) == before
    key, (row, *_) = next(iter(before[0].items()))
    directory.evaluated(TORN, row)
    directory.finish(TORN, replace(before[1][key], evaluations=1))
    with (tmp_path / file).open(newline="") as stream:
        assert [one["energy_j"] for one in csv.DictReader(stream)] == [*(f"{n}.5" for n in range(rows)), ""]


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        (
            "metrics.csv",
            "sim_time_s",
            "seconds",
            "metrics.csv is damaged or not of a run: .* has no column 'sim_time_s'",
        ),
        ("breakdown.csv", "wait_s", "x", "breakdown.csv is damaged or not of a run: .* has no column 'wait_s'"),
        ("metrics.csv", "collective", "transport", "has no column 'collective'"),
        ("metrics.csv", "cluster.bandwidth", "bandwidth", "has no column 'cluster.bandwidth'"),
        ("metrics.csv", "rcc", "epoch", "has the column 'epoch' twice"),
    ],
)
def test_a_missing_or_doubled_column_is_one_line_that_names_it(tmp_path, file, old, new, says):
    small_run(tmp_path)
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(re.sub(rf"\b{re.escape(old)}\b", new, text, count=1))
    with pytest.raises(SimgmcError, match=says) as raised:
        open_run(tmp_path).finished()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("round", "-1", 'round = "-1": must be a whole number of at least 0'),
        ("sim_time_s", "soon", 'sim_time_s = "soon": must be a number, in s'),
        ("test_accuracy", "x", 'test_accuracy = "x": must be a number, or empty'),
        ("bytes_up", "", 'bytes_up = "": must be a whole number of at least 0, in bytes'),
    ],
)
def test_a_wrong_value_is_named_with_line_column_and_what_would_be_right(tmp_path, name, value, says):
    small_run(tmp_path)
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    cells = lines[2].split(",")
    cells[lines[0].split(",").index(name)] = value
    (tmp_path / "metrics.csv").write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n")
    with pytest.raises(SimgmcError, match=re.escape(f"metrics.csv, line 3, is not a row of a run: {says}")):
        read_results(open_run(tmp_path))


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_units_are_those_that_the_names_say_and_new_columns_come_last(table):
    for one in table.own:
        assert (one.unit == "s") == one.name.endswith("_s") and (one.unit == "bytes") == ("bytes" in one.name)
    needed = [one.needed for one in columns_of(table.row)]
    assert needed == sorted(needed, reverse=True)
