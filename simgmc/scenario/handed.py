"""Classes and objects in a scenario that is given in Python, as a file would name them."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from simgmc.core.imports import hand_over

_BESIDE = {"algorithm": "", "collective": "collective_options"}
"""Keys that hold a name alone: where its options go, beside it or in a table of their own."""


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
