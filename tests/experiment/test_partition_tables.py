"""Who holds what: written down when a run begins, drawn with its other plots, wherever it is reported."""

from __future__ import annotations

import shutil
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from simgmc.commands.replay import replay
from simgmc.core.errors import SimgmcError
from simgmc.core.processes.side_by_side import Beside
from simgmc.experiment import run as running
from simgmc.experiment.partition_tables import write_partition_tables
from simgmc.results import report as reporting
from simgmc.results.directory.partition_table import PartitionTable, read_partition_table, write_partition_table
from simgmc.results.directory.run_directory import create, open_run
from simgmc.results.figures import plots
from simgmc.scenario import ScenarioFile
from simgmc.workloads.data.catalogue import load_dataset
from tests.small_runs import SMALL

ONE = {
    **SMALL,
    "methods": SMALL["methods"][:1],
    "workload": {**SMALL["workload"], "rounds": 2, "evaluate_every": "1 round"},
}
ONE["report"] = {**SMALL.get("report", {}), "baseline": ONE["methods"][0].get("name", ONE["methods"][0]["algorithm"])}
BEGUN = ("partition.png", "partition.pdf")


def run(out):
    running.run(ScenarioFile(ONE, "small.toml"), out=out, device="cpu", console=Console(file=StringIO()))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped before its report."""
    out = tmp_path_factory.mktemp("partition") / "run"
    run(out)
    return out


@pytest.mark.parametrize(("seeds", "end"), [([5], "2 workers"), ([5, 6], "2 workers, seed 5")])
def test_the_seed_whose_partition_is_shown_is_named_where_there_are_several(tmp_path, seeds, end):
    workload = {"dataset": "digits", "model": "logistic", "workers": 2, "batch_per_worker": 4, "rounds": 1}
    points = ScenarioFile({**ONE, "seeds": seeds, "workload": workload}, "small.toml").points
    directory = create(tmp_path / "run", "x")
    write_partition_tables(directory, points, load_dataset)
    (table,) = read_partition_table(directory)
    assert table.name == f"digits, iid, {end}"


def test_partitions_of_different_labels_and_units_are_read_back(tmp_path):
    directory = create(tmp_path / "run", "x")
    written = [
        PartitionTable("digits, iid, 2 workers", np.array([[3, 0, 1], [2, 2, 0]])),
        PartitionTable("digits, iid, 2 workers", np.array([[1, 1], [2, 5]])),  # two files of the same name
        PartitionTable('text, "file" (path a,b.json)', np.array([[7], [8], [9]]), "blocks of 64 tokens"),
    ]
    write_partition_table(directory, written)
    for one, other in zip(read_partition_table(directory), written, strict=True):
        assert (one.name, one.unit) == (other.name, other.unit) and np.array_equal(one.counts, other.counts)


@pytest.mark.parametrize(
    "damage", [lambda lines: [lines[0], lines[2]], lambda lines: [*lines[:2], lines[2].replace(",1,", ",x,")]]
)
def test_a_damaged_table_is_named(tmp_path, damage):
    directory = create(tmp_path / "run", "x")
    write_partition_table(directory, [PartitionTable("iid", np.array([[3, 1], [2, 2]]))])
    file = directory.path / "partition.csv"
    file.write_text("".join(damage(file.read_text().splitlines(keepends=True))))
    with pytest.raises(SimgmcError, match="partition.csv is damaged"):
        read_partition_table(directory)


def test_a_run_without_plots_has_the_table_and_no_picture(stopped):
    (table,) = read_partition_table(open_run(stopped))
    assert table.counts.shape[0] == SMALL["workload"]["workers"]
    assert not list((stopped / "plots").glob("*"))


@pytest.mark.parametrize("damage", [b"", b"partition,unit\n", None])
def test_a_run_that_goes_on_mends_the_table(stopped, tmp_path, damage):
    shutil.copytree(stopped, tmp_path / "run")
    file = tmp_path / "run" / "partition.csv"
    before = file.read_bytes()
    file.write_bytes(before[: len(before) // 2] if damage is None else damage)
    run(tmp_path / "run")
    assert file.read_bytes() == before


def test_whoever_reports_on_it_draws_the_picture_once(stopped, tmp_path, monkeypatch, with_plots):
    drawn = []
    figures = plots.partition_figures
    monkeypatch.setattr(plots, "partition_figures", lambda table: drawn.append(table) or figures(table))
    monkeypatch.setattr(reporting, "FIGURES", [plots._partition])
    console = Console(file=StringIO(), width=200)
    reporting.report(console, open_run(stopped), ScenarioFile(ONE, "small.toml").points, Beside()).pictures()
    assert len(drawn) == 1 and sorted(file.name for file in (stopped / "plots").iterdir()) == sorted(BEGUN)
    replay(stopped, settings=[("cluster.bandwidth", "1 Gbit/s")], out=tmp_path / "replay", console=console)
    assert len(drawn) == 2 and all((tmp_path / "replay/plots" / name).is_file() for name in BEGUN)
    assert (tmp_path / "replay/partition.csv").read_bytes() == (stopped / "partition.csv").read_bytes()


def test_overwriting_a_run_removes_every_table_of_it(tmp_path):
    directory = create(tmp_path / "run", "x")
    for name in ("participation.csv", "workers.csv", "partition.csv"):
        (directory.path / name).write_text("left from before\n")
    create(tmp_path / "run", "x", overwrite=True)
    assert sorted(file.name for file in directory.path.iterdir()) == [
        ".pictures",
        "breakdown.csv",
        "metrics.csv",
        "scenario.toml",
    ]
