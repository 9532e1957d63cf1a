"""A vision transformer for small images.

Source: Lee, Lee, Song, "Vision Transformer for Small-Size Datasets", 2021 (arXiv 2112.13492), and the
settings of its authors' code: 192 dimensions, 12 heads of 16, hidden layers twice as wide, patches of
4x4 for 32x32 images, no bias in queries, keys and values. Theirs has 9 blocks (2.8 M parameters) and
drops paths with probability 0.1; here that is the option ``drop_path``, 0 unless stated.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simgmc.workloads.models.transformer import Attention, Block, DropPath


class VisionTransformer(nn.Module):
    """Patches, a class token, learned positions, transformer blocks, a linear layer.

    ``spt``: shifted patch tokenization, where each patch also sees the image shifted by half a patch
    along the four diagonals (section 3.2). ``lsa``: locality self-attention, where a token does
    not attend to itself and each head learns its temperature (section 3.3).
    """

    def __init__(
        self, sample_shape: Sequence[int], classes: int, patch: int, dim: int, depth: int, heads: int,
        hidden: int, drop_path: float, spt: bool, lsa: bool,
    ):  # fmt: skip
        super().__init__()
        channels, height, width = sample_shape
        tokens = 1 + (height // patch) * (width // patch)
        self.patch, self.shift = patch, patch // 2 if spt else 0
        values = channels * patch**2 * (5 if spt else 1)
        embed = nn.Linear(values, dim)
        self.embed = nn.Sequential(nn.LayerNorm(values), embed) if spt else embed
        self.token = nn.Parameter(torch.randn(1, 1, dim))
        self.positions = nn.Parameter(torch.randn(1, tokens, dim))
        attention = {"causal": False, "local": lsa, "bias": (False, True)}
        self.blocks = nn.Sequential(
            *(
                Block(
                    dim,
                    hidden * dim,
                    Attention(dim, heads, tokens, **attention),
                    drop=DropPath(drop_path) if drop_path else None,
                )
                for _ in range(depth)
            )
        )
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(self._patches(x))
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.blocks(x)[:, 0])

    def _patches(self, x: Tensor) -> Tensor:
        """(batch, patches, values of a patch)."""
        if s := self.shift:
            wide, (height, width) = F.pad(x, (s, s, s, s)), x.shape[2:]
            corners = ((0, 0), (0, 2 * s), (2 * s, 0), (2 * s, 2 * s))
            x = torch.cat([x, *(wide[:, :, top : top + height, left : left + width] for top, left in corners)], 1)
        p = self.patch
        x = x.unfold(2, p, p).unfold(3, p, p)  # (batch, channels, rows, columns, p, p)
        return x.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
