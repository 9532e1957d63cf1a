"""The page of everything that a scenario can say: it is that of this version, and nothing is missing in it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from simgmc.commands.list import KINDS, entries
from simgmc.commands.reference import COMMAND, markdown
from simgmc.core.registry import Registry
from simgmc.scenario.file import ScenarioFile
from simgmc.scenario.reference import tables
from tests.places import ROOT
from tests.small_runs import SMALL

FILE = ROOT / "scenarios/REFERENCE.md"
SCENARIOS = sorted((ROOT / "scenarios").glob("*.toml"))


@pytest.fixture(scope="module")
def page() -> dict[str, dict[str, set[str]]]:
    """The keys of every entry of every kind, as the committed page has them."""
    found: dict[str, dict[str, set[str]]] = {}
    for section in re.split(r"^## ", FILE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        kind, _, rest = section.partition("\n")
        found[kind] = {name: set() for name in re.findall(r"^\| `([^`]+)` \|", rest.partition("### ")[0], re.M)}
        for entry in re.split(r"^### ", rest, flags=re.M)[1:]:
            name, _, text = entry.partition("\n")
            found[kind][name.strip("`")] = set(re.findall(r"^\| `([^`]+)` \|", text, re.M))
    return found


def test_the_committed_page_is_what_the_program_writes():
    assert FILE.read_text(encoding="utf-8") == markdown(), f"scenarios/REFERENCE.md is stale: write it anew: {COMMAND}"


def test_the_page_has_every_kind_entry_and_option(page):
    assert list(page) == list(KINDS)
    for kind in KINDS:
        assert page[kind] == {name: set(entry.options) for name, entry in entries(kind).items()}


def test_everything_that_is_listed_says_what_it_is_and_how_it_is_written():
    for kind in KINDS:
        found = entries(kind)
        assert found.listed == kind
        for entry in found.values():
            assert entry.summary and entry.source
            for key, option in entry.options.items():
                assert option.summary and option.words, f"{kind} {entry.name}: {key}"


def unknown(value: Any, table: str, page: dict) -> Iterator[str]:
    """The keys of a table of a scenario that the page does not have, and of what is named in it."""
    for key, one in value.items():
        if table == "sweep" and "." in key:  # a key of the grid
            continue
        place = key if table == "scenario" else f"{table}.{key}"
        option = tables()[table].options.get(key)
        named_by = {"methods": ("algorithms", "algorithm"), "optimizer": ("optimizers", "name")}.get(table)
        if named_by is not None and option is None:
            kind, name = named_by[0], value.get(named_by[1], "sgd")
            option = entries(kind)[name].options.get(key)
            if key not in page[kind][name]:
                yield f"{place} of {name}"
        elif key not in page["keys"][table]:
            yield place
        named = re.search(r"`simgmc list (\w+)`", option.words) if option else None
        for each in one if isinstance(one, list) else [one]:
            if key == "schedule" and isinstance(one, list):  # of its phases
                yield from unknown(each, "optimizer.schedule.phases", page)
                continue
            inside = next((other for other in (place, f"{place}.NAME") if other in tables()), None)
            if key == "grid":
                continue
            if named:
                yield from of_part(each, named[1], place, page)
            elif inside and inside.endswith("NAME"):
                for own in each.values():
                    yield from unknown(own, inside, page)
            elif isinstance(each, dict):
                as_other = re.search(r", as ([\w.]+)$", option.words) if option else None
                yield from unknown(each, as_other[1] if as_other else inside or place, page)


def of_part(value: Any, kind: str, place: str, page: dict) -> Iterator[str]:
    name = value["name"] if isinstance(value, dict) else value
    if name not in page[kind]:
        yield f"{place} = {name}"
    elif isinstance(value, dict) and name not in ("import", "given"):
        yield from (f"{place}.{key}" for key in value if key != "name" and key not in page[kind][name])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda file: file.stem)
def test_every_key_of_every_scenario_is_on_the_page(scenario, page):
    content = tomllib.loads(scenario.read_text(encoding="utf-8"))
    assert list(unknown(content, "scenario", page)) == []
    # Every default written out, and what the grid's first point sets.
    file = ScenarioFile.read(scenario)
    assert list(unknown(file.points[0].scenario.written(), "scenario", page)) == []


def test_a_key_that_there_is_not_would_be_found(page):
    for wrong in (
        {"cluster": {"speed": 1}},
        {"cluster": {"hosts": {"worker1": {"color": "red"}}}},
        {"workload": {"model": {"name": "mlp", "wide": 1}}},
        {"methods": [{"algorithm": "gmc", "beta": 1}]},
        {"methods": [{"algorithm": "gmc", "compressor": {"name": "top-k", "share": 1}}]},
        {"methods": [{"algorithm": "gmc", "schedule": {"kind": "cosine", "bend": 1}}]},
        {"cluster": {"crashes": {"workers": [{"worker": 1, "why": 2}]}}},
    ):
        assert len(list(unknown(wrong, "scenario", page))) == 1, wrong
    assert list(unknown(SMALL, "scenario", page)) == []


def test_a_single_kind_or_entry_is_a_page_too():
    assert markdown("graphs").startswith("## graphs\n") and markdown("graphs") in markdown()
    assert markdown("algorithms", "gmc").startswith("## `gmc`\n")
    assert isinstance(tables(), Registry)
