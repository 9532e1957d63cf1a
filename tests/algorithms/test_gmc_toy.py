"""The toy problem of the GMC paper: distances at the end beside those of the reconstruction's table."""

import functools

import numpy as np
import pytest

from simgmc.algorithms import ALGORITHMS
from simgmc.compression import build
from simgmc.training.stacked import StackedTrainer
from simgmc.workloads.problems.quadratic import gmc_toy
from simgmc.workloads.problems.quadratic_workload import QuadraticWorkload

ROUNDS, TAIL, RATE = 2000, 200, 0.005
METHODS = {
    "DMSGD": ("dmsgd", {}),
    "DGC w/o masking": ("dgc", {"momentum_factor_masking": False}),
    "DGC": ("dgc", {}),
    "GMC": ("gmc", {}),
    "momentum on the server": ("gmc-server-momentum", {}),
}
TABLE = {
    ("A", 2, 1): (0, 0.045, 0, 0.004, 0.003),
    ("A", 20, 1): (0, 1.10, 0.56, 0.135, 0.42),
    ("A", 20, 5): (0, 0.197, 0.049, 0.018, 0.024),
    ("A", 100, 10): (0, 1.04, 0.39, 0.11, 0.32),
    ("A", 100, 1): (0, 48, None, 2.1, 112),
    ("B", 2, 1): (0, 0.064, 0.009, 0, 0.003),
    ("B", 20, 5): (0, 0.22, 0.076, 0, 0.021),
}
"""(variant, d, coordinates sent) -> mean distance over the last 200 of 2000 steps; None: diverges."""
SMALL = [("A", 2, 1)]


@functools.cache
def distances(variant, d, count, method):
    """(ROUNDS,): the distance to the optimum after every round."""
    workload = QuadraticWorkload(gmc_toy(variant, d), 0)
    name, options = METHODS[method]
    if name != "dmsgd":
        options = options | {"compressor": build("top-k", workload.layout, count=count)}
    trainer = StackedTrainer(ALGORITHMS[name](**options), workload, lambda epoch: RATE)
    found = np.empty(ROUNDS)
    for number in range(ROUNDS):
        trainer.next_round().with_everybody()
        found[number] = np.linalg.norm(trainer.model().numpy() - workload.problem.optimum)
    return found


def tail(row, method):
    return float(distances(*row, method)[-TAIL:].mean())


def check_claims(row):
    assert tail(row, "GMC") < tail(row, "DGC w/o masking") / 3
    assert tail(row, "DMSGD") < 1e-12


@pytest.mark.parametrize("row", SMALL, ids=str)
def test_gmc_settles_three_times_nearer_than_dgc_without_masking(row):
    check_claims(row)


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in TABLE if row not in SMALL], ids=str)
def test_gmc_settles_three_times_nearer_in_every_row_of_the_table(row):
    check_claims(row)


@pytest.mark.slow
def test_distances_are_those_of_the_table_to_its_digits(capsys):
    lines = [f"{'row':<14}" + "".join(f"{method:>24}" for method in METHODS)]
    for row, expected in TABLE.items():
        found = [tail(row, method) for method in METHODS]
        cells = (
            f"{value:12.4g} ({'diverges' if stated is None else stated})"
            for value, stated in zip(found, expected, strict=True)
        )
        lines.append(f"{row[0]} d={row[1]} s={row[2]:<6}" + "".join(f"{cell:>24}" for cell in cells))
        for value, stated in zip(found, expected, strict=True):
            if stated is None:
                assert value > 1000
            else:
                assert value == pytest.approx(stated, rel=0.05, abs=6e-4)
    with capsys.disabled():
        print("", *lines, sep="\n")


@pytest.mark.parametrize(
    ("row", "first"),
    [(("A", 2, 1), (25, 22, 208)), pytest.param(("B", 2, 1), (13, 30, 80), marks=pytest.mark.slow)],
    ids=str,
)
def test_masking_stabilises_but_slows_down(row, first):
    """First step below 5 % of the start's distance, in the plane."""
    problem = gmc_toy(row[0], row[1])
    goal = 0.05 * np.linalg.norm(problem.start - problem.optimum)
    found = tuple(int(np.argmax(distances(*row, method) < goal)) + 1 for method in ("GMC", "DGC w/o masking", "DGC"))
    assert found == first
