"""Declared dataclasses, the conditions of a cluster above all, as tables of a scenario file."""

from __future__ import annotations

import tomllib
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError, create_model

from simgmc.core.declared import Declared, Tables
from simgmc.core.errors import SimgmcError, show_key, show_value
from simgmc.core.files import read_text, shown
from simgmc.core.registry import REQUIRED, OptionError
from simgmc.network.conditions.catalogue import ENTRIES as CONDITION_ENTRIES
from simgmc.network.conditions.catalogue import OwnConditionEntry
from simgmc.scenario.components import Described, option_type
from simgmc.scenario.tables import Table, mistake


def declared_fields(kind: type[Declared]) -> dict[str, Any]:
    """The class's options as fields of a table: types and defaults."""
    keys: dict[str, Any] = {}
    for name, option in kind.options().items():
        of = _list_of(option) if isinstance(option, Tables) else option_type(option)
        keys[name] = (of, ... if option.default is REQUIRED else option.default)
    return keys


def declared_table(kind: type[Declared]) -> Any:
    """The type of a key that holds a table of the class's options; its value is an object of the class."""
    keys = declared_fields(kind)
    table = create_model(kind.__name__, __base__=Table, **keys)

    def build(value: Any) -> Declared:
        if isinstance(value, kind):
            return value
        read = table.model_validate(value)
        try:
            return kind(**{name: getattr(read, name) for name in keys})
        except OptionError as error:
            raise mistake(error.problem, error.key, value=error.value) from None
        except SimgmcError as error:
            raise ValueError(str(error)) from None

    return Annotated[Any, BeforeValidator(build), Described(kind)]


def table_or_file(kind: type[Declared], key: str) -> Any:
    """As :func:`declared_table`; or the table of this name in a TOML file, which is all that stands there."""
    table = declared_table(kind)

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            content = tomllib.loads(read_text(value, f"file with a table [{key}]"))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ValueError(f"{shown(value)}: not valid TOML: {error}") from None
        except SimgmcError as error:
            raise ValueError(str(error)) from None
        if list(content) != [key] or not isinstance(content[key], dict):
            there = ", ".join(map(show_value, content)) or "nothing"
            raise ValueError(f"{shown(value)}: must hold a table [{key}] and nothing else; holds {there}")
        try:
            return TypeAdapter(table).validate_python(content[key])
        except ValidationError as error:
            one = error.errors(include_url=False)[0]
            place = f"{shown(value)}: {show_key([key, *one['loc']])} = {show_value(one['input'])}"
            raise ValueError(f"{place}: {one['msg']}") from None

    return Annotated[table, BeforeValidator(read)]


def _list_of(option: Tables) -> Any:
    """One table or a list of them, as a tuple of objects."""
    entry = declared_table(option.entries)
    listed = Annotated[list[entry], Field(min_length=option.min_tables)]  # type: ignore[valid-type]
    return Annotated[listed, BeforeValidator(_as_list), AfterValidator(tuple), Described(option)]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value


def read_own_conditions(value: Any) -> Any:
    """Tables by import path, each as the condition that it names."""
    found = {}
    for name, stated in value.items():
        try:
            entry = CONDITION_ENTRIES[name]
        except SimgmcError as error:
            raise mistake(str(error), name, value=stated) from None
        assert isinstance(entry, OwnConditionEntry)
        try:
            found[name] = TypeAdapter(declared_table(entry.condition)).validate_python(stated)
        except ValidationError as error:
            one = error.errors(include_url=False)[0]
            raise mistake(one["msg"], name, *one["loc"], value=one["input"]) from None
    return found
