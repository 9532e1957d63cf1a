"""Errors of the user's own code: in one line, with the place."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from simgmc.core.errors import SimgmcError, out_of_memory
from simgmc.core.own_code.code import current

T = TypeVar("T")

FRAMES = 3
"""Of the user's own code that an error shows, at most."""
_PACKAGE = str(Path(__file__).parents[2])


def guarded(what: str, failed: str, task: Callable[[], T], passes: type[Exception] | tuple[()] = ()) -> T:
    """The result of code that is not ours; its errors in one line, with the place."""
    try:
        return task()
    except SimgmcError:
        raise
    except passes:
        raise
    except (Exception, SystemExit) as error:
        if out_of_memory(error):
            raise SimgmcError(f"{what}: {failed}: there is not enough memory for it") from error
        raise SimgmcError(f"{what}: {failed}: {described(error)}") from error


def described(error: BaseException) -> str:
    """``type: message (file, line 3, in name; file, line 9, in other)``: innermost lines, not a library's."""
    text = " ".join(str(error).split())
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    places = own_places(error)
    return f"{text} ({'; '.join(places)})" if places else text


def own_places(error: BaseException) -> list[str]:
    """Where an error happened in code of the user's own, the innermost place first: ``file, line 3, in name``."""
    own = {one.file for one in current().used.values()}
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if f.filename in own
        or not (
            f.filename.startswith(("<frozen", "<string>", _PACKAGE))
            or "site-packages" in f.filename
            or f"{sys.base_prefix}/lib" in f.filename
        )
    ]
    return [f"{frame.filename}, line {frame.lineno}, in {frame.name}" for frame in frames[: -1 - FRAMES : -1]]
