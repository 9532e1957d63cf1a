"""Named parts of a scenario (dataset, model, partition, compressor), each with its own options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from simgmc.errors import SimgmcError
from simgmc.scenario.tables import Table, suggestion

Real = Annotated[float, Field(allow_inf_nan=False, strict=False)]
PositiveReal = Annotated[Real, Field(gt=0)]


class Component(Table):
    """A named part with its own options, written ``"name"`` or ``{ name = "...", ... }``."""

    name: str
    options: dict[str, Any]

    def written(self) -> dict[str, Any]:
        """As a TOML table, every default written out."""
        given = {key: value for key, value in self.options.items() if value is not None}
        return {"name": self.name, **{key: plain(value) for key, value in given.items()}}


def component(kind: str, entries: Mapping[str, Any], resolve: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Any:
    """The type of a key that holds one of ``entries``; ``resolve`` checks options and fills in defaults."""

    def build(value: Any) -> Component:
        if isinstance(value, Component):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise ValueError(f'needs the name of a {kind}, or a table {{ name = "...", ... }}; known: {", ".join(entries)}')
        given = dict(value)
        name = given.pop("name")
        if name not in entries:
            raise ValueError(f"unknown {kind}; {suggestion(name, entries)}")
        try:
            return Component(name=name, options=resolve(name, given))
        except SimgmcError as error:
            raise ValueError(str(error)) from None

    return Annotated[Component, BeforeValidator(build)]


def plain(value: Any) -> Any:
    """A value as TOML can hold it: quantities as text, tables without what is not given."""
    if isinstance(value, Component):
        return value.written()
    if isinstance(value, Table):
        return {key: plain(getattr(value, key)) for key in type(value).model_fields if getattr(value, key) is not None}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if isinstance(value, (bool, int, float, str)) else str(value)
