"""``simgmc list``: every name a scenario can use, with what it is, where it comes from, and its options."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from rich.console import Console

from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.own_code.code import Code, look_in
from simgmc.core.registry import REQUIRED, Entry, Option, Registry
from simgmc.core.terminal import plain_console, print_line, print_table
from simgmc.results.series.measures import MEASURES, Measure

KINDS: Registry[Any] = Registry(
    "kind of part",
    {
        "keys": "simgmc.scenario.reference:tables",
        "algorithms": "simgmc.algorithms:ENTRIES",
        "optimizers": "simgmc.algorithms.optimizers:ENTRIES",
        "schedules": "simgmc.training.schedules:schedules",
        "compressors": "simgmc.compression:COMPRESSORS",
        "collectives": "simgmc.network.collectives:CHOICES",
        "conditions": "simgmc.network.conditions.catalogue:ENTRIES",
        "topologies": "simgmc.network.topology.catalogue:TOPOLOGIES",
        "graphs": "simgmc.mixing:GRAPHS",
        "weights": "simgmc.mixing:WEIGHTS",
        "models": "simgmc.workloads.models.catalogue:MODELS",
        "datasets": "simgmc.workloads.data.catalogue:DATASETS",
        "losses": "simgmc.workloads.losses.catalogue:LOSSES",
        "metrics": "simgmc.commands.list:metrics",
        "partitions": "simgmc.workloads.partitions.catalogue:PARTITIONS",
        "problems": "simgmc.workloads.problems.catalogue:PROBLEMS",
        "devices": "simgmc.scenario.cluster.devices:DEVICES",
    },
)
"""Where the entries of each kind are registered, or the function that makes their registry."""


def entries(kind: str) -> Registry[Entry]:
    """The entries of a kind by name. Raises SimgmcError for an unknown one."""
    module, _, registry = KINDS[kind].partition(":")
    found = getattr(importlib.import_module(module), registry)
    return found if isinstance(found, Registry) else found()


def metrics() -> Registry[Entry]:
    """What runs can be measured by."""

    def summary(measure: Measure) -> str:
        share = ", a share from 0 to 1" if measure.share else ""
        return f"{measure.text}{share}; {'more' if measure.higher_is_better else 'less'} is better"

    made = [Entry(name, summary(measure), "report.metric of a scenario") for name, measure in MEASURES.items()]
    return Registry("metric", made, listed="metrics")


def show(kind: str | None, name: str | None = None) -> None:
    """Print one kind, or all of them; or one entry with its options, which may be one's own in this folder."""
    console = plain_console()
    look_in(Code(str(Path().absolute())))
    if name is not None:
        entry = entries(kind)[name]
        details = f"\n\n{entry.details}" if entry.details else ""
        print_line(console, f"{name}: {entry.summary}\nsource: {entry.source}{details}\n")
        if entry.options:
            _print_options(console, entry)
        else:
            print_line(console, "no options")
        return
    for one in [kind] if kind else KINDS:
        rows = []
        for key, entry in entries(one).everything().items():
            if isinstance(entry, SimgmcError):
                rows.append((key, str(entry), "installed package"))
            else:
                rows.append((key, entry.summary, entry.source))
        print_table(console, one, ("name", "what it is", "source"), {"": rows}, words=(1, 2))
        print_line(console, "")


def _print_options(console: Console, entry: Entry) -> None:
    rows = [(key, default_text(option), option.words, option.summary) for key, option in entry.options.items()]
    print_table(console, "", ("option", "default", "values", "meaning"), {"": rows}, words=(1, 2, 3))


def default_text(option: Option) -> str:
    """What an option is where it is not given."""
    if option.default is REQUIRED:
        return "required"
    return "optional" if option.default is None else show_value(option.default)
