"""What the registries of datasets, partitions and models have in common: entries with options."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simgmc.errors import SimgmcError


_LONGEST = 100
"""Entries that a list (of layers) may have."""


@dataclass(frozen=True)
class Option:
    """A parameter of a registry entry, as a scenario file may set it.

    ``kind`` is the type of a valid value: ``int``, ``float``, or ``list`` (of positive
    integers), ``bool``; a ``str`` option names its valid ``choices``, or is any text where it has none.
    Numbers must be at least ``minimum`` (above it, where ``above`` is set) and at most ``maximum``.
    """

    summary: str
    kind: type
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: float = 1
    above: bool = False
    maximum: float = 1_000_000
    optional: bool = False
    """Whether it may be left out although it has no default."""

    def problem(self, value: Any) -> str | None:
        """What would be right instead, or None if the value is valid."""
        if self.kind is bool:
            return None if isinstance(value, bool) else "true or false"
        if self.kind is str and not self.choices:
            return None if isinstance(value, str) and value.strip() else "text"
        if self.kind is str:
            return None if value in self.choices else "one of " + ", ".join(map(repr, self.choices))
        if self.kind is list:
            valid = isinstance(value, (list, tuple)) and all(
                type(item) is int and self.minimum <= item <= self.maximum for item in value
            )
            valid = valid and len(value) <= _LONGEST
            return None if valid else f"a list of whole numbers, at most {_LONGEST}, each at least {self.minimum} and at most {self.maximum:,}"
        kinds = (int, float) if self.kind is float else (int,)
        valid = isinstance(value, kinds) and not isinstance(value, bool) and value <= self.maximum
        if valid and (value > self.minimum if self.above else value >= self.minimum):
            return None
        what = "a number" if self.kind is float else "a whole number"
        return f"{what} {'above' if self.above else 'of at least'} {self.minimum} and at most {self.maximum:,}"


@dataclass(frozen=True)
class Entry:
    """One line of ``simgmc list``: a name, what it is, where it comes from, its options."""

    name: str
    summary: str
    source: str
    options: Mapping[str, Option] = field(default_factory=dict)

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every option of the entry with its value: the given one, else the default.

        Raises:
            SimgmcError: an option that the entry does not have, a missing one that has no
                default, or a value that is not valid; the message names the right ones.
        """
        for name in given:
            if name not in self.options:
                raise SimgmcError(f"{self.name} has no option {name!r}{suggestion(name, self.options)}")
        resolved = {}
        for name, option in self.options.items():
            value = given.get(name, option.default)
            if value is None and option.optional:
                resolved[name] = None
                continue
            if value is None:
                raise SimgmcError(f"{self.name} needs the option {name!r}: {option.summary}")
            if problem := option.problem(value):
                raise SimgmcError(f"{self.name}: {name} = {value!r} must be {problem}")
            resolved[name] = value
        return resolved


def suggestion(name: str, valid: Mapping[str, Any]) -> str:
    """The end of a message about an unknown name: the nearest valid one, or all of them."""
    near = difflib.get_close_matches(name, valid, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return "; valid: " + ", ".join(valid) if valid else " (it has no options)"


def lookup(kind: str, name: str, entries: Mapping[str, Any]) -> Any:
    """The entry of that name.

    Raises:
        SimgmcError: there is none; the message suggests the nearest name.
    """
    if name not in entries:
        raise SimgmcError(f"unknown {kind} {name!r}{suggestion(name, entries)}")
    return entries[name]
