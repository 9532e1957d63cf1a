"""Validated tables of a scenario file: pydantic models whose errors name the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Table(BaseModel):
    """A TOML table: no unknown keys, no silent conversions, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True, arbitrary_types_allowed=True)

    @model_validator(mode="wrap")
    @classmethod
    def _suggest_keys(cls, data: Any, handler: Any) -> Any:
        try:
            return handler(data)
        except ValidationError as error:
            details = []
            for one in error.errors(include_url=False):
                message = one["msg"].removeprefix("Value error, ")
                if one["type"] == "extra_forbidden" and len(one["loc"]) == 1:
                    message = "unknown key; " + suggestion(str(one["loc"][0]), cls.model_fields)
                details.append(_detail(message, one["loc"], one["input"]))
            raise ValidationError.from_exception_data(cls.__name__, details) from None


def _detail(message: str, loc: tuple[int | str, ...], value: Any) -> InitErrorDetails:
    # The text goes in as a value, so that braces in it are not read as a template.
    kind = PydanticCustomError("scenario", "{text}", {"text": message})
    return InitErrorDetails(type=kind, loc=loc, input=value)


def mistake(message: str, *loc: int | str, value: Any) -> ValidationError:
    """An error about one key, to be raised in a validator of the table that holds it."""
    return ValidationError.from_exception_data("table", [_detail(message, loc, value)])


def suggestion(name: str, known: Iterable[str]) -> str:
    """``did you mean "x"? `` if something is near, then all that is known."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    return (f'did you mean "{close[0]}"? ' if close else "") + f"known: {', '.join(known)}"


def show_key(loc: Iterable[int | str]) -> str:
    """A key's place as people write it: ``methods[1].compressor.density``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def show_value(value: Any) -> str:
    """A value as TOML would print it, cut to one short line."""
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
