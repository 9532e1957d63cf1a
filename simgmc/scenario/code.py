"""The user's own code that a scenario runs: the table ``[code]`` of a resolved one, and what was given in Python, as a
file would name it.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.own_code.code import Code, CodeFile, hand_over
from simgmc.core.registry import Entry, Option

CODE = Entry(
    "code.MODULE",
    "code of one's own that a run has used; the run writes it into its resolved scenario, nobody else needs to",
    "code of a scenario",
    {
        "file": Option("where the module was found", str),
        "sha256": Option("digest of that file; where it is another now, the run does not go on", str),
    },
)
"""What is told of the table."""

_BESIDE = {"algorithm": "", "collective": "collective_options"}
"""Keys that hold a name alone: where its options go, beside it or in a table of their own."""


def read_code(table: Any, place: str) -> dict[str, CodeFile]:
    """The modules that a resolved scenario states. Raises SimgmcError for a table that is none."""
    found = {}
    for module, stated in table.items() if isinstance(table, dict) else [("", table)]:
        if (
            not isinstance(stated, dict)
            or stated.keys() != CODE.options.keys()
            or not all(isinstance(one, str) for one in stated.values())
        ):
            key = f"code.{module}" if module else "code"
            raise SimgmcError(
                f"{place}: {key} = {show_value(stated)}: must be a table of file and sha256, as a run writes it; leave "
                "[code] out of a scenario of your own"
            )
        found[module] = CodeFile(module, **stated)
    return found


def written_code(code: Code) -> dict[str, Any]:
    """The table, with its key; nothing where no code is the user's own."""
    if not code.used:
        return {}
    return {"code": {name: {"file": one.file, "sha256": one.sha256} for name, one in sorted(code.used.items())}}


def changed(code: Code) -> list[str]:
    """The modules whose files are not what the resolved scenario states."""
    both = ((one, code.stated[name]) for name, one in sorted(code.used.items()) if name in code.stated)
    return [now.file or now.module for now, stated in both if now.sha256 != stated.sha256]


def spelled_out(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content with import paths in the place of classes and functions, and tables of a name and options in that of
    objects; and what these paths stand for.
    """
    handed: dict[str, Any] = {}
    return _table(content, handed), handed


def _table(content: Mapping[Any, Any], handed: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        name = key if isinstance(key, str) else _path(key, handed)
        if name in _BESIDE and _is_part(value) and not isinstance(value, type):
            options = _options(value, handed)
            found[name] = _path(type(value), handed)
            found |= {_BESIDE[name]: options} if _BESIDE[name] else options
        else:
            found[name] = _spelled(value, handed)
    return found


def _spelled(value: Any, handed: dict[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return _table(value, handed)
    if isinstance(value, (list, tuple)):
        return [_spelled(one, handed) for one in value]
    if isinstance(value, (type, types.FunctionType)):
        return _path(value, handed)
    return {"name": _path(type(value), handed), **_options(value, handed)} if _is_part(value) else value


def _is_part(value: Any) -> bool:
    return dataclasses.is_dataclass(value)


def _options(value: Any, handed: dict[str, Any]) -> dict[str, Any]:
    held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: _spelled(one, handed) for name, one in held.items() if one is not None}


def _path(found: Any, handed: dict[str, Any]) -> str:
    path = hand_over(found)
    handed[path] = found
    return path
