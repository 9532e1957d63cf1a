"""Paths in a scenario file are relative to its folder: made absolute, so that the resolved scenario stands
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simgmc.core.declared import Tables
from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Registry
from simgmc.mixing import GRAPHS, WEIGHTS
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.topology.catalogue import TOPOLOGIES
from simgmc.workloads.data.catalogue import DATASETS
from simgmc.workloads.losses.catalogue import LOSSES
from simgmc.workloads.models.catalogue import MODELS
from simgmc.workloads.partitions.catalogue import PARTITIONS

PARTS: dict[str, Registry[Any]] = {
    "dataset": DATASETS, "model": MODELS, "loss": LOSSES, "partition": PARTITIONS, "topology": TOPOLOGIES,
    "graph": GRAPHS, "weights": WEIGHTS,
}  # fmt: skip
"""What a key of this name holds, wherever it is, and with it the options that are paths."""


TABLES = ("cluster.transport",)
"""Tables in whose place a file may be named that holds them."""
_CHANGES = {key: kind.entries.options() for key, kind in NetworkChanges.options().items() if isinstance(kind, Tables)}
"""What a change of the network has for options, by the key that holds it."""


def anchor(content: dict[str, Any], grid: dict[str, list[Any]], folder: Path) -> None:
    """Makes the paths in a scenario's content and in its grid absolute."""
    _anchor_table(content, folder)
    for key, values in grid.items():
        *place, last = key.split(".")
        part: Any = content
        for step in place:
            part = part.get(step) if isinstance(part, dict) else None
        if place and last in _paths(place[-1], part):
            grid[key] = [_absolute(value, folder) for value in values]
        for index, value in enumerate(grid[key]):
            _anchor_table(held := {last: value}, folder)
            grid[key][index] = _absolute(held[last], folder) if key in TABLES else held[last]
    for table, key in (one.split(".") for one in TABLES):
        if isinstance(content.get(table), dict) and key in content[table]:
            content[table][key] = _absolute(content[table][key], folder)


def outside_files(content: dict[str, Any], grid: dict[str, list[Any]], stated: dict[str, Any]) -> list[Path]:
    """The files that a resolved scenario names, data sets and models aside: networks, traces, graphs, partitions.

    ``stated``: the scenario before it was resolved, which takes the tables of files in.
    """
    named = list(_named(content))
    for table, key in (one.split(".") for one in TABLES):
        named += [stated.get(table, {}).get(key), *grid.get(f"{table}.{key}", ())]
    for key, values in grid.items():
        *place, last = key.split(".")
        part: Any = content
        for step in place:
            part = part.get(step) if isinstance(part, dict) else None
        if place and last in _paths(place[-1], part):
            named += values
        named += [one for value in values for one in _named({last: value})]
    paths = (Path(one).expanduser() for one in dict.fromkeys(one for one in named if isinstance(one, str)))
    return [path for path in paths if path.is_file()]


def _named(table: Any) -> Iterator[Any]:
    for key, value in table.items() if isinstance(table, dict) else ():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict) and key not in ("dataset", "model"):
                yield from (one[path] for path in _paths(key, one) if path in one)
                yield from _named(one)


def _anchor_table(table: Any, folder: Path) -> None:
    for key, value in list(table.items()) if isinstance(table, dict) else ():
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict):
                continue
            for path in _paths(key, one):
                if path in one:
                    one[path] = _absolute(one[path], folder)
            _anchor_table(one, folder)


def _paths(key: str, part: Any) -> list[str]:
    """The options that are paths of the part that a key holds."""
    if key in _CHANGES:
        return [option for option, one in _CHANGES[key].items() if one.kind is Path]
    name = part.get("name") if isinstance(part, dict) else None
    if key not in PARTS or not isinstance(name, str) or not PARTS[key].knows(name):
        return []
    try:
        options = PARTS[key][name].options
    except SimgmcError:  # of one's own that is none: said where it is read
        return []
    return [option for option, one in options.items() if one.kind is Path]


def _absolute(path: Any, folder: Path) -> Any:
    """The path from the folder; a home directory and what is not a path stay as they are."""
    if not isinstance(path, str) or not path.strip() or "\0" in path or path.startswith("~"):
        return path
    return str((folder / path).absolute())
