"""``simgmc list``: every name a scenario can use, with what it is and where it comes from."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from simgmc.console import plain_console
from simgmc.errors import SimgmcError
from simgmc.scenario.tables import suggestion

Line = tuple[str, str, str]


def _algorithms() -> Iterator[Line]:
    from simgmc.algorithms import ALGORITHMS

    for name, cls in ALGORITHMS.items():
        yield name, inspect.getdoc(cls).partition("\n")[0].replace("``", ""), cls.source


def _registered(module: str, registry: str) -> Iterator[Line]:
    import importlib

    for name, entry in getattr(importlib.import_module(module), registry).items():
        yield name, getattr(entry, "summary", ""), entry.source


def _devices() -> Iterator[Line]:
    from simgmc.scenario.devices import DEVICES

    for name, device in DEVICES.items():
        yield name, f"{device.flops / 1e12:g} TFLOP/s, {device.memory_bandwidth / 1e9:g} GB/s", device.source


KINDS = {
    "algorithms": _algorithms,
    "compressors": lambda: _registered("simgmc.compression", "COMPRESSORS"),
    "collectives": lambda: _registered("simgmc.network.collectives", "COLLECTIVES"),
    "topologies": lambda: _registered("simgmc.network.topology", "TOPOLOGIES"),
    "models": lambda: _registered("simgmc.training.models", "MODELS"),
    "datasets": lambda: _registered("simgmc.training.datasets", "DATASETS"),
    "graphs": lambda: _registered("simgmc.mixing", "GRAPHS"),
    "partitions": lambda: _registered("simgmc.training.partitions", "PARTITIONS"),
    "problems": lambda: _registered("simgmc.training.problems", "PROBLEMS"),
    "devices": _devices,
}


def show(kind: str | None, name: str | None = None) -> None:
    """Print one kind, or all of them; or one entry with its options."""
    console = plain_console()
    if name is not None:
        _show_entry(console, kind, name)
        return
    for name in [kind] if kind else KINDS:
        table = Table(title=name, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("name", no_wrap=True)
        table.add_column("what it is", ratio=3)
        table.add_column("source", ratio=2)
        for line in KINDS[name]():
            table.add_row(*line)
        console.print(table)


def _show_entry(console: Console, kind: str, name: str) -> None:
    known = [line[0] for line in KINDS[kind]()]
    if name not in known:
        raise SimgmcError(f"{kind}: nothing is called {name!r}; {suggestion(name, known)}")
    summary, source = next(line[1:] for line in KINDS[kind]() if line[0] == name)
    console.print(f"{name}: {summary}\nsource: {source}", markup=False, highlight=False)
    if kind == "algorithms":
        from simgmc.algorithms import ALGORITHMS

        console.print("\n" + inspect.getdoc(ALGORITHMS[name]).partition("\n")[2].strip().replace("``", ""), markup=False, highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("option", "kind", "default", "meaning"):
        table.add_column(column)
    for row in _options(kind, name):
        table.add_row(*row)
    console.print(table if table.row_count else "no options")


def _options(kind: str, name: str) -> Iterator[tuple[str, str, str, str]]:
    """(name, kind, default, meaning) of every option of an entry."""
    if kind == "algorithms":
        from simgmc.algorithms import ALGORITHMS

        for one in dataclasses.fields(ALGORITHMS[name]):
            default = "required" if one.default is dataclasses.MISSING else "optimizer.momentum" if one.name == "momentum" else str(one.default)
            yield one.name, str(one.type), default, ""
    elif kind == "compressors":
        from simgmc.compression import COMPRESSORS
        from simgmc.compression.catalogue import REQUIRED

        for one in COMPRESSORS[name].parameters:
            default = "required" if one.default is REQUIRED else "-" if one.default is None else str(one.default)
            yield one.name, one.type.__name__, default, one.summary + (f" ({', '.join(one.choices)})" if one.choices else "")
    elif kind == "graphs":
        from simgmc.mixing import GRAPHS

        for option, one in GRAPHS[name].options.items():
            yield option, "path" if one.kind is str else one.kind.__name__, "required" if one.default is None else str(one.default), one.summary
    elif kind == "topologies":
        from simgmc.network.topology import TOPOLOGIES

        for option, what in TOPOLOGIES[name].parameters.items():
            yield option, what.partition(" ")[0], "required" if what.endswith("required") else "-", ""
    elif kind in ("models", "datasets", "partitions"):
        from simgmc.training.datasets import DATASETS
        from simgmc.training.models import MODELS
        from simgmc.training.partitions import PARTITIONS

        for option, one in {"models": MODELS, "datasets": DATASETS, "partitions": PARTITIONS}[kind][name].options.items():
            default = ("-" if one.optional else "required") if one.default is None else str(list(one.default) if isinstance(one.default, tuple) else one.default)
            yield option, one.kind.__name__, default, one.summary + (f" ({', '.join(one.choices)})" if one.choices else "")
