"""Several runs as one: which of them can be compared, and their series side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from simgmc.core.errors import SimgmcError, show_value
from simgmc.results.directory.records import COLLECTIVE_KEY, RUN_KEY, SeriesKey
from simgmc.results.directory.rows import cell
from simgmc.results.series.read import Results, compared_at

_OF_TOKENS = ("loss", "perplexity", "bits-per-token")
"""Metrics that mean something else with another loss."""


class Together:
    """The series of several runs as those of one: the run is the first key of their grid.

    A key that varies in one run alone has in the others the value that their scenarios state.
    """

    def __init__(self, scenarios: Mapping[str, Mapping[str, Any]]):
        """``scenarios``: resolved, by the run's name."""
        self._flat = {name: dict(_flat(_by_name(content))) for name, content in scenarios.items()}
        grids = (dict(_flat(content.get("grid", {}))) for content in scenarios.values())
        self._keys = [key for key in dict.fromkeys(key for grid in grids for key in grid) if key != COLLECTIVE_KEY]

    def key(self, run: str, series: SeriesKey) -> SeriesKey:
        """A series of one run as one of all runs'."""
        own = self._flat[run] | dict(series.grid)
        return replace(series, grid=((RUN_KEY, run), *((key, own.get(key, "")) for key in self._keys)))

    def results(self, runs: Mapping[str, Results]) -> Results:
        """The series of all runs. All are measured by the same. What they cost is
        told where all have the same prices."""
        series = [replace(of, key=self.key(name, of.key)) for name, one in runs.items() for of in one.series]
        methods = tuple(dict.fromkeys(method for one in runs.values() for method in one.methods))
        first, *others = runs.values()
        same = all(one.tariff == first.tariff for one in others)
        points = compared_at(series)
        time = first.time if all(one.time == first.time for one in others) else "time"
        return Results(tuple(series), methods, points, first.measure, first.tariff if same else None, time)

    @property
    def differing(self) -> dict[str, dict[str, str]]:
        """By run the values, as texts, of the keys that do not vary within a run and are not the same in all.

        What a run is called, its seeds and its report are left out; of methods those that all runs have count.
        """
        methods = [{key.split(".")[1] for key in one if key.startswith("methods.")} for one in self._flat.values()]
        shared = set.intersection(*methods)
        found: dict[str, dict[str, str]] = {name: {} for name in self._flat}
        for key in dict.fromkeys(key for one in self._flat.values() for key in one):
            if key in (*self._keys, COLLECTIVE_KEY) or (key.startswith("methods.") and key.split(".")[1] not in shared):
                continue
            if len({one.get(key) for one in self._flat.values()}) > 1:
                for name, one in self._flat.items():
                    found[name] |= {key: one[key]} if key in one else {}
        return found


def check_comparable(
    scenarios: Mapping[str, Mapping[str, Any]], measures: Mapping[str, str], targets: Mapping[str, float | None]
) -> None:
    """Refuse runs whose values mean different things, naming the key and what either says.

    ``scenarios``: resolved, by the run's name; ``measures``: what each run is measured by; ``targets``: what each
    has to reach, where that counts.
    """

    def same(key: str, values: Mapping[str, Any], why: str) -> None:
        (first, mine), *others = values.items() or [("", None)]
        for name, value in others:
            if value != mine:
                raise SimgmcError(
                    f"runs {first!r} and {name!r} cannot be compared: {key} is {_shown(mine)} in {first!r} and "
                    f"{_shown(value)} in {name!r}; {why}"
                )

    same("report.metric", measures, "their values are not of the same kind")
    same("report.target", targets, "give the one to compare at: target=VALUE in Python, --target VALUE of a command")
    workloads = {name: content.get("workload", {}) for name, content in scenarios.items()}
    for key, why in {
        "problem": "they do not solve the same",
        "dataset": "they are not tested on the same data",
    }.items():
        same(f"workload.{key}", {name: one.get(key) for name, one in workloads.items()}, why)
    if next(iter(measures.values())) in _OF_TOKENS:
        losses = {name: one.get("loss") for name, one in workloads.items()}
        same("workload.loss", losses, "one loss says nothing of another")


def _shown(value: Any) -> str:
    return "not there" if value is None else show_value(value)


def _by_name(content: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in content.items() if key not in ("name", "seeds", "report", "grid")}
    methods: Sequence[Mapping[str, Any]] = kept.pop("methods", ())
    return kept | {"methods": {str(one.get("name", place)): one for place, one in enumerate(methods)}}


def _flat(table: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{place}{key}.")
        else:
            yield place + key, cell(value)
