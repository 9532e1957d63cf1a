"""Vectors to compress, ordinary and adversarial, and the randomness to compress them with."""

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness

LAYOUT = Layout(("conv", "bias", "linear", "scale", "head"), ((6, 4, 3, 3), (6,), (20, 9), (), (10, 12)))
"""Matrices, a vector and a scalar: 523 parameters."""


def randomness(rows: int = 8, seed: int = 1, round: int = 0) -> Randomness:
    return Randomness(seed, round, 0, range(rows))


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def adversarial(d: int, rows: int = 3) -> dict[str, Tensor]:
    """Named ``(rows, d)`` float32 vectors that break careless code."""
    spike = torch.zeros(rows, d)
    spike[:, d // 3] = -7.5
    one_empty_row = gaussian(rows, d, seed=1)
    one_empty_row[rows // 2] = 0
    ties = torch.tensor([1.0, -1.0, 0.5]).repeat(rows, d // 3 + 1)[:, :d].clone()
    powers = torch.from_numpy(np.random.default_rng(2).choice([-1, 1], (rows, d)) * 2.0 ** np.linspace(-40, 40, d))
    tiny = torch.full((rows, d), 1e-42)
    huge = gaussian(rows, d, seed=3) * 1e37
    return {
        "all zero": torch.zeros(rows, d),
        "one spike": spike,
        "one empty row": one_empty_row,
        "ties": ties,
        "negative zeros": torch.full((rows, d), -0.0),
        "80 octaves": powers.float(),
        "subnormal": tiny,
        "huge": huge.clamp(-3e38, 3e38),
        "gaussian": gaussian(rows, d, seed=4),
    }


def floats(width: int = 32) -> st.SearchStrategy[float]:
    return st.floats(-1e6, 1e6, width=width, allow_nan=False, allow_infinity=False)


@st.composite
def stacked(draw, max_rows: int = 4, max_d: int = 60) -> Tensor:
    """``(rows, d)`` float32 with many ties and zeros."""
    rows, d = draw(st.integers(1, max_rows)), draw(st.integers(1, max_d))
    number = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0]), floats())
    numbers = draw(st.lists(number, min_size=rows * d, max_size=rows * d))
    return torch.tensor(numbers, dtype=torch.float32).view(rows, d)
