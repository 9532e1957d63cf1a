"""What code a scenario runs: the modules that it names and those that these import, each with its digest.

:func:`look_in` says in what folder they are, which comes before wherever Python looks, and collects every module that
is named, with its SHA-256.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import inspect
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from simgmc.core.errors import SimgmcError
from simgmc.core.files import is_there, read_bytes

_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
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


def current() -> Code:
    """The scenario's that names are looked up for, see :func:`look_in`."""
    return _code


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
        _note(files_of(module, _code if folder is None else Code(folder)))
    if folder is None:
        _code.mentioned.add(path)


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


def files_of(module: str, code: Code) -> list[CodeFile]:
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
