"""Scenario files: TOML in, validated points of a grid out, and back to TOML.

Every mistake is reported at once, each with its file, key, value and what would be right.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from simgmc.core.errors import SimgmcError, show_key, show_value, suggestion
from simgmc.core.files import read_text, shown
from simgmc.core.own_code.code import Code, look_in
from simgmc.core.registry import Option
from simgmc.scenario.code import changed, read_code, written_code
from simgmc.scenario.components import plain
from simgmc.scenario.keys import MAX_DEPTH, check_plain, flat, method_of, override, set_key, sets, unshared, with_names
from simgmc.scenario.point import Scenario, reads_shared_weights
from simgmc.scenario.relative_paths import anchor, outside_files
from simgmc.scenario.sweep import Sweep, split
from simgmc.scenario.tables import only_unfit

_MAX_POINTS = 10_000


@dataclasses.dataclass(frozen=True)
class _Grid(Option):
    @property
    def words(self) -> str:
        return "a table of dotted keys, each with a list of values"


GRID = _Grid("keys that vary: every combination of their values is a grid point", dict, None)
"""The table ``[grid]``, which is taken apart before a scenario is checked."""


@dataclasses.dataclass(frozen=True)
class GridPoint:
    """One combination of the grid's values: the keys it sets, and the scenario that results."""

    values: dict[str, Any]
    scenario: Scenario


