"""analysis/gmc_tables.py: seeds that diverged or are not finished, and the choice of the learning rate."""

import math
from dataclasses import replace

from analysis import gmc_tables
from simgmc.core.transport import Transport
from simgmc.results.directory.records import Evaluation, SeriesKey
from simgmc.results.directory.run_directory import create
from tests.results.synthetic_runs import breakdown

SCENARIO = """
name = "small"
seeds = [1, 2, 3]
workload = { dataset = "digits", model = "logistic", workers = 4, batch_per_worker = 8, epochs = 2 }
optimizer = { learning_rate = 0.1, momentum = 0.9 }
cluster = { topology = "star", bandwidth = "1 Mbit/s", latency = "1 ms", collective = "parameter-server", compute = \
{ gradient = "1 ms", compression = "0 ms", aggregation = "0 ms" } }
methods = [{ name = "DMSGD", algorithm = "dmsgd" }, { name = "GMC", algorithm = "gmc", compressor = \
{ name = "top-k", density = 0.01 } }, { name = "CSER", algorithm = "dmsgd" }]
grid = { "optimizer.learning_rate" = [0.1, 1.0] }
"""
DIVERGED, NOT_FINITE, UNFINISHED = "diverged", "not finite", "unfinished"


def write(path, accuracies):
    """A run with these accuracies, or what happened instead, by method, learning rate and seed."""
    directory = create(path, SCENARIO, grid_keys=("optimizer.learning_rate",))
    for (method, rate, seed), found in accuracies.items():
        key = SeriesKey(method, Transport.read("parameter-server"), seed, {"optimizer.learning_rate": rate})
        value = found if isinstance(found, float) else 0.1
        loss = math.nan if found == NOT_FINITE else 1.0
        for epoch in (0.0, 2.0):
            directory.evaluated(key, Evaluation(int(epoch), epoch, epoch, 1.0, loss, value, 0, 0, 0.01))
        if found != UNFINISHED:
            end = breakdown(2, 2.0, 8, "parameter_server", 0.01)
            directory.finish(key, replace(end, rcc=None, diverged=2) if found == DIVERGED else end)
    return path


def rows(text):
    """By method: the cells of its row."""
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {cells[0]: dict(zip(found[0], cells, strict=True)) for cells in found[1:] if cells[0] != "---"}


def test_seeds_that_diverged_are_left_out_of_every_mean_and_counted(tmp_path):
    here = {("DMSGD", 0.1, 1): 0.90, ("DMSGD", 0.1, 2): 0.80, ("DMSGD", 0.1, 3): 0.70}
    here |= {("GMC", 0.1, 1): 0.90, ("GMC", 0.1, 2): DIVERGED, ("GMC", 0.1, 3): NOT_FINITE}
    here |= {("CSER", 0.1, seed): DIVERGED for seed in (1, 2, 3)}
    found = gmc_tables.read([write(tmp_path / "run", here)])
    table = rows(gmc_tables.tables(found))
    assert list(table) == ["GMC", "DMSGD", "CSER"]  # by accuracy
    assert table["DMSGD"]["accuracy %, here"] == "80.00 ± 10.00"
    assert table["GMC"]["accuracy %, here"] == "90.00 (2 of 3 diverged)" and table["GMC"]["RCC %, here"] == "1.000"
    assert table["CSER"]["accuracy %, here"] == "diverged"
    assert table["CSER"]["RCC %, here"] == table["CSER"]["simulated, parameter-server"] == "-"
    gmc_tables.draw(found, tmp_path / "picture.png")


def test_the_best_rate_has_the_highest_mean_of_those_with_most_seeds(tmp_path):
    tuning = {("DMSGD", 0.1, 1): 0.80, ("DMSGD", 1.0, 1): 0.85, ("GMC", 0.1, 1): 0.50, ("GMC", 1.0, 1): DIVERGED}
    more = {("DMSGD", 1.0, 2): 0.65, ("DMSGD", 1.0, 3): UNFINISHED, ("DMSGD", 0.1, 2): 0.90}
    more |= {("GMC", 0.1, 2): 0.60, ("GMC", 0.1, 3): 0.70}
    table = rows(gmc_tables.tables(gmc_tables.read([write(tmp_path / "a", tuning), write(tmp_path / "b", more)])))
    assert (table["DMSGD"]["learning rate"], table["GMC"]["learning rate"]) == ("0.1", "0.1")
    assert table["DMSGD"]["accuracy %, here"] == "85.00 ± 7.07 (2 of 3 seeds)"
    assert table["GMC"]["accuracy %, here"] == "60.00 ± 10.00"
    assert (table["DMSGD"]["at 0.1"], table["DMSGD"]["at 1"]) == ("80.00", "85.00")
    assert (table["GMC"]["at 0.1"], table["GMC"]["at 1"]) == ("50.00", "diverged")
