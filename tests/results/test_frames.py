"""Varied keys as columns of numbers with their unit, and frames by either library."""

from __future__ import annotations

import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.core.units import BANDWIDTH, DURATION, SIZE
from simgmc.results.frames import BACKENDS, KeyColumn, backend, frame
from simgmc.results.series.read import short_names


@pytest.mark.parametrize(
    ("units", "ending", "base"), [(BANDWIDTH, "_mbit_s", 125e3), (DURATION, "_s", 1.0), (SIZE, "_bytes", 1.0)]
)
@given(data=st.data())
def test_quantities_are_numbers_in_the_unit_that_the_column_names(units, ending, base, data):
    written = st.tuples(st.floats(0.01, 1e4).map(lambda value: round(value, 6)), st.sampled_from(sorted(units)))
    values = data.draw(st.lists(written.filter(lambda one: one[0] * units[one[1]] < 1e9), min_size=1, max_size=4))
    column = KeyColumn.of("a.key", [f"{number} {unit}" for number, unit in values])
    assert column.ending == ending
    for number, unit in values:
        assert column.values[f"{number} {unit}"] == pytest.approx(number * units[unit] / base, rel=1e-12)


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1", "10"], [1, 10]),
        (["0.1", "1"], [0.1, 1.0]),
        (["true", "false"], [True, False]),
        (["ring", "tree"], ["ring", "tree"]),
        (["2 ms", "1 GB/s"], ["2 ms", "1 GB/s"]),
        (['{"name": "dirichlet", "alpha": 0.1}', "iid"], ["dirichlet (alpha 0.1)", "iid"]),
    ],
)
def test_other_values_are_what_they_are(texts, values):
    column = KeyColumn.of("a.key", texts)
    assert column.ending == "" and [column.values[text] for text in texts] == values


def test_a_key_is_called_by_its_shortest_ending_that_is_its_own():
    keys = ["cluster.latency", "methods.GMC.compressor.density", "methods.DGC.compressor.density", "methods.*.seed"]
    names = short_names(keys, taken=lambda key, name: name == "seed")
    assert list(names.values()) == ["latency", "GMC_compressor_density", "DGC_compressor_density", "methods_seed"]


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join), min_size=1, unique=True))
def test_no_two_keys_are_called_the_same(keys):
    if not any(f".{other}".endswith(f".{key}") for key in keys for other in keys if key != other):
        assert len(set(short_names(keys).values())) == len(keys)


@pytest.mark.parametrize("made_by", BACKENDS)
def test_a_frame_has_the_types_of_its_values_and_nothing_where_they_are_unknown(made_by):
    columns = {"text": ["a", "b"], "count": [1, 2], "some": [3, None], "real": [0.5, 1.5], "none": [None, None]}
    made = frame(columns, made_by)
    assert type(made).__module__.startswith(made_by) and list(made.columns) == list(columns)
    assert list(made["count"]) == [1, 2] and "int" in str(made["count"].dtype).lower()
    assert "float" in str(made["some"].dtype).lower()
    unknown = made["some"].is_null() if made_by == "polars" else made["some"].isna()
    assert list(unknown) == [False, True]


@pytest.mark.parametrize("name", [None, "polars"])
def test_without_a_library_it_is_said_what_to_install(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SimgmcError, match=r"pip install 'simgmc\[polars\]'") as refused:
        backend(name)
    assert ("pip install 'simgmc[pandas]'" in str(refused.value)) == (name is None)


def test_whichever_is_there_makes_the_frames(monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pandas" else there(name))
    assert backend() == "polars"
    with pytest.raises(SimgmcError, match='must be "pandas" or "polars"'):
        backend("arrow")