class ScenarioFile:
    """A scenario file: its plain content, and the points of its grid.

    ``overrides`` are ``key=value`` settings (``--set``), applied before validation. Paths in it are
    relative to ``folder``, the file's own.
    Raises :class:`SimgmcError` listing every mistake.
    """

    def __init__(
        self,
        content: dict[str, Any],
        place: str,
        overrides: Iterable[tuple[str, Any]] = (),
        folder: Path | None = None,
        handed: Mapping[str, Any] | None = None,
    ):
        """``handed``: what import paths of the content stand for that were given in Python."""
        self.place = place
        check_plain(content, place)
        content = unshared(content)
        overridden = False
        for key, value in overrides:
            overridden = True
            check_plain({key: value}, place)
            value = unshared(value)
            if key.count(".") >= MAX_DEPTH:
                raise SimgmcError(f"{place}: {show_key([key[:57]])}...: is nested deeper than {MAX_DEPTH} tables")
            override(content, key, value, place)
        own, searched = split(content.pop("sweep", {}), place)
        self.sweep = self._sweep(own, content)
        """What is best, where a search is stated."""
        self.grid = self._grid({**flat(content.pop("grid", {}), self.place), **searched})
        stated = read_code(content.pop("code", {}), place)
        self.code = Code(str((folder or Path()).absolute()), stated, handed or {})
        """The user's own code that it names."""
        look_in(self.code)
        anchor(content, self.grid, folder or Path())
        self.content = content
        self.points = self._points()
        if self._idle_position():
            if not overridden:
                position = self.points[0].scenario.cluster.server_position
                raise SimgmcError(
                    f"{place}: cluster.server_position = {show_value(position)}: nothing serves, no collective "
                    "and no method has a server; leave it out"
                )
            # An override took the server away.
            self._leave_out_position(content, self.grid)
            self.points = self._points()

    def _sweep(self, own: dict[str, Any], content: dict[str, Any]) -> Sweep | None:
        """The table without what it searches; None where it says nothing."""
        if not own:
            return None
        try:
            sweep = Sweep.model_validate(own)
        except ValidationError as error:
            raise SimgmcError(self._mistakes(error, {}, content, "sweep")) from None
        if sweep.optimise == "time to target" and content.get("report", {}).get("target") is None:
            raise SimgmcError(
                f'{self.place}: sweep.optimise = "time to target": there is none; state report.target, or optimise '
                '= "final"'
            )
        return sweep

    @classmethod
    def read(
        cls, path: str | Path, overrides: Iterable[tuple[str, Any]] = (), handed: Mapping[str, Any] | None = None
    ) -> ScenarioFile:
        """Read and validate a TOML file."""
        path = Path(path)
        try:
            text = read_text(path, "scenario")
        except SimgmcError:
            if path.exists() or "\0" in str(path):
                raise
            near = sorted(p.name for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
            raise SimgmcError(
                f"{shown(path)}: no such file" + (f"; there: {', '.join(near)}" if near else "")
            ) from None
        try:
            content = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise SimgmcError(f"{path}: not valid TOML: {error}") from None
        content.setdefault("name", re.sub(r"[^\w.-]", "_", path.stem)[:100])
        return cls(content, str(path), overrides, path.parent, handed)

    def _grid(self, grid: Any) -> dict[str, list[Any]]:
        keys = {key: values for key, values in flat(grid, self.place).items() if values is not None}
        for key, values in keys.items():
            place = f"{self.place}: {show_key(['grid', key])}"
            if not isinstance(values, list) or not values:
                raise SimgmcError(f"{place} = {show_value(values)}: must be a non-empty list of values")
            if any(values.index(value) != index for index, value in enumerate(values)):
                raise SimgmcError(f"{place} = {show_value(values)}: lists a value twice")
            if key.split(".")[0] in ("name", "seeds", "report"):
                raise SimgmcError(f"{place}: {key.split('.')[0]} cannot vary within a grid")
            if re.fullmatch(r"methods\.[^.]*\.name", key):
                raise SimgmcError(f"{place}: the name of a method cannot vary within a grid")
        points = math.prod(map(len, keys.values()))
        if points > _MAX_POINTS:
            raise SimgmcError(f"{self.place}: grid: its lists combine to {points:,} points; at most {_MAX_POINTS:,}")
        return keys

    def _points(self) -> list[GridPoint]:
        points, refused = [], []
        self.skipped: list[tuple[dict[str, Any], str, str]] = []
        """The values of points whose values do not go together, the key of one that does not, and why."""
        for combination in itertools.product(*self.grid.values()):
            values = dict(zip(self.grid, combination, strict=True))
            content = unshared(self.content)
            for key, value in values.items():
                set_key(content, key, unshared(value), self.place, "grid.")
            try:
                scenario = Scenario.model_validate(content)
            except ValidationError as error:
                message = self._mistakes(error, values, content)
                if not only_unfit(error):
                    raise SimgmcError(message) from None
                refused.append(message)
                self.skipped.append((values, *self._reason(error, content)))
                continue
            points.append(GridPoint(values, scenario))
        if not points:
            raise SimgmcError("\n".join(dict.fromkeys(refused)))
        return points

    @staticmethod
    def _reason(error: ValidationError, content: dict[str, Any]) -> tuple[str, str]:
        """Why a point cannot be: the key of the first value that does not go with others, and why."""
        one = error.errors(include_url=False)[0]
        return show_key(with_names(tuple(one["loc"]), content)), one["msg"]

    def _idle_position(self) -> bool:
        """Whether a server's position is stated, and no point has a server."""
        scenarios = [point.scenario for point in self.points]
        stated = any(scenario.cluster.server_position is not None for scenario in scenarios)
        return stated and not any(scenario.has_server(scenario.methods) for scenario in scenarios)

    @staticmethod
    def _leave_out_position(content: dict[str, Any], grid: dict[str, Any]) -> None:
        content.get("cluster", {}).pop("server_position", None)
        grid.pop("cluster.server_position", None)

    def _mistakes(self, error: ValidationError, values: dict[str, Any], content: dict[str, Any], *inside: str) -> str:
        lines = []
        for one in error.errors(include_url=False):
            place = (*inside, *(part for part in one["loc"] if part != "own_conditions"))
            key, text = show_key(with_names(place, content)), one["msg"]
            shown = "" if text.startswith("missing") else f" = {show_value(one['input'])}"
            # Where the grid sets the key, its value is not the one in the file's own section.
            set_by = [grid for grid in values if sets(grid, one["loc"], content)]
            source = f" (set by {show_key(('grid', set_by[0]))})" if set_by else ""
            lines.append(f"{self.place}: {key}{shown}: {text[0].lower() + text[1:]}{source}")
        return "\n".join(dict.fromkeys(lines))

    def with_settings(self, settings: Iterable[tuple[str, Any]]) -> ScenarioFile:
        """The same file with further keys set."""
        return ScenarioFile(self._whole(), self.place, settings, handed=self.code.handed)

    def __reduce__(self) -> tuple[Any, ...]:
        """By its content: another process reads and validates it as this one did."""
        return ScenarioFile, (self._whole(), self.place, (), None, self.code.handed)

    def _whole(self) -> dict[str, Any]:
        return {
            **unshared(self.content),
            "grid": unshared(self.grid),
            **self._written_sweep(),
            **written_code(self.code),
        }

    def _written_sweep(self) -> dict[str, Any]:
        """The table with its key: what it searches stands in the grid by now."""
        return {} if self.sweep is None else {"sweep": plain(self.sweep)}

    def only(self, methods: Iterable[str]) -> ScenarioFile:
        """The same file with these of its methods alone; grid keys of the others are left out.

        Raises SimgmcError where there is no such method, or where a baseline is stated that is not among them.
        """
        chosen, scenario, report = list(methods), self.points[0].scenario, self.content.get("report", {})
        names = [method.name for method in scenario.methods]
        for name in chosen:
            if name not in names:
                raise SimgmcError(f"{self.place}: no method is called {name!r}; {suggestion(name, names)}")
        if report.get("baseline") is not None and report["baseline"] not in chosen:
            raise SimgmcError(
                f"{self.place}: report.baseline = {show_value(scenario.report.baseline)}: is not among the chosen "
                f"methods ({', '.join(chosen)}); choose it too, or set report.baseline to one of them"
            )
        content = unshared(self.content)
        content["methods"] = [row for row, name in zip(content["methods"], names, strict=True) if name in chosen]
        grid = {}
        for key, values in self.grid.items():
            whose = method_of(key, names)
            if whose is None:
                grid[key] = values
            elif whose in chosen:  # its number may be another now
                grid[f"methods.{whose}.{key.removeprefix('methods.').removeprefix(whose).partition('.')[2]}"] = values
        scenarios = [point.scenario for point in self.points]
        kept = [[method for method in one.methods if method.name in chosen] for one in scenarios]
        if not any(map(reads_shared_weights, itertools.chain(*kept))):
            self._leave_out_weights(content, grid)
        if not any(one.has_server(methods) for one, methods in zip(scenarios, kept, strict=True)):
            self._leave_out_position(content, grid)
        whole = {**content, "grid": grid, **self._written_sweep(), **written_code(self.code)}
        return ScenarioFile(whole, self.place, handed=self.code.handed)

    @staticmethod
    def _leave_out_weights(content: dict[str, Any], grid: dict[str, Any]) -> None:
        """Of gossip, where those who read them are left out; stated ones stay, as they are the graph."""
        if "graph" in (table := content.get("gossip", {})):
            table.pop("weights", None)
        grid.pop("gossip.weights", None)

    def outside_files(self) -> list[Path]:
        """The files from outside that it names, data sets aside: networks, traces ..., and the user's own code."""
        code = (Path(one.file) for one in self.code.used.values() if one.file and not one.installed)
        return [*outside_files(tomllib.loads(self.resolved()), self.grid, self.content), *code]

    def require_code_unchanged(self) -> None:
        """Raises SimgmcError where code is not what this scenario, a resolved one, says that it was."""
        if files := changed(self.code):
            raise SimgmcError(
                f"{self.place}: code: {', '.join(files)}: is not what it was when this scenario was resolved; put it "
                "back, or take the table [code] out to run what is there now"
            )

    def resolved(self) -> str:
        """The scenario as TOML with every default written out; the grid stays a grid.

        A default that some point does not share follows from the grid's values, and is left to them.
        """
        content = {**self._resolved, **self._written_sweep(), **written_code(self.code)}
        return tomli_w.dumps(content) + (f"\n{_grid_text(self.grid)}" if self.grid else "")

    @cached_property
    def _resolved(self) -> dict[str, Any]:
        """The tables of the points, apart from the grid."""
        content = _shared([point.scenario.written() for point in self.points], set(self._paths()))
        self._leave_to_points(content)
        return content

    def _leave_to_points(self, content: dict[str, Any]) -> None:
        """Leave out the defaults of the points there are that a point which was skipped refuses: its values come first,
        so that it is to be skipped for the same reason when this is read again."""
        for values, *_ in self.skipped:
            there = unshared(content)
            for key, value in values.items():
                set_key(there, key, unshared(value), self.place, "grid.")
            try:
                Scenario.model_validate(there)
            except ValidationError as error:
                if not only_unfit(error):
                    for one in error.errors(include_url=False):
                        _remove(content, one["loc"])

    def _paths(self) -> Iterator[tuple[int | str, ...]]:
        """Where the grid sets something: its keys, with the number of a method for its name."""
        names = [method.name for method in self.points[0].scenario.methods]
        for key in self.grid:
            parts = key.split(".")
            if parts[0] != "methods" or len(parts) == 1:
                yield tuple(parts)
                continue
            own = method_of(key, names)
            for number, name in enumerate(names):
                if own in (None, name):
                    yield ("methods", number, *parts[2:])


def _grid_text(grid: dict[str, list[Any]]) -> str:
    """The grid as TOML, its keys in their order, which is that of the points."""
    text = tomli_w.dumps({"grid": grid})
    if list(tomllib.loads(text)["grid"]) == list(grid):
        return text
    # The writer puts lists of long tables last: each list goes on one line instead.
    return "[grid]\n" + "".join(f"{_inline(key)} = {_inline(values)}\n" for key, values in grid.items())


def _inline(value: Any) -> str:
    """A value, or a quoted key, on one line of TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_inline(key)} = {_inline(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n")


def _remove(content: Any, place: Sequence[int | str]) -> None:
    *tables, key = place
    for part in tables:
        content = content.get(part, {}) if isinstance(content, dict) else content[part]
    content.pop(key, None)


def _shared(tables: Sequence[Any], grid: set[tuple[int | str, ...]], path: tuple[int | str, ...] = ()) -> Any:
    """The first of these tables (or of these lists of as many tables) without what is not the same in all.

    What the grid sets stays: it is set anew at every point.
    """
    first, *others = tables
    if isinstance(first, list):
        rows = enumerate(zip(*tables, strict=True))
        return [_shared(rows_there, grid, (*path, number)) for number, rows_there in rows]
    kept = {}
    for key, value in first.items():
        inside, there = (*path, key), [value, *(other[key] for other in others if key in other)]
        everywhere = len(there) == len(tables)
        if inside in grid or (everywhere and all(one == value for one in there)):
            kept[key] = value
        elif everywhere and _alike(there):
            kept[key] = _shared(there, grid, inside)
    return kept


def _alike(values: Sequence[Any]) -> bool:
    """Whether all are tables, or lists of as many tables."""
    if all(isinstance(one, list) for one in values):
        return len(set(map(len, values))) == 1 and all(isinstance(row, dict) for one in values for row in one)
    return all(isinstance(one, dict) for one in values)
