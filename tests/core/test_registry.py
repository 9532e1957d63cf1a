"""Named parts and their options: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from simgmc.algorithms.sgd import DMSGD
from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Entry, Option, Part, Registry

ENTRY = Entry(
    "mlp",
    "layers",
    "standard",
    {
        "width": Option("of a layer", int),
        "rate": Option("of dropping", float, 0.5, at_least=0, below=1),
        "widths": Option("of the layers", list[int], (1,)),
        "norm": Option("of the layers", str, "batch", ("batch", "group")),
        "file": Option("the values", Path, None),
        "share": Option("kept", float, None, above=0, at_most=1),
    },
)
MODELS = Registry("model", [ENTRY, Entry("logistic", "one layer", "standard")])
TASK = Entry("task", "with a model", "standard", {"model": Part("what is trained", default="logistic", entries=MODELS)})


def test_every_option_gets_its_value_or_its_default_in_the_entrys_order():
    given = {"norm": "group", "width": 3, "rate": 0}
    assert ENTRY.resolve(given) == {
        "width": 3,
        "rate": 0.0,
        "widths": (1,),
        "norm": "group",
        "file": None,
        "share": None,
    }
    assert list(ENTRY.resolve(given)) == list(ENTRY.options)
    assert ENTRY.resolve(ENTRY.resolve(given)) == ENTRY.resolve(given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, 'mlp needs the option "width", a whole number of at least 1 and at most 1,000,000: of a layer'),
        ({"width": None}, 'mlp needs the option "width"'),
        ({"wdth": 1}, 'mlp has no option "wdth"; did you mean "width"? known: width, rate'),
        ({"width": 0}, "mlp: width = 0: must be a whole number of at least 1 and at most 1,000,000"),
        ({"width": True}, "width = true: must be a whole number"),
        ({"width": 2.0}, "width = 2.0: must be a whole number"),
        (
            {"width": 10**400},
            "width = a whole number of 1329 bits: must be a whole number of at least 1 and at most 1,000,000",
        ),
        ({"width": -(10**400)}, "at most 1,000,000"),
        ({"rate": 1.0}, "rate = 1.0: must be a number of at least 0 and below 1"),
        ({"rate": 10**400}, "below 1"),
        ({"rate": math.nan}, "rate = nan: must be a number"),
        ({"rate": "0.5"}, 'rate = "0.5": must be a number'),
        ({"share": 0}, "share = 0: must be a number above 0 and at most 1"),
        ({"share": math.inf}, "share = inf: must be a number above 0 and at most 1"),
        (
            {"widths": 3},
            "widths = 3: must be a list of whole numbers, at most 100, each at least 1 and at most 1,000,000",
        ),
        ({"widths": [10**7]}, "must be a list of whole numbers"),
        ({"widths": [1] * 101}, "must be a list of whole numbers"),
        ({"norm": "grup"}, 'norm = "grup": must be one of "batch", "group"; did you mean "group"?'),
        ({"norm": 1}, 'norm = 1: must be one of "batch", "group"'),
        ({"file": " "}, 'file = " ": must be a path'),
    ],
)
def test_a_mistake_is_one_line_with_the_value_and_what_would_be_right(given, says):
    with pytest.raises(SimgmcError) as refusal:
        ENTRY.resolve({} if given == {} else {"width": 1} | given)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_part_is_a_name_or_a_table_and_becomes_a_table_of_all_its_options():
    assert TASK.resolve({}) == {"model": {"name": "logistic"}}
    wide = {"name": "mlp", "width": 3, "rate": 0.5, "widths": (1,), "norm": "batch"}
    assert TASK.resolve({"model": {"name": "mlp", "width": 3}}) == TASK.resolve({"model": wide}) == {"model": wide}
    for given, says in (
        ("mpl", 'unknown model "mpl"; did you mean "mlp"?'),
        (3, "needs the name of a model"),
        ({"name": "mlp"}, "mlp needs the option"),
    ):
        with pytest.raises(SimgmcError, match="task: model = .*" + says):
            TASK.resolve({"model": given})


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(SimgmcError, match='unknown model "logistik"; did you mean "logistic"[?] known: mlp, logistic'):
        MODELS["logistik"]


def test_an_algorithm_is_held_to_its_fields():
    with pytest.raises(SimgmcError, match="momentum = 1.0: must be a number of at least 0 and below 1"):
        DMSGD(momentum=1.0)
    with pytest.raises(SimgmcError, match='momentum_at = "here": must be one of "local", "global"'):
        DMSGD(momentum_at="here")
