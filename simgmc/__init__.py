"""Real gradients, real messages, simulated networks."""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "run": "simgmc.api",
    "load": "simgmc.api",
    "replay": "simgmc.api",
    "compare": "simgmc.api",
    "map": "simgmc.api",
    "utilisation": "simgmc.api",
    "Run": "simgmc.api",
    "Comparison": "simgmc.api",
    "plot": "simgmc.commands.plot",
    "SimgmcError": "simgmc.core.errors",
    # what parts of one's own are written with
    "option": "simgmc.core.declared",
    "momentum": "simgmc.algorithms.algorithm",
    "Algorithm": "simgmc.algorithms.algorithm",
    "Worker": "simgmc.algorithms.worker",
    "Program": "simgmc.algorithms.algorithm",
    "Gradient": "simgmc.algorithms.effects",
    "Average": "simgmc.algorithms.effects",
    "Mix": "simgmc.algorithms.effects",
    "Maximum": "simgmc.algorithms.effects",
    "Start": "simgmc.algorithms.effects",
    "Wait": "simgmc.algorithms.effects",
    "Exchange": "simgmc.algorithms.effects",
    "Request": "simgmc.algorithms.effects",
    "Send": "simgmc.algorithms.effects",
    "Collect": "simgmc.algorithms.effects",
    "SERVER": "simgmc.algorithms.effects",
    "Optimizer": "simgmc.algorithms.optimizers.optimizer",
    "WithOptimizer": "simgmc.algorithms.optimizers.method",
    "Compressor": "simgmc.compression.compressor",
    "keep": "simgmc.compression.own",
    "share": "simgmc.compression.own",
    "encoded": "simgmc.compression.own",
    "Collective": "simgmc.network.collectives.collective",
    "Flows": "simgmc.network.collectives.flows",
    "Topology": "simgmc.network.topology.entry",
    "add_host": "simgmc.network.topology.graph",
    "add_link": "simgmc.network.topology.graph",
    "add_wire": "simgmc.network.topology.graph",
    "Condition": "simgmc.network.conditions.condition",
    "Graph": "simgmc.mixing.graphs",
    "Partition": "simgmc.workloads.partitions.catalogue",
    # what they are tried and tested with
    "exchange_time": "simgmc.network.validation.exchange_time",
    "algorithm": "simgmc.experiment.in_python.trying",
    "compressor": "simgmc.experiment.in_python.trying",
    "try_out": "simgmc.experiment.in_python.trying",
}
"""Where each public name is defined; it is loaded when it is asked for."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """A public name, from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'simgmc' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    return home if name == "plot" else getattr(home, name)  # the one that is a module


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
