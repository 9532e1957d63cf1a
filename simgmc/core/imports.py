"""Objects of the user's own by import path, ``"package.module:name"``, and what is said when they fail.

A module is looked for in the scenario's folder first, then wherever Python looks. Nothing here
needs torch.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from simgmc.core.errors import SimgmcError, out_of_memory, suggestion
from simgmc.core.registry import Option

T = TypeVar("T")

FRAMES = 3
"""Of the user's own code that an error shows, at most."""


@dataclass(frozen=True)
class ImportPath(Option):
    """An option that names something to import; with ``arguments`` also a table of it and its arguments."""

    kind: Any = str
    arguments: bool = False

    @property
    def words(self) -> str:
        """How it is written."""
        table = ', or a table { factory = "package.module:name", ... } with its arguments' if self.arguments else ""
        return f'an import path, "package.module:name"{table}'

    def accepts(self, value: Any) -> bool:
        """Whether it is written so."""
        if isinstance(value, Mapping) and self.arguments:
            value = value.get("factory")
        return (
            isinstance(value, str)
            and all(value.partition(":"))
            and all(part.isidentifier() for part in value.replace(":", ".").split("."))
        )


def call(
    what: str, path: str, folder: str | None, arguments: Mapping[str, Any], offered: Mapping[str, Any] | None = None
) -> Any:
    """Import a function or class and call it.

    Args:
        what: it is for, for errors ("workload.model").
        path: ``"package.module:name"``.
        folder: to look in first.
        arguments: by name.
        offered: further arguments, passed where the signature names them.

    Raises:
        SimgmcError: module or name not found, arguments that do not fit its signature, or an error
            of its own, with the line where it happened.
    """
    factory = find(what, path, folder)
    if not callable(factory):
        raise SimgmcError(f"{what}: {path} is {type(factory).__name__}, not a function or class to call")
    given = dict(arguments)
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        signature = None
    if signature is not None:
        given |= {
            name: value for name, value in (offered or {}).items() if name in signature.parameters and name not in given
        }
        try:
            signature.bind(**given)
        except TypeError as error:
            shown = ", ".join(f"{key} = {value!r}" for key, value in arguments.items()) or "no arguments"
            raise SimgmcError(f"{what}: {path}{signature} does not take {shown}: {error}") from None
    with _looking_in(folder):
        return guarded(what, f"{path} failed", lambda: factory(**given))


def find(what: str, path: str, folder: str | None) -> Any:
    """What an import path names. Raises SimgmcError as :func:`call`."""
    module_name, _, name = path.partition(":")
    with _looking_in(folder):
        _forget_namesake(module_name, folder)
        try:
            module = guarded(
                what,
                f"importing {module_name} failed",
                lambda: importlib.import_module(module_name),
                passes=ModuleNotFoundError,
            )
        except ModuleNotFoundError as error:
            if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
                where = f"in {folder} or " if folder else ""
                raise SimgmcError(
                    f"{what}: {path}: there is no module {error.name!r} {where}among Python's ({_python_path()})"
                ) from None
            raise SimgmcError(f"{what}: {path}: importing {module_name} failed: {described(error)}") from None
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [one for one in dir(found) if not one.startswith("_")]
            raise SimgmcError(
                f"{what}: {path}: {module_name} ({getattr(module, '__file__', 'built in')}) has no {part!r}; "
                f"{suggestion(part, known)}"
            )
        found = getattr(found, part)
    return found


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
    own = str(Path(__file__).parents[1])
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if not f.filename.startswith(("<frozen", own))
        and "site-packages" not in f.filename
        and f"{sys.base_prefix}/lib" not in f.filename
    ]
    if not frames:
        return text
    last = [f"{frame.filename}, line {frame.lineno}, in {frame.name}" for frame in frames[: -1 - FRAMES : -1]]
    return f"{text} ({'; '.join(last)})"


def _python_path() -> str:
    places = [
        place or "." for place in sys.path if "site-packages" not in place and not place.startswith(sys.base_prefix)
    ]
    return ", ".join([*places[:3], "installed packages"])


class _looking_in:
    """Puts a folder first on Python's path; afterwards it is last, for what is imported later."""

    def __init__(self, folder: str | None):
        self.folder = folder

    def __enter__(self) -> None:
        if self.folder:
            sys.path.insert(0, self.folder)
            importlib.invalidate_caches()

    def __exit__(self, *_: Any) -> None:
        if self.folder and self.folder in sys.path:
            sys.path.remove(self.folder)
            if self.folder not in sys.path:
                sys.path.append(self.folder)


def _forget_namesake(module_name: str, folder: str | None) -> None:
    """Forgets a module of the same name that was imported from another folder than the scenario's."""
    top = module_name.partition(".")[0]
    if not folder or top not in sys.modules or top in sys.stdlib_module_names:
        return
    there = [Path(folder) / f"{top}.py", Path(folder) / top / "__init__.py"]
    origin = getattr(sys.modules[top], "__file__", None)
    if (
        any(place.is_file() for place in there)
        and origin
        and Path(origin).resolve() not in [place.resolve() for place in there]
    ):
        for name in [name for name in sys.modules if name == top or name.startswith(top + ".")]:
            del sys.modules[name]
