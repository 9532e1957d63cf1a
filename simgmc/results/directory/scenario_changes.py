"""Which keys of a resolved scenario differ between a run that is there and one that is asked for."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simgmc.core.errors import show_value

_MAX_SHOWN = 10
"""Keys that a message lists."""
_WITHOUT_TRAINING = ("cluster.", "report.")
"""What can be changed without training again."""


class _Table:
    """Stands for a table as a whole: equal to any other, since its keys are compared one by one."""

    def __init__(self, content: dict[str, Any]):
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Table)

    __hash__ = None  # type: ignore[assignment]


def heading(text: str) -> str:
    """The lines of comment that a resolved scenario starts with: what it was computed with."""
    lines = text.splitlines(keepends=True)
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:count])


def same(before: str, now: str) -> bool:
    """Whether two resolved scenarios say the same in the same order, whatever their line ends, spaces and comments."""
    if before.removeprefix(heading(before)) == now.removeprefix(heading(now)):
        return True
    try:
        return repr(tomllib.loads(before)) == repr(tomllib.loads(now))
    except (tomllib.TOMLDecodeError, RecursionError):
        return False


def changes(before: str, now: str) -> list[str] | None:
    """Every key that differs, one line each: ``key: was VALUE, is VALUE``; None where ``before`` is not TOML.

    Both are resolved scenarios.
    """
    try:
        return differences(tomllib.loads(before), tomllib.loads(now))
    except (tomllib.TOMLDecodeError, RecursionError, AttributeError):
        return None


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Every key that differs, one line each: ``key: was VALUE, is VALUE``.

    Methods are told apart by their names; of a table that is there only once the table itself is named.
    """
    was, is_ = _named_methods(before), _named_methods(now)
    old, new = dict(_flat(was)), dict(_flat(is_))
    differing = [key for key in dict.fromkeys((*old, *new)) if key not in old or key not in new or old[key] != new[key]]
    tables = [key + "." for key in differing if isinstance(old.get(key, new.get(key)), _Table)]
    lines = [
        f"{key}: was {_shown(key, old)}, is {_shown(key, new)}"
        for key in differing
        if not key.startswith(tuple(tables))
    ]
    order = [list(content.get("methods", ())) for content in (was, is_)]
    if order[0] != order[1] and sorted(order[0]) == sorted(order[1]):
        lines.append(f"methods: was in the order {', '.join(order[0])}, is in the order {', '.join(order[1])}")
    return lines


def refusal(path: Path, differing: list[str] | None) -> str:
    """Why a run cannot go on there, and what to do."""
    what = f"{path} already holds a run of another scenario"
    todo = "choose another directory with --out, or add --overwrite to replace it"
    if differing is None:
        return f"{what} (its scenario.toml is damaged): {todo}"
    if differing and all(line.startswith(_WITHOUT_TRAINING) for line in differing):
        todo += f", or keep its trainings once it is finished: simgmc replay {shlex.quote(str(path))} --set KEY=VALUE"
    more = [f"and {len(differing) - _MAX_SHOWN} more"] if len(differing) > _MAX_SHOWN else []
    return "\n".join([f"{what}: {todo}", *(f"  {line}" for line in (*differing[:_MAX_SHOWN], *more))])


def _named_methods(content: dict[str, Any]) -> dict[str, Any]:
    """The content with its list of methods as a table by name."""
    methods = content.get("methods")
    if isinstance(methods, list):
        content["methods"] = {str(method.get("name", number)): method for number, method in enumerate(methods)}
    return content


def _flat(value: dict[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for key, one in value.items():
        yield place + key, _Table(one) if isinstance(one, dict) else one
        if isinstance(one, dict):
            yield from _flat(one, f"{place}{key}.")


def _shown(key: str, values: dict[str, Any]) -> str:
    if key not in values:
        return "not there"
    value = values[key]
    return show_value(value.content if isinstance(value, _Table) else value)
