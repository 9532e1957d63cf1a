"""Dataclasses whose fields are options: declared once, read from a scenario file, checked when built in Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from simgmc.core.errors import SimgmcError
from simgmc.core.registry import REQUIRED, Option
from simgmc.core.units import QuantityOption

_KEY = "option"


def declared(option: Option, *, kw_only: bool = False) -> Any:
    """A dataclass field that holds the option's value; its default is the option's."""
    default = option.default
    if isinstance(default, str) and isinstance(option, QuantityOption):
        default = option.read(default)
    return field(default=MISSING if default is REQUIRED else default, kw_only=kw_only, metadata={_KEY: option})


@dataclass(frozen=True)
class Tables(Option):
    """An option that holds a list of tables, each read as the same declared dataclass."""

    kind: Any = tuple
    entries: type[Declared] = field(kw_only=True)
    min_tables: int = 0

    @property
    def words(self) -> str:
        """What a valid value is."""
        return f"a list of at least {self.min_tables} table{'s' * (self.min_tables != 1)}"

    def accepts(self, value: Any) -> bool:
        """Whether all entries are of the declared class."""
        return isinstance(value, tuple) and all(isinstance(one, self.entries) for one in value)


@dataclass(frozen=True)
class Declared:
    """A dataclass whose fields are made by :func:`declared`.

    Numbers are in base units (s, bytes, bytes/s); those read from a file remember their text. What
    concerns several fields together is checked in :meth:`check_fields`.
    """

    def __post_init__(self) -> None:
        for name, option in self.options().items():
            value = getattr(self, name)
            if (value is None and option.default is None) or option.accepts(value):
                continue
            words = option.base_words if isinstance(option, QuantityOption) else option.words
            raise SimgmcError(f"{type(self).__name__}: {name} = {value!r} must be {words}")
        self.check_fields()

    def check_fields(self) -> None:
        """Refuse values that do not fit together, with a SimgmcError."""

    @classmethod
    def options(cls) -> dict[str, Option]:
        """The options by the names of their fields."""
        return {one.name: one.metadata[_KEY] for one in fields(cls) if _KEY in one.metadata}

    def stated(self) -> Iterable[tuple[str, Any]]:
        """The fields that have a value, with their values."""
        return ((name, getattr(self, name)) for name in self.options() if getattr(self, name) is not None)
