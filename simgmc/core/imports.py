"""Code of the user's own by import path, ``"package.module:name"``: found, named before it runs, told by its digest.

A module is looked for in the scenario's folder first, then wherever Python looks. :func:`look_in` says what
folder that is, and collects what a scenario runs: every module that it names and those that these import from the same
folder, each with its SHA-256. Modules of the folder are read as files from outside are
(:mod:`simgmc.core.files`): a replay runs the copies that its run directory keeps. Nothing here needs torch.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar

from simgmc.core.errors import SimgmcError, out_of_memory, suggestion
from simgmc.core.files import is_there, read_bytes

T = TypeVar("T")

FRAMES = 3
"""Of the user's own code that an error shows, at most."""
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_PACKAGE = str(Path(__file__).parents[1])
_INSTALLED = tuple({os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")})


def is_import_path(text: object) -> bool:
    """Whether a text is written ``"package.module:name"``."""
    return isinstance(text, str) and _IMPORT_PATH.fullmatch(text) is not None


@dataclass(frozen=True)
class CodeFile:
    """A module of the user's own."""

    module: str
    file: str
    """Absolute; of an object that was handed over in Python and whose module has no file, empty."""
    sha256: str
    """Of the file; of such an object, of its own source, empty where there is none."""

    @property
    def installed(self) -> bool:
        """Whether it belongs to an installed package, which a run directory keeps no copy of."""
        return os.path.realpath(self.file).startswith(_INSTALLED)

    def __str__(self) -> str:
        return f"{self.module} ({self.file or 'given in Python'}, sha256 {self.sha256[:12]})"


@dataclass
class Code:
    """Where a scenario's modules are, and those of them that it has named so far, by their names."""

    folder: str | None = None
    stated: Mapping[str, CodeFile] = field(default_factory=dict)
    """What a resolved scenario says that they are."""
    handed: Mapping[str, Any] = field(default_factory=dict)
    """Objects that it was given in Python, by the import paths that stand for them."""
    used: dict[str, CodeFile] = field(default_factory=dict)
    modules: dict[str, ModuleType] = field(default_factory=dict)
    """Those that were imported for it: what it runs stays the same as long as it lasts."""
    mentioned: set[str] = field(default_factory=set)

    def given(self, path: str) -> Any:
        """The object that was handed over under an import path, None where none was.

        Raises SimgmcError where a resolved scenario says that one was, in another process.
        """
        if path in self.handed:
            return self.handed[path]
        if path in self.stated and not self.stated[path].file:
            if path not in _handed:
                raise SimgmcError(
                    f"{path} was given in Python and lies in no file: write it into a module, or give it again from "
                    "Python"
                )
            return _handed[path]
        return None

    def file_of(self, module: str) -> str | None:
        """The file of a module in the folder, or of one that is stated; None for any other."""
        if module in self.stated and is_there(self.stated[module].file):
            return self.stated[module].file
        for place in self._places(module):
            if is_there(place):
                return place
        return None

    def _places(self, module: str) -> tuple[str, ...]:
        top = module.partition(".")[0]
        if self.folder is None or top == "simgmc" or top in sys.stdlib_module_names:
            return ()
        place = os.path.join(os.path.abspath(self.folder), *module.split("."))
        return (f"{place}.py", os.path.join(place, "__init__.py"))


_code = Code()
_handed: dict[str, Any] = {}
"""All objects that were handed over in Python, by the import paths that stand for them."""
_loaded: dict[str, CodeFile] = {}
"""Modules that this module has loaded."""


def _listener(code: CodeFile) -> None:
    """Whoever hears of code before it runs; nobody, unless :func:`announced_to` says who."""


@contextlib.contextmanager
def announced_to(listener: Callable[[CodeFile], None]) -> Iterator[None]:
    """For a while, the listener hears of every module of the user's own before it runs, once."""
    global _listener
    heard: set[CodeFile] = set()

    def hear(code: CodeFile) -> None:
        if code not in heard:
            heard.add(code)
            listener(code)

    before, _listener = _listener, hear
    try:
        yield
    finally:
        _listener = before


def look_in(code: Code) -> None:
    """From now on names are looked up as this scenario means them; it collects what is named."""
    global _code
    _code = code


@contextlib.contextmanager
def looking_in(code: Code) -> Iterator[None]:
    """For a while, as :func:`look_in`."""
    before = _code
    look_in(code)
    try:
        yield
    finally:
        look_in(before)


def hand_over(found: Any) -> str:
    """The import path that stands for a class or function given in Python, which is kept for what reads its runs."""
    named = found if hasattr(found, "__qualname__") else type(found)  # an object that is called
    path = f"{named.__module__}:{named.__qualname__.replace('<locals>.', '').replace('<lambda>', 'function')}"
    _handed[path] = found
    return path


def mention(path: str, folder: str | None = None) -> None:
    """Note that a scenario names something to import, and with it the files that will run; imports nothing.

    ``folder``: to look in instead of the scenario's.
    """
    if folder is None and path in _code.mentioned:
        return
    if (found := _code.given(path)) is not None:
        _note([_handed_file(path, found)])
    else:
        module = path.partition(":")[0]
        _note(_files(module, _code if folder is None else Code(folder)))
    if folder is None:
        _code.mentioned.add(path)


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
    if (given := _code.given(path)) is not None:
        return given
    code = _code if folder is None else Code(folder)
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
    _forget_others(_files(name, code))
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


# what runs ------------------------------------------------------------------------------


def _note(files: list[CodeFile]) -> None:
    for one in files:
        if _code.used.get(one.module) != one:
            _code.used[one.module] = one
            _listener(one)


def _handed_file(path: str, found: Any) -> CodeFile:
    try:
        source = inspect.getsource(found).encode()
    except (OSError, TypeError):
        source = b""
    file = getattr(sys.modules.get(found.__module__), "__file__", None)
    if file is None or found.__module__ == "__main__":
        return CodeFile(path, "", hashlib.sha256(source).hexdigest() if source else "")
    file = os.path.abspath(file)
    return CodeFile(found.__module__, file, hashlib.sha256(read_bytes(file, "module")).hexdigest())


def _files(module: str, code: Code) -> list[CodeFile]:
    """A module's file and those that it imports, and these, from the same folder: as far as imports are written out.

    Of an installed package only what lies beside the module: all of a library would be too much.
    """
    found: dict[str, CodeFile] = {}
    waiting = [(module, "")]
    while waiting:
        name, beside = waiting.pop(0)
        file = code.file_of(name)
        outside = file is None
        if outside:
            file = _elsewhere(name)
        if name in found or file is None or (beside and outside and os.path.dirname(file) != beside):
            continue
        content = read_bytes(file, "module")
        found[name] = CodeFile(name, file, hashlib.sha256(content).hexdigest())
        package = name if os.path.basename(file) == "__init__.py" else name.rpartition(".")[0]
        waiting += [(one, os.path.dirname(file)) for one in _imported(content, package)]
        if not outside:
            parents = name.split(".")[:-1]
            waiting += [(".".join(parents[:count]), os.path.dirname(file)) for count in range(1, len(parents) + 1)]
    return list(found.values())


def _elsewhere(module: str) -> str | None:
    """The source of a module that Python finds by itself; None for simgmc's own, built-in and binary ones."""
    top = module.partition(".")[0]
    if top == "simgmc" or top in sys.stdlib_module_names:
        return None
    try:
        loaded = sys.modules.get(module)
        spec = getattr(loaded, "__spec__", None) or importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    origin = getattr(spec, "origin", None)
    return os.path.abspath(origin) if origin and origin.endswith(".py") and os.path.isfile(origin) else None


@functools.lru_cache(maxsize=4096)
def _imported(content: bytes, package: str) -> tuple[str, ...]:
    """Names of modules that a source imports anywhere in it; of ``from a import b`` both a and a.b."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return ()  # importing it will say so
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names if alias.name != "*")]
    return tuple(name for name in dict.fromkeys(names) if name)


# importing ------------------------------------------------------------------------------


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the scenario's folder, as files from outside are read."""

    def __init__(self) -> None:
        self.code: Code | None = None

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        code = self.code or _code
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
    folder = (code or _code).folder
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


# errors ---------------------------------------------------------------------------------


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
    own = {one.file for one in _code.used.values()}
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


def _python_path() -> str:
    places = [
        place or "." for place in sys.path if "site-packages" not in place and not place.startswith(sys.base_prefix)
    ]
    return ", ".join([*places[:3], "installed packages"])
