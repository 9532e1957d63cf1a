"""The table [optimizer]: which rule each method gets, what overrides what, and what is refused for which reason."""

from __future__ import annotations

import tomllib

import pytest

from simgmc.algorithms.optimizers import OPTIMIZERS, SGD, AdamW, Muon
from simgmc.core.errors import SimgmcError
from simgmc.scenario import ScenarioFile
from simgmc.scenario.updates import update_words
from tests.small_runs import SMALL

TOP = {"name": "top-k", "density": 0.1}
ADAMW = {"name": "adamw", "learning_rate": 1e-3, "betas": [0.9, 0.95], "clip_norm": 1.0}
GMC = {"name": "GMC", "algorithm": "gmc", "compressor": TOP}


def scenario(optimizer, *methods):
    content = {**SMALL, "optimizer": optimizer, "methods": list(methods), "report": {"target": 0.3}}
    return ScenarioFile(content, "one.toml").points[0].scenario


def updates(optimizer, *methods):
    found = scenario(optimizer, *methods)
    return [found.update(method) for method in found.methods]


def refused(optimizer, *methods):
    with pytest.raises(SimgmcError) as error:
        scenario(optimizer, *methods)
    return str(error.value)


def test_what_all_share_is_taken_where_the_method_takes_it_and_does_not_state_its_own():
    shared, own, gmc = updates(
        ADAMW,
        {"name": "a", "algorithm": "data-parallel"},
        {"name": "b", "algorithm": "local-sgd", "optimizer": "muon", "clip_norm": 0, "learning_rate": 0.02},
        {**GMC, "optimizer": {"name": "sgd", "momentum": 0.7}, "weight_decay": 0.5},
    )
    assert (shared.rule, shared.settings.clip_norm) == (AdamW(betas=(0.9, 0.95)), 1.0)
    assert (own.rule, own.settings.clip_norm, own.learning_rate) == (Muon(), 0.0, 0.02)
    assert (gmc.rule, gmc.momentum, gmc.weight_decay, gmc.settings.clip_norm) == (None, 0.7, 0.5, 1.0)


def test_a_scenario_without_a_name_is_momentum_sgd_as_ever():
    for method in ({"algorithm": "dmsgd"}, {"algorithm": "local-sgd"}, {"algorithm": "diloco"}, GMC):
        (found,) = updates({"learning_rate": 0.1, "momentum": 0.8}, method)
        assert (found.rule, found.momentum) == (None, 0.8)
    (nesterov,) = updates({"name": "sgd-nesterov", "learning_rate": 0.1}, {"algorithm": "local-sgd"})
    assert isinstance(nesterov.rule, SGD) and nesterov.rule.nesterov


@pytest.mark.parametrize("optimizer, method, says", [
    (ADAMW, GMC, r'methods.GMC.algorithm = "gmc": does not go with optimizer adamw: it goes with SGD with a momentum '
     "or none, as its global momentum is compressed with the gradient, which is its method; give the method its own"),
    ({"learning_rate": 0.1}, {**GMC, "optimizer": "muon"}, "does not go with optimizer muon"),
    ({"learning_rate": 0.1}, {**GMC, "optimizer": {"name": "sgd", "nesterov": True}}, "these options of it"),
    ({"name": "muon", "learning_rate": 0.1}, {"algorithm": "1-bit-adam"}, "takes an optimizer of the Adam family"),
    (ADAMW, {"algorithm": "local-sgd", "momentum": 0.5}, "momentum = 0.5: belongs to the method's usual optimizer"),
    (ADAMW, {"algorithm": "diloco", "beta1": 0.5}, "beta1 = 0.5: belongs to the method's usual optimizer"),
    ({**ADAMW, "clip_at": "mean"}, {"algorithm": "local-sgd"}, "no mean gradient is known before local-sgd steps"),
    ({"learning_rate": 0.1, "groups": [{"match": ["*.bias"], "rate": 2.0}]}, {"algorithm": "dmsgd"},
     "dmsgd has one learning rate for all parameters"),
    ({"name": "adamx", "learning_rate": 0.1}, {"algorithm": "sgd"}, 'optimizer.name = "adamx": unknown optimizer'),
    ({**ADAMW, "momentum": 0.9}, {"algorithm": "data-parallel"}, "optimizer.momentum = 0.9: unknown key"),
    ({**ADAMW, "betas": [0.9, 1.0]}, {"algorithm": "data-parallel"}, "optimizer.betas"),
    ({**ADAMW, "groups": [{"rate": 2.0}]}, {"algorithm": "data-parallel"}, "match: missing"),
])  # fmt: skip
def test_what_does_not_go_together_is_one_clear_line(optimizer, method, says):
    found = refused(optimizer, {"name": method["algorithm"], **method})
    assert says in found and "\n" not in found


def test_the_resolved_scenario_states_every_option_and_says_the_same_again():
    content = {**SMALL, "optimizer": ADAMW, "report": {"target": 0.3}}
    content["methods"] = [
        {"name": "a", "algorithm": "data-parallel", "groups": [{"match": ["*.bias"], "weight_decay": 0.1}]},
        {"name": "b", "algorithm": "diloco", "optimizer": "lamb", "outer_optimizer": {"name": "adam", "eps": 1e-3}},
        {**GMC, "optimizer": "sgd"},
    ]
    file = ScenarioFile(content, "one.toml")
    written = tomllib.loads(file.resolved())
    assert written["optimizer"]["eps"] == 1e-8 and written["methods"][1]["outer_optimizer"]["betas"] == [0.9, 0.999]
    again = ScenarioFile(written, "two.toml")
    assert again.resolved() == file.resolved()
    for one, other in zip(file.points[0].scenario.methods, again.points[0].scenario.methods, strict=True):
        assert file.points[0].scenario.update(one) == again.points[0].scenario.update(other)


def test_minibatches_are_counted_where_a_gradient_takes_several():
    found = scenario(
        {**ADAMW, "accumulate": 4}, {"algorithm": "local-sgd", "period": 3}, {"algorithm": "data-parallel"}
    )
    assert [found.gradients(method, 100.0) for method in found.methods] == [30 * 3 * 4, 30 * 4]


def test_the_header_says_how_each_method_updates():
    found = scenario(ADAMW | {"weight_decay": 0.1}, {"algorithm": "data-parallel"}, {**GMC, "optimizer": "sgd"})
    words = [update_words(found.optimizer, method) for method in found.methods]
    assert words[0] == "adamw, betas 0.9 and 0.95; weight decay 0.1, not of vectors; the mean gradient clipped to 1"
    assert words[1] == "its own update, momentum 0.9; weight decay 0.1; each worker's gradient clipped to 1"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_can_be_shared(name):
    (found,) = updates({"name": name, "learning_rate": 0.1}, {"algorithm": "data-parallel"})
    assert found.rule is None if name == "sgd" else type(found.rule) is OPTIMIZERS[name]
