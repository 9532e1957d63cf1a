import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


OWN = ("mine", "my other one", "a third", "FadingGMC", "Fading", "GMC", "GMC, 4 bits", "SwarmSGD")


@settings(max_examples=50, deadline=None)
@given(st.permutations(OWN))
def test_the_order_of_the_methods_changes_no_look(methods):
    assert looks_of(tuple(methods)) == looks_of(OWN)


@pytest.mark.parametrize("methods", RUNS)
def test_methods_of_ones_own_change_no_look_of_known_ones(methods):
    with_own = looks_of((*OWN[:3], *methods))
    known = [method for method in methods if method != "something new"]
    assert [with_own[method] for method in known] == [looks_of(methods)[method] for method in known]
