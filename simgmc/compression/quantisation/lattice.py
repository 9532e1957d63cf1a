"""Lattice quantiser with a reference point: its error depends on a distance, not on a norm.

A coordinate is rounded to the lattice of side ``side`` and only its colour, the lattice
number modulo q = 2^bits, is sent. The receiver picks the point of that colour nearest to
its own reference y. Within side/2 of x where |x - y| < (q - 1) side / 2; beyond, the
colours wrap around and the error is a multiple of q * side. Source:
Davies et al. 2021; used by SwarmSGD (Nadiradze et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.message import DenseMessage
from simgmc.compression.rows import as_rows, on_device, refuse_non_finite
from simgmc.compression.wire import bits
from simgmc.compression.wire.values import Values, even_offsets, joined_offsets, offsets_among, row_offsets, rows_among
from simgmc.core.errors import DivergenceError
from simgmc.core.randomness import Randomness


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """``bits`` a coordinate, no norm. Rounds half to even, or with ``dither`` without bias.

    ``dither`` shifts the lattice by a random vector that the shared seed gives to all.
    The message's own numbers are the lattice points nearest to x (what every receiver
    without a wrap-around gets); what a receiver makes of them gives :meth:`received`.
    """

    side: float
    bits: int
    dither: bool

    def __call__(self, vector: Tensor, random: Randomness) -> DenseMessage:
        rows = as_rows(vector)
        refuse_non_finite(rows)
        d = rows.shape[1]
        shift = None
        if self.dither:
            shift = on_device(self.side * (random.shared().random(d) - 0.5), rows.device)
        points = rows.double() if shift is None else rows.double() + shift
        numbers = (points / self.side).round_()
        if (largest := float(numbers.abs().max())) > 2**52:
            raise DivergenceError(
                f"the vector to compress has left the lattice: it holds {largest * self.side:.3g}, and lattice points "
                f"of side {self.side:g} are numbered up to 2^52 * side = {2**52 * self.side:.3g}"
            )
        colours = numbers.remainder_(2**self.bits).to(torch.int32)
        offsets = even_offsets(len(rows), d)
        values = LatticeValues(colours.view(-1), offsets, self.side, self.bits, rows.view(-1), shift)
        return DenseMessage(vector.shape, values)

    def received(self, points: Tensor, reference: Tensor) -> Tensor:
        """What a receiver that holds ``reference`` makes of the colours of lattice ``points``, both ``(..., d)``.

        The points themselves, exactly, unless they are too far from the reference.
        """
        period = self.side * 2**self.bits
        turns = ((reference.double() - points.double()) / period).round_()
        return points + (period * turns).to(points.dtype)


class LatticeValues(Values):
    """Colours ``(total,)`` int32, and the reference ``(total,)`` at which they are decoded."""

    summable = False

    def __init__(
        self, colours: Tensor, offsets: np.ndarray, side: float, bits: int, reference: Tensor, shift: Tensor | None
    ):
        self.colours = colours
        self.offsets = offsets
        self.side = side
        self.bits = bits
        self.reference = reference
        self.shift = shift
        self.item_bytes = -(-bits // 8)
        self.fixed_bits = bits

    @cached_property
    def flat(self) -> Tensor:
        return decode(self.colours, self.reference, self.side, self.bits, self.shifts)

    @property
    def shifts(self) -> Tensor | None:
        """(total,): the lattice's shift at each number; None without one."""
        return None if self.shift is None else self.shift.repeat(len(self.offsets) - 1)

    @property
    def wire(self) -> str:
        return f"{self.bits}-bit lattice colour"

    @cached_property
    def nbytes(self) -> np.ndarray:
        return -(-np.diff(self.offsets) * self.bits // 8)

    def template(self) -> LatticeValues:
        """Decodes near 0: a receiver finds the point near its own model again, see :meth:`Lattice.received`."""
        d = int(self.offsets[1])
        near = torch.zeros(d, dtype=self.reference.dtype, device=self.reference.device)
        return LatticeValues(self.colours.new_empty(0), even_offsets(0, 0), self.side, self.bits, near, self.shift)

    def encode(self, row: int) -> bytes:
        part = self.colours[int(self.offsets[row]) : int(self.offsets[row + 1])]
        return bits.pack(part.cpu().numpy(), self.bits)

    def among(self, ranks: Sequence[int]) -> LatticeValues:
        colours, reference = (rows_among(flat, self.offsets, ranks) for flat in (self.colours, self.reference))
        offsets = offsets_among(self.offsets, ranks)
        return LatticeValues(colours, offsets, self.side, self.bits, reference, self.shift)

    def joined(self, others: Sequence[LatticeValues]) -> LatticeValues:
        every = (self, *others)
        colours, reference = torch.cat([one.colours for one in every]), torch.cat([one.reference for one in every])
        return LatticeValues(colours, joined_offsets(every), self.side, self.bits, reference, self.shift)

    def decode(self, payloads: Sequence[bytes | memoryview], counts: Sequence[int]) -> LatticeValues:
        """Decoded at this message's reference: of the same row, or of the only one."""
        colours = [torch.from_numpy(bits.unpack(p, n, self.bits).astype(np.int32)) for p, n in zip(payloads, counts)]
        d = int(counts[0])
        reference = self.reference.view(-1, d).expand(len(payloads), -1).reshape(-1)
        flat = torch.cat(colours).to(self.colours.device)
        return LatticeValues(flat, row_offsets(counts), self.side, self.bits, reference, self.shift)


def decode(colours: Tensor, reference: Tensor, side: float, bits: int, shift: Tensor | None = None) -> Tensor:
    """The point of each colour nearest to the reference, in its dtype; all ``(n,)``.

    side (c + q round((y / side - c) / q)), less the shift that the encoder added.
    """
    q = 2**bits
    near = reference.double() if shift is None else reference.double() + shift
    numbers = colours + q * ((near / side - colours) / q).round()
    points = numbers * side
    return (points if shift is None else points - shift).to(reference.dtype)
