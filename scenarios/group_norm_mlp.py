"""The model of gmc_tables.toml: a hidden layer with group norm."""

from math import prod

from torch import nn


def group_norm_mlp(sample_shape: tuple[int, ...], classes: int, hidden: int, groups: int) -> nn.Module:
    """Linear, group norm, ReLU, linear."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(sample_shape), hidden, bias=False),
        nn.GroupNorm(groups, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )
