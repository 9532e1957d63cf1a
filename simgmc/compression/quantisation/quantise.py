"""Quantisers: every coordinate, few bits each (signs, stochastic levels, ternary).

Each can also code the kept values of a sparsifier (``simgmc.compression.composed``):
``code`` takes the numbers of all rows one after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.message import DenseMessage
from simgmc.compression.quantisation.groups import Groups
from simgmc.compression.quantisation.levels import LevelValues, ScaledValues, SignValues, TernarySignValues, level_dtype
from simgmc.compression.rows import as_rows, for_each_row, on_device, refuse_non_finite
from simgmc.compression.wire.values import even_offsets
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness

_CHUNK = 1 << 16
"""Coordinates rounded at a time on a CPU: the intermediate results stay in a core's cache."""


@dataclass(frozen=True, kw_only=True)
class Quantiser(ABC):
    """One scale for each group: the whole vector, each tensor of a ``layout``, or buckets of them."""

    bucket: int | None
    layout: Layout | None

    def __call__(self, vector: Tensor, random: Randomness) -> DenseMessage:
        rows = as_rows(vector)
        refuse_non_finite(rows)
        groups = [self.groups(rows.shape[1])] * len(rows)
        return DenseMessage(vector.shape, self.code(rows.view(-1), even_offsets(*rows.shape), groups, random))

    def groups(self, d: int) -> Groups:
        """The coordinates of a vector of d that share a scale."""
        if self.layout is None:
            return Groups.whole(d, self.bucket)
        self.layout.check(d)
        offsets = self.layout.offsets
        return Groups(tuple(zip(offsets, offsets[1:])), self.bucket)

    @abstractmethod
    def code(self, flat: Tensor, offsets: np.ndarray, groups: Sequence[Groups], random: Randomness) -> ScaledValues:
        """The coded numbers of all rows; row r is ``flat[offsets[r]:offsets[r + 1]]``, scaled by ``groups[r]``."""


@dataclass(frozen=True, kw_only=True)
class ScaledSign(Quantiser):
    """sign(v) times the mean magnitude of its group: 1 bit a coordinate and a scale.

    C(v) = (||v||_1 / n) sign(v), with sign(0) = +1: there is no third symbol on the
    wire. With ``zeros="masked"`` there is, at 1.6 bits a coordinate: coordinates that are exactly 0 (of a
    dead unit, say) stay where they are. ||C(v) - v||^2 = ||v||_2^2 - ||v||_1^2 / n. ``scale="none"`` sends signs alone
    (values +1 and -1), for signSGD and Signum; ``vote`` makes the mean of the messages
    the majority's sign (+1 at a tie), one bit on the way back too. Source: Karimireddy
    et al. 2019; Bernstein et al. 2018.
    """

    scale: str
    vote: bool
    zeros: str

    def code(
        self, flat: Tensor, offsets: np.ndarray, groups: Sequence[Groups], random: Randomness
    ) -> SignValues | TernarySignValues:
        unit, masked = self.scale == "none", self.zeros == "masked"
        symbols = torch.empty(len(flat), dtype=torch.int8 if masked else torch.bool, device=flat.device)

        def code_row(row: int) -> tuple[Tensor, Groups]:
            part = slice(int(offsets[row]), int(offsets[row + 1]))
            if masked:
                symbols[part] = flat[part].sign()
            else:
                torch.ge(flat[part], 0, out=symbols[part])
            if unit:
                return flat.new_ones(1), Groups.whole(part.stop - part.start)
            sizes = on_device(groups[row].sizes, flat.device).to(flat.dtype)
            return groups[row].norms(flat[part], 1) / sizes, groups[row]

        coded = for_each_row(code_row, len(groups), flat.device)
        values = TernarySignValues if masked else SignValues
        return values(symbols, [scale for scale, _ in coded], [group for _, group in coded], offsets, unit, self.vote)


@dataclass(frozen=True, kw_only=True)
class StochasticLevels(Quantiser):
    """Random rounding to s levels of the group's norm (QSGD).

    Q(v)_i = ||v|| sign(v_i) z_i / s, z_i the stochastic rounding of s |v_i| / ||v||.
    Unbiased: E||Q(v) - v||^2 <= w ||v||_2^2 with w = min(n / s^2, sqrt(n) / s) for the
    2-norm and min(n / (4 s^2), sqrt(n) / s) for ``norm="inf"``, n the group's size
    (buckets of 128 to 512 keep it small). With ``contractive`` the result is multiplied
    by 1 / (1 + w): biased, E||C(v) - v||^2 <= (1 - 1 / (1 + w)) ||v||^2.
    ``coding``: see ``simgmc.compression.quantisation.levels``. Source: Alistarh et
    al. 2017; the infinity norm as in LEAD (Liu et al. 2021, s = 2^(b-1)).
    """

    levels: int
    norm: str
    contractive: bool
    coding: str

    def variance(self, n: int | np.ndarray) -> np.ndarray:
        """w in E||Q(v) - v||^2 <= w ||v||^2, for groups of n coordinates."""
        s = self.levels
        return np.minimum(n / (s**2 if self.norm == "2" else 4 * s**2), np.sqrt(n) / s)

    def code(self, flat: Tensor, offsets: np.ndarray, groups: Sequence[Groups], random: Randomness) -> LevelValues:
        symbols = torch.empty(len(flat), dtype=getattr(torch, level_dtype(self.levels)), device=flat.device)

        def code_row(row: int) -> Tensor:
            part = slice(int(offsets[row]), int(offsets[row + 1]))
            scales = groups[row].norms(flat[part], 2 if self.norm == "2" else torch.inf)
            round_to_levels(flat[part], scales, groups[row], self.levels, random.own(row), symbols[part])
            if self.contractive:
                scales = scales / on_device(1 + self.variance(groups[row].sizes), flat.device).to(flat.dtype)
            return scales

        scales = for_each_row(code_row, len(groups), flat.device)
        return LevelValues(symbols, scales, groups, offsets, self.levels, self.coding)


