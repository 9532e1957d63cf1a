"""Which name was meant by one that is not known, and which is only a little like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgmc.core.errors import MANY, nearest, suggestion
from simgmc.core.registry import Entry, Registry

MEANT = dict(
    gmcc="gmc", mpl="mlp", top_k="top-k", TopK="top-k", dpsgd="d-psgd", bandwith="bandwidth", rign="ring",
    resnet65="resnet56", resnet_56="resnet56", momentun="momentum", epoch="epochs", adam="adamw", v100="nvidia-v100",
    metropolis="metropolis-hastings", all_reduce="allreduce",
).items()  # fmt: skip
APART = [
    ("adamw", "adsaga"), ("resnet18", "resnet56"), ("resnet20", "resnet56"), ("cifar10", "cifar100"), ("lars", "lamb"),
    ("ring", "star"), ("worker1", "worker9"), ("signum", "signsgd"), ("x", "gmc"), ("100", "nvidia-v100"),
    ("sgd", "dgc"), ("iid", "dirichlet"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "meant"), MEANT)
def test_a_slip_is_told(written, meant):
    others = [name for _, name in MEANT if name != meant]
    assert nearest(written, [*others, meant]) == nearest(written, [meant]) == meant


@pytest.mark.parametrize("pair", [*APART, *(pair[::-1] for pair in APART)])
def test_another_name_is_not_taken_for_a_slip(pair):
    written, other = pair
    assert nearest(written, [other]) is None


def test_the_most_alike_is_meant_and_a_part_of_several_names_is_none():
    assert nearest("sgd", ["sgp", "dsgd", "adsaga"]) == "dsgd"
    assert nearest("local", ["local-sgd", "local-adamw"]) is None


@given(st.text("abcd-", min_size=4, max_size=12), st.data())
def test_one_letter_too_few_too_many_or_wrong_is_a_slip(name, data):
    place = data.draw(st.integers(0, len(name) - 1))
    if len(name.replace("-", "")) < 4:
        return
    for written in (
        name[:place] + name[place + 1 :],
        name[:place] + "z" + name[place:],
        name[:place] + "z" + name[place + 1 :],
    ):
        assert nearest(written, ["qqqqqqqqqqqqqqqq", name]) == name


def test_of_many_names_the_command_that_lists_them_is_told():
    def entries(count):
        return [Entry(f"name-{'abcdefghijklmnopqrst'[place]}", "", "") for place in range(count)]

    many, few = (Registry("thing", entries(count), listed="things") for count in (MANY + 1, MANY))
    assert many.others("zzz") == "see `simgmc list things`" and many.names == "see `simgmc list things`"
    assert few.others("zzz") == f"known: {', '.join(few)}"
    assert suggestion("a", []) == "there are none"
