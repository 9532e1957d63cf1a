"""Parameters that got no gradient in a pass, ``None`` in PyTorch: a branch not taken, a head that is not used.

A step leaves them alone, as ``torch.optim`` does: neither momentum nor weight decay moves them, and their buffers and
counts of steps stay. Where each worker steps along its own gradient, that is each worker's own matter. Where all step
along a mean, as in ``DistributedDataParallel``, a parameter is left alone that got none on any worker; one that got it
on some of them counts as 0 on the others. Messages and residuals of compressed methods know no ``None``: there it is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simgmc.core.layout import Layout
from simgmc.workloads.workload import Workload


@dataclass(frozen=True)
class Absent:
    """The numbers of such tensors of the layout, for each row of some gradients; true where there are any."""

    layout: Layout
    rows: tuple[frozenset[int], ...]

    @classmethod
    def of(cls, workload: Workload, ranks: Sequence[int]) -> Absent:
        """In these workers' latest passes."""
        return cls(workload.layout, tuple(frozenset(workload.absent(rank)) for rank in ranks))

    def __bool__(self) -> bool:
        return any(self.rows)

    def and_in(self, other: Absent) -> Absent:
        """Of gradients added up: what neither had."""
        return Absent(self.layout, tuple(a & b for a, b in zip(self.rows, other.rows, strict=True)))

    def everywhere(self) -> Absent:
        """What no row had, as one row."""
        return Absent(self.layout, (frozenset.intersection(*self.rows) if self.rows else frozenset(),))

    def among(self, count: int, places: Sequence[int]) -> Absent:
        """So many rows, of which these are at ``places``: the others have nothing that is skipped."""
        found = dict(zip(places, self.rows, strict=True))
        return Absent(self.layout, tuple(found.get(place, frozenset()) for place in range(count)))

    def clear(self, gradients: Tensor) -> None:
        """Write 0 there into gradients (n, d), in place; one row counts for all of them."""
        rows = self.rows if len(self.rows) == len(gradients) else self.rows * len(gradients)
        for row, numbers in enumerate(rows):
            for number in numbers:
                gradients[row, slice(*self.layout.offsets[number : number + 2])] = 0

    def mask(self, like: Tensor) -> Tensor:
        """True there: (n, d), of one row where all are the same; (d,) where ``like`` is one worker's vector."""
        rows = self.rows if len(set(self.rows)) > 1 else self.rows[:1]
        found = torch.ones(len(rows), self.layout.d, device=like.device)
        Absent(self.layout, rows).clear(found)
        return found == 0 if like.ndim > 1 else found[0] == 0
