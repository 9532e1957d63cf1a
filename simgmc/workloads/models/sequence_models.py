"""Models that predict the next token from those before it: (batch, block) whole numbers to logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from simgmc.workloads.models.transformer import Attention, Block


class GPT(nn.Module):
    """A decoder-only transformer (Radford et al. 2019), token embedding and output layer tied.

    ``bias=False`` leaves the bias out of linear layers and layer norms. Initialised as GPT-2: normal
    with 0.02, in the layers that write to the shortcut divided by sqrt(2 depth).
    """

    def __init__(
        self, sample_shape: Sequence[int], classes: int, dim: int, depth: int, heads: int, bias: bool, dropout: float
    ):
        super().__init__()
        (block,) = sample_shape
        self.tokens, self.positions = nn.Embedding(classes, dim), nn.Embedding(block, dim)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        attention = {"causal": True, "local": False, "bias": (bias, bias)}
        self.blocks = nn.Sequential(
            *(
                Block(
                    dim,
                    4 * dim,
                    Attention(dim, heads, block, **attention),
                    bias=bias,
                    drop=nn.Dropout(dropout) if dropout else None,
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(dim, bias=bias)
        self.head = nn.Linear(dim, classes, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                writes = name.endswith(("attention.out.weight", "mlp.2.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * depth) ** 0.5 if writes else 0.02)
        self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        at = torch.arange(x.shape[1], device=x.device)
        x = self.dropout(self.tokens(x) + self.positions(at))
        return self.head(self.norm(self.blocks(x)))


class CharacterLSTM(nn.Module):
    """Embedding, stacked LSTM layers, a linear layer (McMahan et al. 2017; Reddi et al. 2021).

    Each gate has one bias, as in the LSTM's definition: torch's second one is held at zero.
    """

    def __init__(self, sample_shape: Sequence[int], classes: int, embedding: int, hidden: int, layers: int):
        super().__init__()
        self.embed = nn.Embedding(classes, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("bias_hh"):
                nn.init.zeros_(parameter)
                parameter.requires_grad_(False)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.embed(x))[0])
