"""Named parts that scenarios choose from (compressors, models, graphs ...), each with its options.

What an option means and what it may be is said once: ``simgmc list`` shows it, scenario files and
calls from Python are held to it. Plain data; what an entry builds is loaded when it is built.

A registry knows its own entries, those that installed packages add (entry points of its group), and one's own by
import path, ``"module:Name"``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from simgmc.core.errors import MANY, SimgmcError, nearest, show_value, suggestion
from simgmc.core.own_code.code import is_import_path, mention
from simgmc.core.own_code.errors import guarded
from simgmc.core.own_code.imports import find

REQUIRED = object()
"""The default of an option that must be given."""
_MAX_ENTRIES = 100
"""Entries that a list (of layers) may have."""
_ONE = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text",
    Path: "a path, from the scenario's folder",
}  # fmt: skip
_MANY = {int: "whole numbers", float: "numbers", str: "names"}


@dataclass(frozen=True)
class Option:
    """What an option means and what it may be.

    Numbers, alone or in a list, lie between the bounds; ``above`` takes the place of ``at_least``
    and ``below`` that of ``at_most``.
    """

    summary: str
    """Its meaning, with the unit where it has one."""
    kind: Any
    """``int``, ``float``, ``bool``, ``str``, ``Path``, or a list such as ``list[int]``."""
    default: Any = REQUIRED
    """``None``: it may be left out."""
    choices: tuple[str, ...] = ()
    at_least: float = 1
    at_most: float = 1_000_000
    above: float | None = None
    below: float | None = None

    @property
    def words(self) -> str:
        """What a valid value is."""
        if self.choices:
            return "one of " + ", ".join(map(show_value, self.choices))
        low = f"of at least {_bound(self.at_least)}" if self.above is None else f"above {_bound(self.above)}"
        high = f"at most {_bound(self.at_most)}" if self.below is None else f"below {_bound(self.below)}"
        if get_origin(self.kind) is list:
            (each,) = get_args(self.kind)
            limits = f", each {low.removeprefix('of ')} and {high}" if each in (int, float) else ""
            return f"a list of {_MANY[each]}, at most {_MAX_ENTRIES}{limits}"
        return _ONE[self.kind] + (f" {low} and {high}" if self.kind in (int, float) else "")

    def accepts(self, value: Any) -> bool:
        """Whether the value is valid."""
        if self.choices:
            return value in self.choices
        if get_origin(self.kind) is list:
            (each,) = get_args(self.kind)
            return (
                isinstance(value, (list, tuple))
                and len(value) <= _MAX_ENTRIES
                and all(self._accepts(each, one) for one in value)
            )
        return self._accepts(self.kind, value)

    def _accepts(self, kind: type, value: Any) -> bool:
        if kind in (str, Path):
            return isinstance(value, str) and bool(value.strip())
        if kind not in (int, float):
            return isinstance(value, kind)
        if isinstance(value, bool) or not isinstance(value, (int, kind)):
            return False
        low = value >= self.at_least if self.above is None else value > self.above
        return low and (value <= self.at_most if self.below is None else value < self.below)

    def read(self, value: Any) -> Any:
        """The value as its entry takes it. Raises ValueError, with what would be right, where it is not valid."""
        if not self.accepts(value):
            near = nearest(value, self.choices) if isinstance(value, str) else None
            raise ValueError(f"must be {self.words}" + (f'; did you mean "{near}"?' if near else ""))
        if self.kind is float:
            return float(value)
        return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Numbers(Option):
    """An option that holds finite numbers in lists, nested ``depth`` times; ``shape`` says it in words."""

    kind: Any = list
    depth: int = 1
    shape: str = "a list of numbers"

    @property
    def words(self) -> str:
        """How the lists are nested."""
        return self.shape

    def accepts(self, value: Any) -> bool:
        """Whether they are."""
        return nested(value, self.depth)


def nested(value: Any, depth: int) -> bool:
    """Whether finite numbers lie in non-empty lists, nested so often."""
    if depth == 0:
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        return real and abs(value) <= sys.float_info.max
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(nested(one, depth - 1) for one in value)


def _bound(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


class OptionError(SimgmcError):
    """The value of one option is not valid: ``problem`` says what would be right."""

    def __init__(self, what: str, key: str, value: Any, problem: str):
        super().__init__(f"{what}{key} = {show_value(value)}: {problem}")
        self.key, self.value, self.problem = key, value, problem


def read_options(options: Mapping[str, Option], values: Mapping[str, Any], what: str = "") -> dict[str, Any]:
    """The values as their options read them. Raises OptionError, which begins with ``what``, for one that
    is not valid.
    """
    read = {}
    for key, value in values.items():
        try:
            read[key] = None if value is None and options[key].default is None else options[key].read(value)
        except ValueError as error:
            raise OptionError(what, key, value, str(error)) from None
    return read


@dataclass(frozen=True)
class Entry:
    """One line of ``simgmc list``: a name, what it is, where it comes from, its options."""

    name: str
    summary: str
    source: str
    options: Mapping[str, Option] = field(default_factory=dict)
    details: str = field(default="", kw_only=True)
    """What else there is to say, in as many lines as it takes."""

    def named(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A value for every option: the given one, not looked at, else the default.

        Raises:
            SimgmcError: an option that the entry does not have, or a missing one that has no default.
        """
        for key in given:
            if key not in self.options:
                known = suggestion(key, self.options) if self.options else "it has none"
                raise SimgmcError(f"{self.name} has no option {show_value(key)}; {known}")
        values = {}
        for key, option in self.options.items():
            values[key] = given.get(key, option.default)
            if values[key] is REQUIRED or (values[key] is None and option.default is not None):
                raise SimgmcError(f"{self.name} needs the option {show_value(key)}, {option.words}: {option.summary}")
        return values

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every option of the entry with its value: the given one, else the default.

        Raises:
            SimgmcError: as :meth:`named`, or a value that is not valid; the message says what would be right.
        """
        return read_options(self.options, self.named(given), f"{self.name}: ")


E = TypeVar("E", bound=Any)

Adopt = Callable[[str, Any], E]
"""From a name and what was found under it to an entry. Raises SimgmcError where it is no part of the kind."""


class Registry(dict[str, E]):
    """Entries by name; an unknown name is refused with the nearest one.

    ``adopt``: makes an entry of one's own part, named by its import path or by an installed package's entry point in
    ``group``. Neither is among the registry's items; :meth:`everything` has those of packages too. ``listed``: what
    ``simgmc list`` calls the kind. ``later``: what an import path names is not imported yet, ``adopt`` gets None.
    """

    def __init__(
        self,
        kind: str,
        entries: Iterable[E] | Mapping[str, E],
        adopt: Adopt[E] | None = None,
        group: str = "",
        listed: str = "",
        later: bool = False,
    ):
        super().__init__(entries if isinstance(entries, Mapping) else {entry.name: entry for entry in entries})
        self.kind, self.group, self.listed = kind, group, listed
        self._adopt, self._later = adopt, later
        self._adopted: dict[str, tuple[Any, E]] = {}

    def __missing__(self, name: str) -> E:
        if not self.knows(name):
            raise SimgmcError(f"unknown {self.kind} {show_value(name)}; {self.others(name)}")
        if not is_import_path(name):
            return self._from_package(name)
        if self._later:
            mention(name)
        return self._own(name, None if self._later else find(self.kind, name))

    def knows(self, name: str) -> bool:
        """Whether there is an entry of that name, or may be one under that import path."""
        return name in self or (self._adopt is not None and (is_import_path(name) or name in self.installed))

    @property
    def takes_own(self) -> bool:
        """Whether parts of one's own can be named by their import path."""
        return self._adopt is not None

    def others(self, name: Any) -> str:
        """What could be meant by a name that there is no entry for."""
        own = '; or "module:Name" of one\'s own' if self.takes_own else ""
        return suggestion(str(name), self, self.see) + own

    @property
    def see(self) -> str:
        """The command that shows all entries; empty where there is none."""
        return f"simgmc list {self.listed}" if self.listed else ""

    @property
    def names(self) -> str:
        """The names of all entries, or the command that shows them where they are many."""
        return f"see `{self.see}`" if self.see and len(self) > MANY else ", ".join(self)

    @cached_property
    def installed(self) -> dict[str, Any]:
        """The entry points that installed packages add to the registry, by name."""
        if not self.group:
            return {}
        from importlib.metadata import entry_points  # takes longer than all else here, and few ask

        return {point.name: point for point in entry_points(group=self.group) if point.name not in self}

    def everything(self) -> dict[str, E | SimgmcError]:
        """The entries, and those of installed packages; for one that cannot be had, what is wrong with it."""
        found: dict[str, E | SimgmcError] = dict(self)
        for name in self.installed if self._adopt is not None else ():
            try:
                found[name] = self[name]
            except SimgmcError as error:
                found[name] = error
        return found

    def _from_package(self, name: str) -> E:
        point = self.installed[name]
        package = point.dist.name if point.dist is not None else point.value
        if is_import_path(point.value):
            mention(point.value)
        found = guarded(self.kind, f"{name!r} of the installed package {package} cannot be loaded", point.load)
        return self._own(name, found)

    def _own(self, name: str, found: Any) -> E:
        before, entry = self._adopted.get(name, (None, None))
        if found is not before or entry is None:
            assert self._adopt is not None
            entry = self._adopt(name, found)
            self._adopted[name] = found, entry
        return entry

    def read(self, value: Any) -> tuple[str, dict[str, Any]]:
        """``"name"`` or ``{ name = "...", ... }`` as the name of an entry and all of its options.

        Raises:
            SimgmcError: it is neither, or names no entry, or options that are not valid.
        """
        given = {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else {}
        name = given.pop("name", None)
        if not isinstance(name, str):
            raise SimgmcError(
                f'needs the name of a {self.kind}, or a table {{ name = "...", ... }}; known: {self.names}'
            )
        return name, self[name].resolve(given)


@dataclass(frozen=True)
class Part(Option):
    """An option that names an entry of another registry; its value is a table of the name and all options."""

    kind: Any = dict
    entries: Registry[Any] = field(kw_only=True)

    @property
    def words(self) -> str:
        """The names that there are."""
        return f"a {self.entries.kind}: {self.entries.names}"

    def read(self, value: Any) -> dict[str, Any]:
        """As :meth:`Option.read`."""
        try:
            name, options = self.entries.read(value)
        except SimgmcError as error:
            raise ValueError(str(error)) from None
        return {"name": name, **{key: one for key, one in options.items() if one is not None}}


@dataclass(frozen=True)
class ImportPath(Option):
    """An option that names something to import; with ``arguments`` also a table of it and its arguments."""

    kind: Any = str
    arguments: bool = False

    @property
    def words(self) -> str:
        """How it is written."""
        table = ', or a table { factory = "package.module:name", ... } with its arguments' if self.arguments else ""
        return f'an import path, "package.module:name"{table}'

    def accepts(self, value: Any) -> bool:
        """Whether it is written so."""
        return is_import_path(self._path(value))

    def read(self, value: Any) -> Any:
        """As :meth:`Option.read`; what it names is not imported yet."""
        read = super().read(value)
        mention(self._path(value))
        return read

    def _path(self, value: Any) -> Any:
        return value.get("factory") if isinstance(value, Mapping) and self.arguments else value
