"""Validated tables of a scenario file: pydantic models whose errors name the nearest valid key."""

from __future__ import annotations

from typing import Any, Final, LiteralString

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from simgmc.core.errors import suggestion

_PLAIN = {
    "missing": "missing; a value is needed",
    "model_type": "needs a table",
    "dict_type": "needs a table",
    "list_type": "needs a list",
    "string_type": "needs text",
    "int_type": "needs a whole number",
    "int_parsing_size": "is too large",
    "float_type": "needs a number",
    "bool_type": "needs true or false",
    "too_short": "needs at least one entry",
    "string_pattern_mismatch": "may hold letters, digits, '_', '.' and '-' only",
    "string_too_long": "may have at most {max_length} characters",
    "string_too_short": "needs at least {min_length} character(s)",
    "greater_than": "must be above {gt:.9g}",
    "greater_than_equal": "must be at least {ge:.9g}",
    "less_than": "must be below {lt:.9g}",
    "less_than_equal": "must be at most {le:.9g}",
    "finite_number": "must be a finite number",
    "literal_error": "must be one of: {expected}",
    "tuple_type": "needs a list",
    "int_from_float": "needs a whole number",
    "int_parsing": "needs a whole number",
    "float_parsing": "needs a number",
    "bool_parsing": "needs true or false",
}
"""Pydantic's kinds of mistakes in this project's words; in braces, what pydantic says of the limits."""


class Table(BaseModel):
    """A TOML table: no unknown keys, no silent conversions, immutable."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, validate_default=True, arbitrary_types_allowed=True
    )

    @model_validator(mode="wrap")
    @classmethod
    def _suggest_keys(cls, data: Any, handler: Any) -> Any:
        try:
            return handler(data)
        except ValidationError as error:
            details = []
            for one in error.errors(include_url=False):
                kind = _UNFIT if one["type"] == _UNFIT else _MISTAKE
                message = one["msg"].removeprefix("Value error, ")
                if one["type"] in _PLAIN:
                    message = _PLAIN[one["type"]].format(**one.get("ctx", {}))
                if one["type"] == "extra_forbidden" and len(one["loc"]) == 1:
                    message = "unknown key; " + suggestion(str(one["loc"][0]), cls.model_fields)
                details.append(_detail(message, one["loc"], one["input"], kind))
            raise ValidationError.from_exception_data(cls.__name__, details) from None


def _detail(message: str, loc: tuple[int | str, ...], value: Any, kind: LiteralString) -> InitErrorDetails:
    # The text goes in as a value, so that braces in it are not read as a template.
    return InitErrorDetails(type=PydanticCustomError(kind, "{text}", {"text": message}), loc=loc, input=value)


_MISTAKE: Final = "scenario"
_UNFIT: Final = "unfit"


def mistake(message: str, *loc: int | str, value: Any) -> ValidationError:
    """An error about one key, to be raised in a validator of the table that holds it."""
    return ValidationError.from_exception_data("table", [_detail(message, loc, value, _MISTAKE)])


def unfit(message: str, *loc: int | str, value: Any) -> ValidationError:
    """As :func:`mistake`, where values do not go together that are right by themselves: such a point of a grid is
    skipped."""
    return ValidationError.from_exception_data("table", [_detail(message, loc, value, _UNFIT)])


def only_unfit(error: ValidationError) -> bool:
    """Whether values do not go together, and none is wrong by itself."""
    return all(one["type"] == _UNFIT for one in error.errors(include_url=False))


def moved(error: ValidationError, *loc: int | str) -> ValidationError:
    """The first of these errors, below another key."""
    one = error.errors(include_url=False)[0]
    say = unfit if one["type"] == _UNFIT else mistake
    return say(one["msg"], *loc, *one["loc"], value=one["input"])
