"""Every key that a scenario can have, table by table, read from the models that scenarios are checked with."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import annotated_types as limits
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from simgmc.core.declared import Declared, Tables
from simgmc.core.registry import REQUIRED, Entry, Option, Registry
from simgmc.scenario.code import CODE
from simgmc.scenario.components import Described
from simgmc.scenario.file import GRID
from simgmc.scenario.point import Scenario
from simgmc.scenario.sweep import Sweep

TOP = "scenario"
"""What the table of the keys outside any table is called."""


@dataclass(frozen=True)
class Key(Option):
    """A key: what it means, how its value is written, its default."""

    kind: Any = Any
    shape: str = ""
    """How its value is written."""
    inside: tuple[type, ...] = field(default=(), compare=False)
    """The classes of the table that it holds."""
    many: bool = False
    """Whether it holds several such tables."""

    @property
    def words(self) -> str:
        """How its value is written."""
        return self.shape


@functools.cache
def tables() -> Registry[Entry]:
    """The tables by their names in a scenario, ``cluster.hosts.NAME``, each with its keys."""
    grid = Key(GRID.summary, default=GRID.default, shape=GRID.words)
    words = "a search for the best values: ranges of keys, each a part of the grid, and what is best"
    sweep = Key(words, default=None, shape="a table", inside=(Sweep,))
    code = Key(CODE.summary, default=None, shape="a table of modules")
    found = [*_tables(TOP, (Scenario,), {}, {"grid": grid, "sweep": sweep, "code": code}), CODE]
    return Registry("table of keys", found, listed="keys")


def _tables(
    name: str, classes: tuple[type, ...], places: dict[tuple[type, ...], str], more: Mapping[str, Key]
) -> Iterator[Entry]:
    """A table and those inside it; what is in several places is told of in the first, see ``places``."""
    places[classes] = name
    keys = {key: one for cls in classes for key, one in _keys(cls).items()} | dict(more)
    inner: dict[str, tuple[type, ...]] = {}
    for key, one in keys.items():
        if one.default is REQUIRED and key not in more and not all(key in _keys(cls) for cls in classes):
            keys[key] = one = replace(one, default=None)  # in the place of another class's
        if one.inside in places:
            keys[key] = replace(one, shape=f"{one.shape}, as {places[one.inside]}")
        elif one.inside:
            inner[f"{'' if name == TOP else f'{name}.'}{key}{'.NAME' if one.many else ''}"] = one.inside
    heads = [_doc(cls).partition("\n") for cls in classes]
    summary = "; or ".join([heads[0][0].rstrip("."), *(_lower(head.rstrip(".")) for head, _, _ in heads[1:])])
    details = "\n\n".join(rest.strip() for _, _, rest in heads)
    source = "the top of a scenario" if name == TOP else f"{name} of a scenario"
    yield Entry(name, f"{summary}.", source, keys, details=details)
    for key, inside in inner.items():
        if inside not in places:
            yield from _tables(key, inside, places, {})


def _keys(cls: type) -> dict[str, Key]:
    if issubclass(cls, Declared):
        return {name: _of_option(option, option.summary, option.default) for name, option in cls.options().items()}
    assert issubclass(cls, BaseModel)
    said = _docstrings(cls)
    return {name: _of_field(info, said.get(name, "")) for name, info in cls.model_fields.items() if not info.exclude}


def _of_field(info: FieldInfo, summary: str) -> Key:
    found = _of_type(info.annotation, info.metadata)
    filled_in = any(isinstance(one, Described) and not one.what for one in info.metadata)
    default = None if filled_in else REQUIRED if info.is_required() else None if found.inside else info.default
    summary = summary or found.summary or (_lower(_doc(found.inside[0]).partition("\n")[0]) if found.inside else "")
    return replace(found, summary=summary.rstrip("."), default=default)


def _of_option(option: Option, summary: str, default: Any) -> Key:
    inside = (option.entries,) if isinstance(option, Tables) else ()
    return Key(
        summary, default=None if inside and default is not REQUIRED else default, shape=option.words, inside=inside
    )


def _of_type(annotation: Any, beside: Iterable[Any] = ()) -> Key:
    """How values of a type are written, with what stands beside it."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    metadata = [one for own in beside for one in (own.metadata if isinstance(own, FieldInfo) else [own])]
    if origin is typing.Annotated:
        return _of_type(parts[0], [*parts[1:], *metadata])
    for one in metadata:
        if isinstance(one, Described) and one.what:
            return _of_described(one)
    if origin in (typing.Union, types.UnionType):
        (kind,) = (part for part in parts if part is not type(None))
        return _of_type(kind, metadata)
    if origin is Literal:
        return Key("", shape=Option("", str, choices=parts).words)
    if origin is list:
        each = _of_type(parts[0])
        least = next((one.min_length for one in metadata if isinstance(one, limits.MinLen)), 0)
        many = f"at least {least}" if least else "any number"
        return Key("", shape=f"a list of {many}, each {each.shape}", inside=each.inside)
    if origin is dict:
        return Key("", shape="tables by name", inside=_of_type(parts[1]).inside, many=True)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Key("", shape="a table", inside=(annotation,))
    return Key("", shape=_limited(annotation, metadata))


def _of_described(said: Described) -> Key:
    (first, *_) = said.what
    if isinstance(first, Option):
        return _of_option(first, first.summary, first.default)
    if isinstance(first, Registry):
        article = "an" if first.kind[0] in "aeiou" else "a"
        own = ', or "module:Name" of one\'s own' if first.takes_own else ""
        return Key("", shape=f"{article} {first.kind}" + (f": see `{first.see}`" if first.see else "") + own)
    return Key("", shape="a table", inside=tuple(one for one in said.what if isinstance(one, type)))


def _limited(kind: Any, metadata: Iterable[Any]) -> str:
    """A number between its limits, a text of so many characters, true or false."""
    names = {"ge": "at_least", "gt": "above", "le": "at_most", "lt": "below"}
    bounds = {
        name: value for one in metadata for of, name in names.items() if (value := getattr(one, of, None)) is not None
    }
    longest = [one.max_length for one in metadata if isinstance(one, limits.MaxLen)]
    if kind is str and longest:
        return f"text of at most {longest[0]} characters"
    if kind not in (int, float):
        return Option("", kind).words
    free = {} if bounds.keys() & {"at_least", "above"} else {"at_least": float("-inf")}
    free |= {} if bounds.keys() & {"at_most", "below"} else {"at_most": float("inf")}
    words = Option("", kind, **{**bounds, **free}).words
    return (
        words.replace(" of at least -inf and", " of").removesuffix(" and at most inf").removesuffix(" of at most inf")
    )


def _doc(cls: type) -> str:
    return _plain(inspect.getdoc(cls) or "")


def _plain(text: str) -> str:
    """Without the marks of reStructuredText that Markdown does not have."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text.replace("``", "`"))


def _lower(text: str) -> str:
    """As part of a sentence: a first word that is capital alone is not."""
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def _docstrings(cls: type[BaseModel]) -> dict[str, str]:
    """What stands under each field of a class and of those that it is made of."""
    ours = [one for one in reversed(cls.__mro__) if one.__module__.startswith("simgmc.")]
    return {name: text for one in ours for name, text in _own_docstrings(one).items()}


@functools.cache
def _own_docstrings(cls: type) -> dict[str, str]:
    """What stands under each field that a class declares itself."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # made by pydantic
        return {}
    said, body = {}, getattr(tree, "body", [])
    for before, after in zip(body, body[1:], strict=False):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            said[before.target.id] = _lower(_plain(" ".join(inspect.cleandoc(after.value.value).split())))
    return said
