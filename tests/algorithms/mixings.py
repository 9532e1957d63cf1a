"""Mixing matrices that the tests of gossip methods share."""

from __future__ import annotations

import functools

import torch

from simgmc.core.randomness import generator
from simgmc.mixing import Mixing, gossip_graph, mixing, stated_mixing
from tests.algorithms.trajectories import PROBLEM

K, D = PROBLEM.workers, PROBLEM.d


@functools.cache
def graph(name: str, workers: int = K, weights: str = "auto", push_sum: bool = False, **options) -> Mixing:
    return mixing(gossip_graph(name, workers, **options), weights, push_sum)


def drawn(workers: int) -> Mixing:
    """A symmetric doubly stochastic matrix that is like no graph's: a mean of permutations and their inverses."""
    draws = generator(0, "permutations")
    matrix = sum(torch.eye(workers)[torch.from_numpy(draws.permutation(workers))] for _ in range(4)).numpy() / 4
    return stated_mixing((matrix + matrix.T) / 2)


AVERAGE = graph("complete", weights="uniform")
MIXINGS = {
    "ring": graph("ring"),
    "star": graph("star"),
    "exponential": graph("exponential"),
    "one-peer exponential": graph("one-peer-exponential"),
    "drawn": drawn(K),
}
