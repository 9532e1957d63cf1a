"""The order of the package's rooms, and what breaks it: read from the source, nothing is imported.

    python -m tests.rooms

prints every fault, the longest chain of rooms and the imports inside functions.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import networkx as nx

from tests.places import ROOT


@dataclass(frozen=True)
class Rules:
    """What the folders of a package may hold and import."""

    order: tuple[str, ...]
    """Rooms: a folder, or a file at the root. Each may import those before it, and itself."""
    forbidden: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Room -> rooms that come before it and that it may not import all the same."""
    held_in: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Package from elsewhere -> the rooms that may import it."""
    light: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Module -> packages that neither it nor anything that it imports loads when it is imported."""
    root_files: tuple[str, ...] = ("__init__", "__main__", "api", "cli")
    max_folders: int = 14
    """At the root."""
    max_files: int = 16
    """Modules that one folder holds directly, ``__init__`` not counted."""
    max_floors: int = 12
    """Rooms on the longest chain of imports."""


SIMGMC = Rules(
    order=(
        "core",
        "costs",
        "compression",
        "mixing",
        "algorithms",
        "network",
        "workloads",
        "training",
        "scenario",
        "results",
        "experiment",
        "distributed",
        "commands",
        "api",
        "__init__",
        "cli",
        "__main__",
    ),
    forbidden={"network": ("compression", "mixing", "algorithms")},
    held_in={
        "simpy": ("network",),
        "torch": ("compression", "training", "workloads", "experiment", "distributed", "commands", "api"),
    },
    light={
        **dict.fromkeys(
            ("commands.replay", "commands.timeline", "commands.why", "results.report", "commands.plot"), ("torch",)
        ),
        **dict.fromkeys(("api", "experiment.reading"), ("torch", "matplotlib", "pandas", "polars", "narwhals")),
        "cli": ("torch", "numpy", "pydantic", "rich"),
        **dict.fromkeys(("commands.list", "scenario"), ("torch", "matplotlib", "sklearn")),
        "core.registry": ("torch", "simpy", "networkx", "numpy", "pydantic"),
        "compression": ("torch",),
        "workloads.models.catalogue": ("torch", "simpy", "sklearn", "pydantic", "click"),
        "workloads.data.catalogue": ("torch", "simpy", "sklearn", "pydantic", "click"),
        "workloads.partitions.catalogue": ("torch", "simpy", "sklearn", "pydantic", "click"),
        "workloads.classification": ("simpy", "pydantic", "click"),
        "results.directory.checkpoint": ("torch", "simpy", "matplotlib", "rich"),
        "results.series.summary": ("torch", "simpy", "matplotlib", "rich"),
        "results.tables.tables": ("torch", "simpy", "matplotlib"),
        "results.figures.plots": ("torch", "simpy", "matplotlib.pyplot"),
    },
)


@dataclass(frozen=True)
class Import:
    """One name that a module imports, wherever in the file it does."""

    name: str
    """In full, from the package's name on; of ``from a import b`` it is ``a.b``."""
    line: int
    inside: bool
    """In a function: it runs when the function is called."""
    runs: bool
    """False where only a type checker reads it."""
    explained: bool
    """A comment stands beside it or above the block of imports that it belongs to."""


@dataclass(frozen=True)
class Module:
    """A file of the package."""

    name: str
    """Dotted, without the package's name; a folder's ``__init__`` has the folder's name, the root's is ``__init__``."""
    path: Path
    imports: tuple[Import, ...]
    docstring: str | None
    defined: frozenset[str]
    """Names that the file binds at its top level; of the root's ``__init__`` also those that it says where to find."""
    mentioned: tuple[str, ...]
    """Names of the package in its docstrings' roles (``:mod:`package.part```), in full."""

    @property
    def room(self) -> str:
        """The first part of the name."""
        return self.name.split(".")[0]


