"""Transformer blocks, as images and text need them, plain ``nn.Module``."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention on (batch, tokens, dim).

    Written out in matrix products, which add in a fixed order on every device. With ``hide`` (a
    boolean matrix of tokens) a token does not see those marked in its row. With ``temperature``
    the scale of each head is learned (locality self-attention: Lee et al. 2021, eq. (7)).
    """

    def __init__(self, dim: int, heads: int, tokens: int, *, causal: bool, local: bool, bias: tuple[bool, bool]):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias[0])
        self.out = nn.Linear(dim, dim, bias=bias[1])
        scale = (dim // heads) ** -0.5
        self.scale = nn.Parameter(torch.full((heads, 1, 1), scale)) if local else scale
        hide = (
            torch.eye(tokens, dtype=torch.bool)
            if local
            else torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
            if causal
            else None
        )
        self.register_buffer("hide", hide, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = (q * self.scale) @ k.transpose(-2, -1)
        if self.hide is not None:
            scores = scores.masked_fill(self.hide[:tokens, :tokens], -math.inf)
        seen = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, dim)
        return self.out(seen)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training a sample skips a branch with probability ``share``."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return x * F.dropout(x.new_ones(len(x), 1, 1), self.share, self.training)


class Block(nn.Module):
    """Attention and a hidden layer, each after a layer norm and around a shortcut, ``drop`` on what they add."""

    def __init__(
        self, dim: int, hidden: int, attention: Attention, *, bias: bool = True, drop: nn.Module | None = None
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, bias=bias)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim, bias=bias)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden, bias=bias), nn.GELU(), nn.Linear(hidden, dim, bias=bias))
        self.drop = drop or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))
