"""``--set KEY=null`` takes a key out of a scenario: what it says then is what it says without the key."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.core.outside.settings import toml_value, written
from simgmc.scenario import ScenarioFile
from simgmc.scenario.keys import set_key
from tests.scenario.test_scenario import QUICKSTART

NAMES = st.sampled_from(["a", "b", "c.d", "e"])
TABLES = st.recursive(st.integers() | st.text(max_size=3), lambda inside: st.dictionaries(NAMES, inside, max_size=3))


def file(*settings, **tables):
    return ScenarioFile(copy.deepcopy({"name": "test", **QUICKSTART, **tables}), "test.toml", settings)


@given(st.dictionaries(NAMES, TABLES), st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=3), TABLES)
def test_what_is_set_and_taken_out_again_is_not_there(content, path, value):
    *tables, last = path
    found, inside = copy.deepcopy(content), content
    set_key(found, ".".join(path), value, "test.toml")
    set_key(found, ".".join(path), None, "test.toml")
    for part in tables:  # those that were made round it stay
        inside = inside.setdefault(part, {})
    assert found == content and last not in inside


@pytest.mark.parametrize(
    ("key", "without"),
    [
        ("report.target", {"report": {"baseline": "DMSGD"}}),
        ("report", {"report": {}}),
        ("grid", {"grid": {}}),
        ("grid.cluster.collective", {"grid": {}}),
        ("methods.GMC", {"methods": [row for row in QUICKSTART["methods"] if row.get("name") != "GMC"]}),
    ],
)
def test_a_scenario_without_a_key_is_as_one_that_never_stated_it(key, without):
    stated = {"grid": {"cluster": {"collective": ["ring", "parameter-server"]}}}
    assert file((key, None), **stated).resolved() == file(**{**stated, **without}).resolved()


def test_what_a_sweep_searches_can_be_taken_out_however_it_is_written():
    for sweep in ({"methods.*.learning_rate": [0.1, 0.2]}, {"methods": {"*": {"learning_rate": [0.1, 0.2]}}}):
        assert "methods.*.learning_rate" in file(sweep=sweep).grid
        assert file(("sweep.methods.*.learning_rate", None), sweep=sweep).grid.keys() == file().grid.keys()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("report.targt", 'report.targt: is not stated, so it cannot be taken out; did you mean "target"?'),
        ("cluster.stragglers.slowdown", "is not stated, so it cannot be taken out; known: topology"),
        ("workload.dataset.name", "\"digits\" is not a table that could hold 'name'"),
        ("methods.*.gossip", "no method has 'gossip'"),
        ("methods.SGD", "nothing is called 'SGD'; did you mean"),
        ("workload.workers", "workload.workers: missing"),
        (
            "grid.cluster.latncy",
            'grid.cluster.latncy: is not stated, so it cannot be taken out; did you mean "latency"?',
        ),
    ],
)
def test_what_cannot_be_taken_out_is_said(key, says):
    with pytest.raises(SimgmcError, match="test.toml: ") as error:
        file((key, None))
    assert says in str(error.value)


def test_null_is_written_and_read_as_nothing_and_in_quotes_as_a_word():
    assert toml_value("null") is None and written(None) == "null"
    assert toml_value('"null"') == "null" == toml_value(written("null"))


def test_a_grid_has_no_value_that_is_none():
    with pytest.raises(SimgmcError, match=r"grid.cluster.latency: None is no value that a grid can have"):
        file(("grid.cluster.latency", ["1 ms", None]))