class House:
    """A package's modules and who imports whom."""

    def __init__(self, folder: Path):
        self.folder, self.package = folder, folder.name
        self.modules = {module.name: module for module in map(self._read, sorted(folder.rglob("*.py")))}

    def faults(self, rules: Rules) -> list[str]:
        """Every breach of the rules, one line each."""
        found = [*self._places(rules), *self._order(rules), *self._walls(rules), *self._loads(rules)]
        found += [f"circle of modules: {' -> '.join(circle)}" for circle in _circles(self._by_module)]
        for parent, graph in self._by_folder.items():
            found += [f"circle of parts of {parent}: {' -> '.join(circle)}" for circle in _circles(graph)]
        if len(self.longest_chain) > rules.max_floors:
            found.append(
                f"{len(self.longest_chain)} floors, at most {rules.max_floors}: {' < '.join(self.longest_chain)}"
            )
        found += self._mentions()
        found += [f"{where}: does not say why it is not at the top" for where, said in self.inside.items() if not said]
        return found

    @cached_property
    def inside(self) -> dict[str, bool]:
        """Imports inside functions, of the package's own modules and of other packages: place -> whether explained."""
        return {
            _place(self, module, one): one.explained
            for module in self.modules.values()
            for one in module.imports
            if one.inside and one.name.split(".")[0] not in sys.stdlib_module_names
        }

    @cached_property
    def longest_chain(self) -> list[str]:
        """Rooms, the lowest first; the root's ``__init__`` and ``__main__`` are doors, not rooms."""
        doors = {"__init__", "__main__"}
        graph = nx.DiGraph()
        for room, others in self._by_room.items():
            graph.add_edges_from((other, room) for other in others - doors if room not in doors)
        return nx.dag_longest_path(graph) if nx.is_directed_acyclic_graph(graph) else []

    def target(self, name: str) -> str | None:
        """The module that an import loads, as this class calls it; None for another package's."""
        first, *parts = name.split(".")
        if first != self.package:
            return None
        while parts and ".".join(parts) not in self.modules:
            *parts, last = parts
            parent = self.modules.get(".".join(parts) or "__init__")
            if parent is not None and last in parent.defined:
                break
        return ".".join(parts) or "__init__"

    def _places(self, rules: Rules) -> Iterator[str]:
        folders = {path.name for path in self.folder.iterdir() if any(path.rglob("*.py"))}
        if len(folders) > rules.max_folders:
            yield f"{len(folders)} folders at the root, at most {rules.max_folders}"
        for path in sorted(self.folder.glob("*.py")):
            if path.stem not in rules.root_files:
                yield f"{path.name} at the root: belongs into a room"
        for folder in sorted({module.path.parent for module in self.modules.values()}):
            place = folder.relative_to(self.folder.parent)
            files = sum(path.stem != "__init__" for path in folder.glob("*.py"))
            if files > rules.max_files:
                yield f"{place}: {files} files, at most {rules.max_files}"
            if not (folder / "__init__.py").is_file():
                yield f"{place}: has no __init__.py"
        for name, module in self.modules.items():
            if module.path.stem == "__init__" and not (module.docstring or "").strip():
                yield f"{module.path.relative_to(self.folder.parent)}: does not say what the folder is for"
            elif module.path.parent == self.folder / name:
                words = set(re.findall(r"\w+", module.docstring or ""))
                for other in sorted(self._by_room[name] - words) if "every" not in words else ():
                    yield f"{module.path.relative_to(self.folder.parent)}: does not say that {name} may import {other}"

    def _order(self, rules: Rules) -> Iterator[str]:
        floor = {room: height for height, room in enumerate(rules.order)}
        for room in sorted({module.room for module in self.modules.values()} - floor.keys()):
            yield f"{room}: has no place in the order of rooms"
        for module, one, target in self._own():
            low, high = self.modules[target].room, module.room
            if low != high and floor.get(low, -1) > floor.get(high, len(floor)):
                yield f"{_place(self, module, one)} imports {one.name}: {high} may not import {low}, a later room"

    def _walls(self, rules: Rules) -> Iterator[str]:
        for module, one, target in self._own():
            if (room := self.modules[target].room) in rules.forbidden.get(module.room, ()):
                yield f"{_place(self, module, one)} imports {one.name}: {module.room} may not import {room}"
        for module in self.modules.values():
            for one in module.imports:
                rooms = rules.held_in.get(other := one.name.split(".")[0])
                if rooms is not None and module.room not in rooms:
                    yield f"{_place(self, module, one)} imports {one.name}: {module.room} may not import {other}"

    def _loads(self, rules: Rules) -> Iterator[str]:
        for start, heavy in rules.light.items():
            came, waiting = {start: ""}, [start]
            while waiting:
                module = self.modules[waiting.pop()]
                for one in module.imports:
                    if one.inside or not one.runs:
                        continue
                    for package in heavy:
                        if f"{one.name}.".startswith(f"{package}."):
                            chain = [module.name]
                            while came[chain[-1]]:
                                chain.append(came[chain[-1]])
                            yield f"{' -> '.join(reversed(chain))} loads {package}"
                    for name in self._loaded(self.target(one.name)):
                        if name not in came:
                            came[name] = module.name
                            waiting.append(name)

    def _loaded(self, target: str | None) -> Iterable[str]:
        """What is loaded with a module: itself and the ``__init__`` of every folder that it lies in."""
        if target is None:
            return ()
        parts = target.split(".")
        return [name for n in range(1, len(parts) + 1) if (name := ".".join(parts[:n])) in self.modules]

    def _mentions(self) -> Iterator[str]:
        """Names in docstrings that nothing has."""
        for module in self.modules.values():
            for name in module.mentioned:
                target = self.target(name) or "__init__"
                rest = name.split(".")[1 if target == "__init__" else 1 + len(target.split(".")) :]
                if rest and rest[0] not in self.modules[target].defined:
                    yield f"{module.path.relative_to(self.folder.parent)}: names {name}, which is not there"

    def _own(self) -> Iterator[tuple[Module, Import, str]]:
        for module in self.modules.values():
            for one in module.imports:
                target = self.target(one.name)
                if target is not None and target != module.name:
                    yield module, one, target

    @cached_property
    def _by_module(self) -> dict[str, set[str]]:
        graph: dict[str, set[str]] = {name: set() for name in self.modules}
        for module, _, target in self._own():
            graph[module.name].add(target)
        return graph

    @cached_property
    def _by_room(self) -> dict[str, set[str]]:
        graph: dict[str, set[str]] = defaultdict(set)
        for module, _, target in self._own():
            graph[module.room] |= {self.modules[target].room} - {module.room}
        return graph

    @cached_property
    def _by_folder(self) -> dict[str, dict[str, set[str]]]:
        """For every folder the imports between its parts: its files and its folders, but for its ``__init__``."""
        graphs: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for module, _, target in self._own():
            one, other = module.name.split("."), target.split(".")
            same = next(
                (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
            )
            if same and same < len(one) and same < len(other):
                graphs[".".join(one[:same])][one[same]].add(other[same])
        return graphs

    def _read(self, path: Path) -> Module:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, str(path))
        parts = path.relative_to(self.folder).with_suffix("").parts
        folder = (self.package, *parts[:-1])
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        imports = tuple(_imports(tree, folder, self.package, _comments(text)))
        bound = set(_bound(tree))
        if name == "__init__":
            bound |= {
                node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
        roles = rf":(?:mod|class|func|meth|attr|data|exc):`~?({re.escape(self.package)}(?:\.\w+)+)`"
        return Module(name, path, imports, ast.get_docstring(tree), frozenset(bound), tuple(re.findall(roles, text)))


def _place(house: House, module: Module, one: Import) -> str:
    return f"{module.path.relative_to(house.folder.parent)}:{one.line}"


def _comments(text: str) -> set[int]:
    """Lines with a comment that is meant for readers, not for a tool."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    tools = re.compile(r"#\s*(noqa|type:|fmt:|pragma)")
    return {token.start[0] for token in tokens if token.type == tokenize.COMMENT and not tools.match(token.string)}


def _imports(tree: ast.Module, folder: tuple[str, ...], package: str, comments: set[int]) -> Iterator[Import]:
    lazy = re.compile(rf"{re.escape(package)}(\.\w+)*:\w+")

    def visit(node: ast.AST, inside: bool, runs: bool) -> Iterator[Import]:
        # A package's part that a string names, "simgmc.mixing:GRAPHS", is imported later.
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and lazy.fullmatch(node.value):
            yield Import(node.value.replace(":", "."), node.lineno, False, False, True)
        for _, value in ast.iter_fields(node):
            block: list[ast.Import | ast.ImportFrom] = []
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.Import | ast.ImportFrom):
                    block.append(child)
                    lines = {line for one in block for line in range(one.lineno, (one.end_lineno or 0) + 1)}
                    explained = bool(comments & (lines | {block[0].lineno - 1}))
                    for name in _names(child, folder):
                        yield Import(name, child.lineno, inside, runs, explained)
                elif isinstance(child, ast.AST):
                    block = []
                    function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                    checked = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                    yield from visit(child, inside or function, runs and not checked)

    return visit(tree, False, True)


def _names(node: ast.Import | ast.ImportFrom, folder: tuple[str, ...]) -> list[str]:
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    base = [node.module] if node.module else []
    if node.level:
        base = [*folder[: len(folder) - node.level + 1], *base]
    return [".".join([*base, one.name]) for one in node.names]


def _bound(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (one.asname or one.name for one in node.names)
        else:
            yield from (
                one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
            )


def _circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """One circle for each set of nodes that reach each other, closed."""
    drawn = nx.DiGraph([(one, other) for one, others in graph.items() for other in sorted(others)])
    found = []
    for together in nx.strongly_connected_components(drawn):
        if len(together) > 1:
            circle = [one for one, _ in nx.find_cycle(drawn.subgraph(together), min(together))]
            found.append([*circle, circle[0]])
    return sorted(found)


if __name__ == "__main__":
    simgmc = House(ROOT / "simgmc")
    print(*simgmc.faults(SIMGMC), sep="\n")
    print(f"{len(simgmc.longest_chain)} floors: {' < '.join(simgmc.longest_chain)}")
    print(f"{len(simgmc.inside)} imports inside functions:")
    print(*(f"  {where}" for where in simgmc.inside), sep="\n")
