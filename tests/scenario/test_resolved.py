"""The resolved scenario, every default written out, is a scenario: valid, and it resolves to itself."""

from __future__ import annotations

import copy
import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.scenario import ScenarioFile
from tests.places import QUICKSTART, SCENARIOS

SHIPPED = [{"name": "test", **tomllib.loads(path.read_text())} for path in sorted(SCENARIOS.glob("*.toml"))]
CRASH = {"worker": 0, "at": "5 s", "back": "9 s"}


def resolves_to_itself(file: ScenarioFile) -> None:
    again = ScenarioFile(tomllib.loads(file.resolved()), "resolved.toml")
    assert again.resolved() == file.resolved()
    assert [point.values for point in again.points] == [point.values for point in file.points]
    assert [point.scenario.written() for point in again.points] == [point.scenario.written() for point in file.points]


CLUSTERS = [{**QUICKSTART["cluster"], "latency": latency} for latency in ("1 ms", "20 ms")]


@pytest.mark.parametrize(
    "changed",
    [
        {"grid.workload.partition.name": ["dirichlet", "iid"], "workload.partition": {"name": "iid"}},
        {"gossip": {"graph": "ring"}, "grid.methods.DMSGD.algorithm": ["pd-sgdm", "d-psgd", "swarm-sgd"]},
        {"methods.DMSGD.algorithm": "swarm-sgd"},
        {"methods.DMSGD": {"algorithm": "d-psgd", "gossip": {"graph": "ring"}}, "report": {}},
        {"methods.DMSGD": {"algorithm": "swarm-sgd", "gossip": {"graph": "ring"}}, "report": {}},
        {
            "cluster.compute": {"profile": "nvidia-v100", "efficiency": 0.3},
            "cluster.crashes": {"workers": CRASH, "policy": "wait"},
        },
        {
            "cluster.crashes": {"workers": CRASH, "policy": "wait"},
            "grid.cluster.compute": ["measured", {"profile": "nvidia-v100", "efficiency": 0.3}],
        },
        {"grid.cluster": CLUSTERS, "grid.optimizer.momentum": [0.8, 0.9]},
    ],
    ids=lambda changed: " and ".join(changed),
)
def test_what_follows_from_one_value_of_a_grid_is_not_written_down_for_the_others(changed):
    content = copy.deepcopy({"name": "test", **QUICKSTART})
    content.pop("grid", None)
    resolves_to_itself(ScenarioFile(content, "test.toml", changed.items()))


def test_the_name_of_a_method_does_not_vary_within_a_grid():
    with pytest.raises(SimgmcError, match="the name of a method cannot vary"):
        ScenarioFile({"name": "test", **QUICKSTART}, "test.toml", [("grid.methods.0.name", ["A", "B"])])


# Scenarios with parts of others.


def parts(value, path=()):
    """Every table and value of a scenario, with its path; the number of a method is left open."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield (*path, key), one
            yield from parts(one, (*path, key))
    elif path == ("methods",):
        for one in value:
            yield from parts(one, (*path, "*"))


STATED = [
    (("cluster", "crashes"), {"workers": CRASH, "policy": "without"}),
    (("cluster", "compute"), {"profile": "nvidia-v100", "efficiency": 0.3}),
    (("gossip",), {"graph": "ring"}),
    (("methods", "*", "gossip"), {"graph": "complete"}),
]
FOUND: dict[tuple[str, ...], list] = {}
for place, part in [*STATED, *(one for content in SHIPPED for one in parts(content))]:
    if place[0] not in ("name", "grid"):
        FOUND.setdefault(place, []).append(part)
VARIED = sorted(place for place in FOUND if place[0] not in ("seeds", "report"))


@st.composite
def grafted(draw):
    content = copy.deepcopy(draw(st.sampled_from(SHIPPED)))
    if draw(st.booleans()):
        content.pop("grid", None)
    sets = []
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(sorted(FOUND)))
        number = str(draw(st.integers(0, len(content["methods"]) - 1)))
        sets.append((".".join(number if key == "*" else key for key in place), draw(st.sampled_from(FOUND[place]))))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.sampled_from(VARIED))
        values = draw(st.lists(st.sampled_from(FOUND[place]), min_size=1, max_size=2))
        sets.append((".".join("0" if key == "*" else key for key in ("grid", *place)), values))
    return content, sets


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(grafted())
def test_a_scenario_with_parts_of_others_is_refused_or_resolves_to_itself(given):
    content, sets = given
    try:
        file = ScenarioFile(content, "test.toml", sets, SCENARIOS)
    except SimgmcError:
        return
    resolves_to_itself(file)
