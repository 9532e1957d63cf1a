"""Declared dataclasses, the conditions of a cluster above all, as tables of a scenario file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError, create_model

from simgmc.core.declared import Declared, Tables
from simgmc.core.errors import SimgmcError
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
