import itertools

import pytest

from simgmc.results.figures import panels
from simgmc.results.figures.looks import look

RUNS = [
    ("DMSGD", "DGC", "DGC w/o masking", "GMC"),
    ("GMC", "DMSGD", "DGC"),
    ("all-reduce DMSGD", "SwarmSGD", "AD-PSGD", "local SGD"),
    ("D-PSGD", "PD-SGDM", "CPD-SGDM", "CHOCO-SGD", "all-reduce DMSGD"),
    ("something new", "GMC", "DMSGD"),
    ("DMSGD", "something new"),
]


def looks_of(methods):
    with panels.style():
        return {method: look(methods, method) for method in methods}


def test_a_method_looks_the_same_in_every_run():
    seen = {}
    for found in map(looks_of, RUNS):
        for method, one in found.items():
            assert seen.setdefault(method, one) == one


def test_dense_baselines_are_grey():
    with panels.style():
        assert [
            look(("GMC", name), name)["color"] for name in ("DMSGD", "DSGD", "all-reduce DMSGD", "SGD 8 workers")
        ] == ["#7F7F7F"] * 4


@pytest.mark.parametrize(
    "methods", [*RUNS, tuple(f"GMC+ {i}" for i in range(8)), tuple("abcdefgh"), ("$x$", "", "_", "GMC", "gmc", "Gmc ")]
)
def test_up_to_eight_methods_of_a_run_have_eight_colours(methods):
    assert len({one["color"] for one in looks_of(methods).values()}) == len(methods)


def test_the_order_of_the_methods_changes_no_known_colour():
    for methods in itertools.permutations(RUNS[0]):
        assert looks_of(methods) == looks_of(RUNS[0])
