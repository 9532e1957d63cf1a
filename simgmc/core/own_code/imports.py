"""The user's own code, imported: a module is looked for in the scenario's folder first, then wherever Python looks.

Modules of the folder are read as files from outside are (:mod:`simgmc.core.files`): a replay runs the copies that its
run directory keeps.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, ModuleType
from typing import Any

from simgmc.core.errors import SimgmcError, suggestion
from simgmc.core.files import read_bytes
from simgmc.core.own_code.code import Code, CodeFile, current, files_of, mention
from simgmc.core.own_code.errors import described, guarded

_loaded: dict[str, CodeFile] = {}
"""Modules that this module has loaded."""


def call(
    what: str, path: str, folder: str | None, arguments: Mapping[str, Any], offered: Mapping[str, Any] | None = None
) -> Any:
    """Import a function or class and call it.

    Args:
        what: it is for, for errors ("workload.model").
        path: ``"package.module:name"``.
        folder: to look in instead of the scenario's.
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
    with _looking_first():
        return guarded(what, f"{path} failed", lambda: factory(**given))


def find(what: str, path: str, folder: str | None = None) -> Any:
    """What an import path names. Raises SimgmcError as :func:`call`."""
    mention(path, folder)
    if (given := current().given(path)) is not None:
        return given
    code = current() if folder is None else Code(folder)
    module_name, _, attribute = path.partition(":")
    module = code.modules.get(module_name) or _module(what, path, module_name, code)
    code.modules[module_name] = module
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = [one for one in dir(found) if not one.startswith("_")]
            raise SimgmcError(
                f"{what}: {path}: {module_name} ({getattr(module, '__file__', 'built in')}) has no {part!r}; "
                f"{suggestion(part, known)}"
            )
        found = getattr(found, part)
    return found


def _module(what: str, path: str, name: str, code: Code) -> ModuleType:
    _forget_others(files_of(name, code))
    with _looking_first(code):
        try:
            return guarded(
                what, f"importing {name} failed", lambda: importlib.import_module(name), passes=ModuleNotFoundError
            )
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(error.name + ".")):
                where = f"in {code.folder} or " if code.folder else ""
                raise SimgmcError(
                    f"{what}: {path}: there is no module {error.name!r} {where}among Python's ({_python_path()})"
                ) from None
            raise SimgmcError(f"{what}: {path}: importing {name} failed: {described(error)}") from None


def _python_path() -> str:
    places = [
        place or "." for place in sys.path if "site-packages" not in place and not place.startswith(sys.base_prefix)
    ]
    return ", ".join([*places[:3], "installed packages"])


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the scenario's folder, as files from outside are read."""

    def __init__(self) -> None:
        self.code: Code | None = None

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        code = self.code or current()
        file = code.file_of(name)
        if file is not None:
            within = [os.path.dirname(file)] if os.path.basename(file) == "__init__.py" else None
            return importlib.util.spec_from_file_location(
                name, file, loader=_Loader(name, file), submodule_search_locations=within
            )
        return None


class _Loader(importlib.abc.InspectLoader):
    """Runs a module from its source, and leaves no compiled file behind."""

    def __init__(self, name: str, file: str):
        self.name, self.file = name, file

    def get_source(self, fullname: str) -> str:
        return read_bytes(self.file, "module").decode("utf-8-sig")

    def get_code(self, fullname: str) -> CodeType:
        content = read_bytes(self.file, "module")
        _loaded[self.name] = CodeFile(self.name, self.file, hashlib.sha256(content).hexdigest())
        return compile(content, self.file, "exec", dont_inherit=True)

    def is_package(self, fullname: str) -> bool:
        return os.path.basename(self.file) == "__init__.py"


_finder = _Finder()


@contextlib.contextmanager
def _looking_first(code: Code | None = None) -> Iterator[None]:
    """The scenario's folder comes first; afterwards it is last, for what is imported later."""
    before, _finder.code = _finder.code, code or _finder.code
    folder = (code or current()).folder
    _put(sys.meta_path, _finder, 0)
    if folder:  # for what is no source: namespace packages, binary modules
        _put(sys.path, folder, 0)
        importlib.invalidate_caches()
    try:
        yield
    finally:
        _finder.code = before
        _put(sys.meta_path, _finder, len(sys.meta_path))
        if folder:
            _put(sys.path, folder, len(sys.path))


def _put(places: list[Any], one: Any, at: int) -> None:
    """Moves something that is in a list, or is put there, to a place."""
    if one in places:
        places.remove(one)
    places.insert(at, one)


def _forget_others(files: list[CodeFile]) -> None:
    """Forgets modules of these names that came from another file, or from this one as it was before.

    Own modules hold each other's classes: where one is forgotten all are.
    """
    stale = [one.module for one in files if one.module in sys.modules and not one.installed and _is_other(one)]
    if stale:
        for name in [*stale, *_loaded]:
            for inside in [each for each in sys.modules if each == name or each.startswith(name + ".")]:
                del sys.modules[inside]
        _loaded.clear()


def _is_other(file: CodeFile) -> bool:
    if file.module in _loaded:
        return _loaded[file.module] != file
    origin = getattr(sys.modules[file.module], "__file__", None)
    return origin is not None and os.path.realpath(origin) != os.path.realpath(file.file)
