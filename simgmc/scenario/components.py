"""Named parts of a scenario (dataset, model, partition, compressor), each with its own options."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from simgmc.core.declared import Declared
from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Option, OptionError, Registry
from simgmc.core.units import Quantity
from simgmc.scenario.tables import Table, mistake

Real = Annotated[float, Field(allow_inf_nan=False)]
PositiveReal = Annotated[Real, Field(gt=0)]


class Component(Table):
    """A named part with its own options, written ``"name"`` or ``{ name = "...", ... }``."""

    name: str
    options: dict[str, Any]

    @property
    def title(self) -> str:
        """What people are told it is: what comes by an import path goes by that."""
        keys = ("factory", "function", "train")
        own = next((self.options[key] for key in keys if key in self.options), None) if self.name == "import" else None
        return own["factory"] if isinstance(own, dict) else own or self.name

    def written(self) -> dict[str, Any]:
        """As a TOML table, every default written out."""
        given = {key: value for key, value in self.options.items() if value is not None}
        return {"name": self.name, **{key: plain(value) for key, value in given.items()}}


class Described:
    """Says of a key's type what it stands for, for those who list keys: beside its validator, which does not tell.

    ``what``: the option whose value it holds, the registry that it names an entry of, or the classes of its table;
    nothing: it is filled in where a scenario leaves it out.
    """

    def __init__(self, *what: Option | Registry[Any] | type[Declared] | type[Table]):
        self.what = what


def component(entries: Registry[Any]) -> Any:
    """The type of a key that names one of the entries, with its options; defaults are filled in."""

    def build(value: Any) -> Component:
        if isinstance(value, Component):
            return value
        name = value.get("name") if isinstance(value, dict) else value
        if isinstance(name, str) and not entries.knows(name):
            raise ValueError(f"unknown {entries.kind}; {entries.others(name)}")
        try:
            name, options = entries.read(value)
            return Component(name=name, options=options)
        except OptionError as error:
            raise mistake(error.problem, error.key, value=error.value) from None
        except SimgmcError as error:
            raise ValueError(str(error)) from None

    return Annotated[Component, BeforeValidator(build), Described(entries)]


def option_type(option: Option) -> Any:
    """The type of a key that holds the option's value."""

    def read(value: Any) -> Any:
        return value if value is None and option.default is None else option.read(value)

    return Annotated[Any, BeforeValidator(read), Described(option)]


def plain(value: Any) -> Any:
    """A value as TOML can hold it: quantities as text, tables without what is not given."""
    if isinstance(value, Component):
        return value.written()
    if isinstance(value, Table):
        return {key: plain(getattr(value, key)) for key in type(value).model_fields if getattr(value, key) is not None}
    if isinstance(value, Declared):
        return {key: plain(one) for key, one in value.stated()}
    if isinstance(value, Quantity):
        return value.text
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if isinstance(value, (bool, int, float, str)) else str(value)
