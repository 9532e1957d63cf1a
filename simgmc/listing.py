"""``simgmc list``: every name a scenario can use, with what it is and where it comes from."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from rich import box
from rich.table import Table

from simgmc.console import plain_console

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
    "partitions": lambda: _registered("simgmc.training.partitions", "PARTITIONS"),
    "problems": lambda: _registered("simgmc.training.problems", "PROBLEMS"),
    "devices": _devices,
}


def show(kind: str | None) -> None:
    """Print one kind, or all of them."""
    console = plain_console()
    for name in [kind] if kind else KINDS:
        table = Table(title=name, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("name", no_wrap=True)
        table.add_column("what it is", ratio=3)
        table.add_column("source", ratio=2)
        for line in KINDS[name]():
            table.add_row(*line)
        console.print(table)