@dataclass(frozen=True, kw_only=True)
class Ternary(Quantiser):
    """TernGrad: each coordinate 0 or plus or minus the group's largest magnitude, at random.

    First v is clipped to plus or minus ``clip`` standard deviations of its group (0: not
    at all); then b_i = sign(v_i) Bernoulli(|v_i| / max|v|). Unbiased apart from the clipping.
    With ``share_scale`` all workers first agree on the largest of their scales (each
    sends its own, 4 bytes a group, in the message), so the signs add up to
    whole numbers in -K .. K and the mean travels in ceil(log2(2 K + 1)) bits a
    coordinate. Where they have agreed in an exchange before, the agreed ``scales``, made from
    everybody's :meth:`scales`, are given, and do not travel again. Source: Wen et al. 2017.
    """

    clip: float
    share_scale: bool
    coding: str

    def __call__(self, vector: Tensor, random: Randomness, scales: Tensor | None = None) -> DenseMessage:
        rows = as_rows(vector)
        refuse_non_finite(rows)
        groups = [self.groups(rows.shape[1])] * len(rows)
        return DenseMessage(vector.shape, self.code(rows.view(-1), even_offsets(*rows.shape), groups, random, scales))

    def scales(self, vector: Tensor) -> Tensor:
        """(rows, groups): the largest magnitude of each group after clipping."""
        rows = as_rows(vector)
        groups = self.groups(rows.shape[1])
        return torch.stack([groups.norms(self._clipped(row, groups), torch.inf) for row in rows])

    def code(
        self,
        flat: Tensor,
        offsets: np.ndarray,
        groups: Sequence[Groups],
        random: Randomness,
        scales: Tensor | None = None,
    ) -> LevelValues:
        symbols = torch.empty(len(flat), dtype=torch.int8, device=flat.device)
        parts = [slice(int(a), int(b)) for a, b in zip(offsets, offsets[1:])]
        clipped = for_each_row(lambda row: self._clipped(flat[parts[row]], groups[row]), len(parts), flat.device)
        if scales is None:
            own = [group.norms(part, torch.inf) for part, group in zip(clipped, groups)]
            chosen = [torch.stack(own).amax(0)] * len(own) if self.share_scale else own
        else:
            chosen = [scales.reshape(-1)] * len(parts)

        def code_row(row: int) -> None:
            round_to_levels(clipped[row], chosen[row], groups[row], 1, random.own(row), symbols[parts[row]])

        for_each_row(code_row, len(parts), flat.device)
        return LevelValues(symbols, chosen, groups, offsets, 1, self.coding, self.share_scale, scales is not None)

    def _clipped(self, vector: Tensor, groups: Groups) -> Tensor:
        """``(n,)`` with every group clipped to plus or minus ``clip`` of its standard deviations."""
        if not self.clip:
            return vector
        sizes = on_device(groups.sizes, vector.device).double()
        squares = groups.norms(vector, 2).double() ** 2 / sizes
        means = groups.sums(vector) / sizes
        bound = (self.clip * (squares - means**2).clamp(min=0).sqrt()).to(vector.dtype)
        bound = torch.where(bound > 0, bound, torch.inf)  # a group of equal numbers has nothing to clip
        limit = groups.spread(bound)
        return torch.clamp(vector, -limit, limit)


def round_to_levels(
    vector: Tensor, scales: Tensor, groups: Groups, levels: int, draws: np.random.Generator, out: Tensor
) -> None:
    """Stochastic rounding of ``levels * vector / scale`` to whole numbers, into ``out`` (signed integers).

    On a CUDA device the uniforms come from the device's own generator, seeded by ``draws``.
    """
    largest = torch.finfo(vector.dtype).max
    factor = groups.spread(torch.where(scales > 0, (levels / scales).clamp(max=largest), 0))
    chunk = _CHUNK if vector.device.type == "cpu" else max(1, len(vector))
    for start in range(0, len(vector), chunk):
        part = slice(start, start + chunk)
        level = vector[part].abs().mul_(factor if len(factor) == 1 else factor[part]).clamp_(max=levels)
        low = level.floor()
        up = uniforms(level, draws)
        torch.lt(up, level.sub_(low), out=up)
        out[part] = low.add_(up).mul_(vector[part].sign())


def uniforms(like: Tensor, draws: np.random.Generator) -> Tensor:
    """Uniform numbers in [0, 1) in the shape, dtype and place of ``like`` ``(n,)``."""
    if like.device.type == "cpu":
        kind = np.float32 if like.dtype == torch.float32 else np.float64
        return torch.from_numpy(draws.random(len(like), dtype=kind))
    source = torch.Generator(like.device).manual_seed(int(draws.integers(2**63)))
    return torch.rand(len(like), generator=source, dtype=like.dtype, device=like.device)
