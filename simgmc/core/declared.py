"""Dataclasses whose fields are options: declared once, read from a scenario file, checked when built in Python."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from simgmc.core.errors import SimgmcError
from simgmc.core.registry import REQUIRED, Option
from simgmc.core.units import BANDWIDTH, DURATION, SIZE, QuantityOption

_KEY = "option"
_UNITS = {
    "s": (DURATION, "5 ms"), "bytes/s": (BANDWIDTH, "1 Gbit/s"), "bytes": (SIZE, "10 MB"),
}  # fmt: skip
"""What a quantity is counted in, by its base unit, and an example of how it is written."""


def option(
    summary: str,
    default: Any = REQUIRED,
    kw_only: bool = False,
    unit: Literal["", "s", "bytes/s", "bytes"] = "",
    **bounds: Any,
) -> Any:
    """A field of a part: what it means, its default and its bounds, as of :class:`~simgmc.core.registry.Option`.

    What it may be follows from its annotation: ``int``, ``float``, ``bool``, ``str``, ``Path``, ``Literal``, a tuple
    of one of the first (``tuple[int, ...]``), or one of these or None.

    Args:
        kw_only: it has to be given by name; for one without a default where the base class has fields with one.
        unit: of a quantity that scenarios write with a unit ("5 ms"), what the field counts it in.
        bounds: ``at_least``, ``at_most``, ``above``, ``below``; for a quantity ``positive``.
    """
    if unit and isinstance(default, str):
        default = QuantityOption(summary, units=_UNITS[unit][0], example=_UNITS[unit][1], **bounds).read(default)
    given = {} if default is REQUIRED else {"default": default}
    return field(**given, kw_only=kw_only, metadata={"summary": summary, "unit": unit, **bounds})


Special = Callable[[Any, Mapping[str, Any]], Option | None]
"""From an annotation and what is stated to the option, for annotations that only some parts have."""


def options_of(cls: type, special: Special = lambda hint, stated: None) -> dict[str, Option]:
    """The fields of a dataclass as options, by their names. Raises SimgmcError for one that can be none."""
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, TypeError) as error:
        raise SimgmcError(f"{cls.__qualname__}: the annotation of a field cannot be read: {error}") from None
    return {one.name: _option(cls, one, hints[one.name], special) for one in fields(cls)}


def _below_one(hint: type, default: Any) -> bool:
    """Whether a number of which no lower limit is stated may be below the usual one, which is 1."""
    return hint is float or (isinstance(default, int) and default < 1)


_KINDS = (int, float, bool, str, Path)


def _option(cls: type, field: Field[Any], hint: Any, special: Special) -> Option:
    if _KEY in field.metadata:
        return field.metadata[_KEY]
    default = REQUIRED if field.default is MISSING else field.default
    stated = {"summary": "", "default": default, **field.metadata}
    unit = stated.pop("unit", "")
    if type(None) in typing.get_args(hint):
        others = [one for one in typing.get_args(hint) if one is not type(None)]
        hint = others[0] if len(others) == 1 else hint
    if (found := special(hint, stated)) is not None:
        return found
    if unit:
        return QuantityOption(units=_UNITS[unit][0], example=_UNITS[unit][1], **stated)
    if typing.get_origin(hint) is Literal:
        return Option(kind=str, choices=typing.get_args(hint), **stated)
    if typing.get_origin(hint) in (tuple, list) and typing.get_args(hint)[0] in (int, float, str):
        (each, *_) = typing.get_args(hint)
        return Option(kind=list[each], **stated)  # type: ignore[valid-type]
    if hint in (int, float) and not {"at_least", "above"} & stated.keys() and _below_one(hint, default):
        stated["at_least"] = -(10**6)
    if hint not in _KINDS or field.default_factory is not MISSING:
        shown = getattr(hint, "__name__", hint)
        raise SimgmcError(
            f"{cls.__qualname__}.{field.name}: a field that is annotated {shown} is no option; "
            "annotate it int, float, bool, str, Path, Literal[...] or tuple[int, ...], and give its default as it is "
            "(what changes while a training goes on belongs to the worker)"
        )
    return Option(kind=hint, **stated)


def described_class(cls: type) -> tuple[str, str]:
    """The first line of a class's own docstring, and the rest; of one without, its name."""
    text = inspect.cleandoc(vars(cls).get("__doc__") or "").replace("``", "")
    if not text or text.startswith(f"{cls.__name__}("):  # what a dataclass without a docstring gets
        return cls.__name__, ""
    summary, _, details = text.partition("\n")
    return summary, details.strip()


OWN = "one's own"
"""The source of a part that states none."""


def require_class(name: str, found: Any, base: type, method: str) -> None:
    """Raises SimgmcError where what was found under a name is no dataclass that derives from a base and has a method.

    ``name``: what it is called in a scenario.
    """
    kind = f"simgmc.{base.__name__}"
    if not isinstance(found, type):
        what = "a function" if callable(found) else f"of type {type(found).__name__}"
        raise SimgmcError(f"{name} is {what}, not a class that derives from {kind}")
    itself = f"{name}: the class {found.__name__}"
    if base not in found.__mro__:
        raise SimgmcError(f"{itself} does not derive from {kind}; write class {found.__name__}({base.__name__})")
    if vars(found).get("__annotations__") and "__dataclass_params__" not in vars(found):
        raise SimgmcError(f"{itself} has fields and is no dataclass; write @dataclass(frozen=True) above it")
    if method and getattr(found, method, None) is getattr(base, method, None):
        raise SimgmcError(f"{itself} has no {method}(), which every {kind} needs")


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
    """A dataclass whose fields are made by :func:`option` or :func:`declared`.

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
    @functools.cache
    def options(cls) -> dict[str, Option]:
        """The options by the names of their fields."""
        return options_of(cls)

    def stated(self) -> Iterable[tuple[str, Any]]:
        """The fields that have a value, with their values."""
        return ((name, getattr(self, name)) for name in self.options() if getattr(self, name) is not None)


@dataclass(frozen=True)
class Part(Declared):
    """What one's own collectives, topologies, graphs and partitions are: a frozen dataclass of its options.

    Its docstring is what ``simgmc list`` shows.
    """

    source: ClassVar[str] = OWN
    """Paper, and number of equation or algorithm."""

    @classmethod
    def described(cls, name: str) -> dict[str, Any]:
        """What its entry in a registry says of it, as :class:`~simgmc.core.registry.Entry` takes it."""
        summary, details = described_class(cls)
        return {"name": name, "summary": summary, "source": cls.source, "options": cls.options(), "details": details}
