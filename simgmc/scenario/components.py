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
        options = {key: list(value) if isinstance(value, tuple) else value for key, value in self.options.items()}
        return {"name": self.name, **{key: value for key, value in options.items() if value is not None}}


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
