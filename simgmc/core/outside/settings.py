"""Settings from the command line: ``KEY=VALUE``, as of a scenario's keys."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

import click

Settings = list[tuple[str, Any]]
"""Keys of a scenario and the values that they get, as TOML has them; None takes a key out."""
Decorator = Callable[[Callable[..., None]], Callable[..., None]]
"""What gives a command an option."""


def read_settings(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Settings:
    """Settings as an option of the command line gives them; for ``click.option(callback=...)``.

    Raises click.BadParameter for text that is none, and for two of which one would undo the other.
    """
    settings: dict[str, Any] = {}
    for text in values:
        key, separator, value = text.partition("=")
        key = key.strip()
        if not separator or not key:
            raise click.BadParameter(f'{text!r}: write key=value, for instance cluster.bandwidth="10 Mbit/s"')
        for before in settings:
            if f"{before.removeprefix('grid.')}.".startswith(f"{key.removeprefix('grid.')}."):
                raise click.BadParameter(
                    f"{key} is set twice" if before == key else f"{key} would undo {before}, which is set before it"
                )
        settings[key] = toml_value(value.strip())
    return list(settings.items())


def settings_option(name: str, help: str) -> Decorator:
    """An option ``KEY=VALUE`` that may be repeated; the command gets all of them as its argument ``settings``."""
    return click.option(name, "settings", multiple=True, callback=read_settings, metavar="KEY=VALUE", help=help)


def together(*decorators: Decorator) -> Decorator:
    """All of these in one, in the order in which ``--help`` lists them."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def written(value: Any) -> str:
    """A value as :func:`read_settings` reads it back."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if value is None or isinstance(value, (str, bool)) else str(value)


def toml_value(text: str) -> Any:
    """A value as TOML; ``null`` is none; anything else that is not TOML is text (so quotes may be left out)."""
    if text == "null":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
