"""Methods of distributed training: each a worker's program that reads like its paper.

``ALGORITHMS`` maps the name used in scenario files to the class. Nothing here
imports torch: programs only do arithmetic on the tensors they are given.
"""

from simgmc.algorithms.dgc import DGC
from simgmc.algorithms.gmc import GMC
from simgmc.algorithms.sgd import DMSGD, SGD
from simgmc.algorithms.worker import Algorithm

ALGORITHMS: dict[str, type[Algorithm]] = {
    "sgd": SGD,
    "dmsgd": DMSGD,
    "gmc": GMC,
    "dgc": DGC,
}

__all__ = ["ALGORITHMS", "Algorithm"]
