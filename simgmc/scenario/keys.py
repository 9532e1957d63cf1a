"""Keys of a scenario's tables: dotted, with a method's name or number, nested or flat; read and set."""

from __future__ import annotations

from typing import Any

from simgmc.core.errors import SimgmcError, show_key, show_value, suggestion
from simgmc.scenario.workload import Method, usual_name

MAX_DEPTH = 30
"""Tables and lists inside each other that a scenario may have."""


def check_plain(content: Any, file: str) -> None:
    """Refuse numbers that TOML does not know and nesting that no scenario needs.

    Walks without recursion, before anything else does with it.
    """
    waiting = [((), content)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise SimgmcError(f"{file}: {show_key(place)} = {show_value(value)}: a whole number must fit into 64 bits")
        if isinstance(value, (dict, list)) and len(place) > MAX_DEPTH:
            raise SimgmcError(f"{file}: {show_key(place[:3])}...: is nested deeper than {MAX_DEPTH} tables")
        if isinstance(value, dict):
            waiting += [((*place, str(key)), one) for key, one in value.items()]
        elif isinstance(value, list):
            waiting += [((*place, index), one) for index, one in enumerate(value)]


def unshared(value: Any) -> Any:
    """A copy in which no table is in two places, as setting a key in one would set it in the other."""
    if isinstance(value, dict):
        return {key: unshared(one) for key, one in value.items()}
    return [unshared(one) for one in value] if isinstance(value, list) else value


def flat(grid: Any, file: str) -> dict[str, Any]:
    """The grid with dotted keys, however its tables were nested."""
    if not isinstance(grid, dict):
        raise SimgmcError(f"{file}: grid = {show_value(grid)}: must be a table of keys and lists of values")
    found: dict[str, Any] = {}

    def flatten(table: dict[str, Any], prefix: str) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                flatten(value, f"{prefix}{key}.")
            elif isinstance(value, list) and None in value:
                raise SimgmcError(f"{file}: {show_key(['grid', prefix + key])}: None is no value that a grid can have")
            else:
                found[prefix + key] = value

    flatten(grid, "")
    return found


def set_key(content: dict[str, Any], key: str, value: Any, file: str, prefix: str = "") -> None:
    """Set a dotted key; None takes it out, so that it is as by default.

    A method is named by its name or its number, ``*`` is every method that has the key's table, or that states the key;
    where none does, every method.

    Raises:
        SimgmcError: the key cannot be there, or is to be taken out and is not there.
    """
    place = f"{file}: {show_key([prefix + key])}"
    keys = [key]
    if key.startswith("methods.*."):
        rest = key.removeprefix("methods.*.")
        stated = content.get("methods")
        rows = [row if isinstance(row, dict) else {} for row in (stated if isinstance(stated, list) else [])]
        having = [n for n, row in enumerate(rows) if rest.split(".")[0] in row]
        if not having and value is not None and rest in Method.model_fields:  # none states it: all of them get it
            having = list(range(len(rows)))
        if not having:
            raise SimgmcError(f"{place}: no method has {rest.split('.')[0]!r}")
        keys = [f"methods.{number}.{rest}" for number in having]
    for one in keys:
        if value is None:
            _take_out(content, one, place)
        else:
            _put(content, one, unshared(value) if len(keys) > 1 else value, place)


def _put(content: dict[str, Any], key: str, value: Any, place: str) -> None:
    table, (at, rest) = content, _step(content, key.split("."), place)
    while rest:
        child = table.setdefault(at, {}) if isinstance(table, dict) else table[at]
        if isinstance(child, str):
            # A part written as its bare name becomes a table once one of its options is set.
            child = table[at] = {"name": child}
        table, (at, rest) = child, _step(child, rest, place)
    table[at] = value


def override(content: dict[str, Any], key: str, value: Any, file: str) -> None:
    """Set a dotted key, or the values of one of the grid (``grid.KEY``); what is set expressly does not vary.

    None takes it out. Raises SimgmcError as :func:`set_key`.
    """
    varied = key.removeprefix("grid.")
    if varied == key:
        set_key(content, key, value, file)
    if varied == key and not isinstance(content.get("grid"), dict):
        return  # nothing varies, or it is said later what is wrong with it
    grid = flat(content.get("grid", {}), file)
    if value is None and varied != key and varied not in grid:
        set_key(unshared(content), varied, None, file, "grid.")  # refused where it is stated nowhere: a misspelt one
    kept = {one: values for one, values in grid.items() if one != varied}
    content["grid"] = kept if varied == key else {**grid, varied: value}


def _take_out(content: dict[str, Any], key: str, place: str) -> None:
    table, (at, rest) = content, _step(content, key.split("."), place)
    while rest and (isinstance(table, list) or at in table):
        table, (at, rest) = table[at], _step(table[at], rest, place)
    if isinstance(table, list) or at in table:
        del table[at]
    elif key not in flat(content.get("grid", {}), place):  # else it is taken out of the grid
        raise SimgmcError(f"{place}: is not stated, so it cannot be taken out; {suggestion(str(at), table)}")


def _step(table: Any, parts: list[str], place: str) -> tuple[Any, list[str]]:
    """The key or number in a table that the first of these parts names, and the other parts."""
    part, *rest = parts
    if isinstance(table, list):
        names = [str(row.get("name", usual_name(row))) if isinstance(row, dict) else "" for row in table]
        if part in names:
            return names.index(part), rest
        if part.isdecimal() and len(part) < 10 and int(part) < len(table):
            return int(part), rest
        raise SimgmcError(f"{place}: nothing is called {part!r}; {suggestion(part, names)}")
    if not isinstance(table, dict):
        raise SimgmcError(f"{place}: {show_value(table)} is not a table that could hold {part!r}")
    if part not in table:  # a key may have been written with its dots, in quotes
        for end in range(len(parts), 1, -1):
            if (whole := ".".join(parts[:end])) in table:
                return whole, parts[end:]
    return part, rest


def sets(grid: str, loc: tuple[int | str, ...], content: dict[str, Any]) -> bool:
    """Whether a grid key, in which methods are called by name, number or ``*``, sets what is there or inside it."""
    named = with_names(loc, content)
    pairs = zip(grid.split("."), zip(loc, named, strict=True), strict=False)
    return all(part in (*map(str, here), "*") for part, here in pairs)


def with_names(loc: tuple[int | str, ...], content: dict[str, Any]) -> tuple[int | str, ...]:
    """A key's place with the method's name for its number, unless others are called so."""
    rows = content.get("methods")
    if len(loc) < 2 or loc[0] != "methods" or not isinstance(loc[1], int) or not isinstance(rows, list):
        return loc
    names = [row.get("name", usual_name(row)) if isinstance(row, dict) else None for row in rows]
    name = names[loc[1]]
    return (loc[0], name, *loc[2:]) if isinstance(name, str) and name and names.count(name) == 1 else loc


def method_of(key: str, names: list[str]) -> str | None:
    """The method that a grid key is of; None of all or of no method."""
    part = key.removeprefix("methods.").partition(".")[0]
    if not key.startswith("methods.") or part == "*":
        return None
    return part if part in names else names[int(part)]
