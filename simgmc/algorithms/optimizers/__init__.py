"""Optimizers: how parameters follow from gradients, whatever it is that workers send.

``OPTIMIZERS`` maps the name used in scenario files to the class. Like the methods that use them they do
arithmetic on the tensors they are given, without importing torch. One file for each family.
"""

from simgmc.algorithms.optimizers.adam import Adam, AdamW
from simgmc.algorithms.optimizers.groups import GradientSettings, Group
from simgmc.algorithms.optimizers.lamb import LAMB
from simgmc.algorithms.optimizers.method import WithOptimizer
from simgmc.algorithms.optimizers.muon import Muon
from simgmc.algorithms.optimizers.optimizer import Aside, Optimizer
from simgmc.algorithms.optimizers.sgd import SGD, NesterovSGD
from simgmc.core.registry import Entry, Registry

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "sgd-nesterov": NesterovSGD,
    "adam": Adam,
    "adamw": AdamW,
    "lamb": LAMB,
    "muon": Muon,
}

ENTRIES: Registry[Entry] = Registry(
    "optimizer", [cls.entry(name) for name, cls in OPTIMIZERS.items()], listed="optimizers"
)
"""The optimizers as ``simgmc list`` shows them."""

__all__ = [
    "ENTRIES",
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "AdamW",
    "Aside",
    "GradientSettings",
    "Group",
    "LAMB",
    "Muon",
    "NesterovSGD",
    "Optimizer",
    "WithOptimizer",
]
