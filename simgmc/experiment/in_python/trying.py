"""Methods tried out in Python, without a scenario: for tests of one's own. Imports no torch before one is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from simgmc.algorithms import ALGORITHMS
from simgmc.algorithms.algorithm import Algorithm
from simgmc.compression import build
from simgmc.compression.compressor import Compressor
from simgmc.core.errors import SimgmcError
from simgmc.mixing import gossip_graph, mixing

if TYPE_CHECKING:  # torch takes seconds to load
    from torch import Tensor


def algorithm(name: str, **options: Any) -> Algorithm:
    """The method of that name, see ``simgmc list algorithms``; compressors among its options are objects."""
    return ALGORITHMS[name](**options)


def compressor(name: str, **options: Any) -> Compressor:
    """The compressor of that name, see ``simgmc list compressors``."""
    return build(name, **options)


def try_out(
    algorithm: Algorithm, *, workers: int = 3, rounds: int = 12, size: int = 20, lr: float = 0.1, seed: int = 0
) -> Tensor:
    """Train a small problem with a synchronous method; returns the model (size,), in float64.

    Every worker has a quadratic of its own, drawn from the seed, and gradients with noise: what makes methods
    differ makes their results differ, and methods that are the same have the same result to about 1e-12.

    Raises:
        SimgmcError: it is asynchronous, or something is wrong with its program.
    """
    # A method's file imports this function at its top, and is read by replays, which do without torch.
    from simgmc.training.one_by_one import OwnMethod
    from simgmc.training.own_programs import is_own
    from simgmc.training.stacked import StackedTrainer
    from simgmc.workloads.problems.quadratic import Quadratics
    from simgmc.workloads.problems.quadratic_workload import QuadraticWorkload

    if algorithm.asynchronous:
        raise SimgmcError(f"{type(algorithm).__name__} is asynchronous: its order of events needs a scenario's cluster")
    draws = np.random.default_rng(seed)
    curved = 0.2 + draws.random((workers, size))
    problem = Quadratics(curved, draws.standard_normal((workers, size)), draws.standard_normal(size), noise=0.1)
    method = (
        cast(Algorithm, OwnMethod(type(algorithm).__name__, adapted(algorithm), seed))
        if is_own(algorithm)
        else (adapted(algorithm))
    )
    mixes = None
    if algorithm.mixing != "none":
        mixes = mixing(gossip_graph("ring", workers), push_sum=algorithm.mixing == "push-sum")
    trainer = StackedTrainer(method, QuadraticWorkload(problem, seed), lambda epoch: lr, 0.0, seed, mixes)
    for _ in range(rounds):
        trainer.next_round().with_everybody()
    return trainer.model()


def adapted(algorithm: Algorithm) -> Algorithm:
    """The method with compressors of one's own as a training uses them."""
    from simgmc.training.own_compressor import OwnCompressor  # loads torch

    own = {
        field.name: OwnCompressor(type(held).__name__, held)
        for field in dataclasses.fields(algorithm)
        if Compressor in type(held := getattr(algorithm, field.name)).__mro__
    }
    return dataclasses.replace(algorithm, **own) if own else algorithm
