"""Muon: orthogonalised momentum for matrices, AdamW for all else."""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass
from fnmatch import fnmatchcase

from simgmc.algorithms.optimizers.adam import AdamW, betas, check_betas, eps, no_decay_of_vectors
from simgmc.algorithms.optimizers.optimizer import Decay, Optimizer, no_steps, tensors
from simgmc.algorithms.worker import Worker
from simgmc.core.declared import declared
from simgmc.core.layout import Layout
from simgmc.core.registry import Option

if typing.TYPE_CHECKING:
    from simgmc.compression.compressor import Vector

Places = list[tuple[slice, tuple[int, ...]]]
"""Where tensors lie in the vector, and their shapes."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, as in Jordan's code and ``torch.optim.Muon``."""
_SMALLEST_NORM = 1e-7


@dataclass(frozen=True)
class Muon(Optimizer):
    """Muon: for each matrix ``m = momentum * m + (1 - momentum) g;  w = w - lr * ratio * NS(m)``.

    NS makes all singular values about 1 by ``ns_steps`` steps of Newton and Schulz in bfloat16. ``nesterov``:
    of ``(1 - momentum) g + momentum m`` instead of m. ``ratio``: ``sqrt(max(1, rows / columns))``
    (``adjust = "original"``), or ``0.2 sqrt(max(rows, columns))``, with which AdamW's rates fit ("match-rms").
    Kernels of convolutions are matrices [first, rest]. Weight decay is beside the step. As ``torch.optim.Muon``.

    Tensors of one dimension, and those whose names match ``adam_for``, are AdamW's, at ``adam_rate`` times the
    learning rate. State: m of the matrices, two moments of all else.
    """

    source = "Jordan et al. 2024; match-rms: Liu et al. 2025 (Moonlight)"

    momentum: float = declared(Option("factor of the momentum", float, 0.95, at_least=0, below=1))
    nesterov: bool = declared(Option("Nesterov's form of the momentum", bool, True))
    ns_steps: int = declared(Option("steps of Newton and Schulz", int, 5, at_most=99))
    adjust: str = declared(
        Option("how a step's length depends on a matrix's shape", str, "original", ("original", "match-rms"))
    )
    adam_for: tuple[str, ...] = declared(
        Option(
            "patterns of names of matrices that are AdamW's", list[str],
            ("*embed*", "tokens.*", "positions.*", "head.*", "*.head.*", "lm_head.*", "classifier.*"),
        )
    )  # fmt: skip
    adam_rate: float = declared(Option("factor on the learning rate of AdamW", float, 1.0, at_least=0))
    adam_betas: tuple[float, ...] = betas()
    adam_eps: float = eps()
    decay_vectors: bool = no_decay_of_vectors()

    def check_fields(self) -> None:
        """Two factors."""
        check_betas(self.adam_betas)

    @property
    def decay(self) -> Decay:
        return "parameters"

    def start(self, worker: Worker) -> None:
        matrices, rest = self._places(worker.layout)
        worker.momentum_buffer = _gathered(worker.zeros(), matrices)
        worker.first_moment = worker.second_moment = _gathered(worker.zeros(), rest)
        worker.steps = no_steps(worker)

    def rate(self, worker: Worker) -> float | Vector:
        rate = super().rate(worker)
        _, rest = self._places(worker.layout)
        if self.adam_rate == 1 or not rest:
            return rate
        factors = worker.params.new_ones(worker.layout.d)
        for place, _ in rest:
            factors[place] = self.adam_rate
        return rate * factors

    def rule(self, worker: Worker, gradient: Vector) -> Vector:
        matrices, rest = self._places(worker.layout)
        update = gradient.new_empty(gradient.shape)
        own = _gathered(gradient, matrices)
        worker.momentum_buffer = worker.momentum_buffer.lerp(own, 1 - self.momentum)
        wanted = own.lerp(worker.momentum_buffer, self.momentum) if self.nesterov else worker.momentum_buffer
        at = 0
        for place, (rows, *others) in matrices:
            size, columns = place.stop - place.start, math.prod(others)
            of_each = wanted[..., at : at + size].reshape(-1, rows, columns)
            made = gradient.new_empty(of_each.shape)
            for number, matrix in enumerate(of_each):
                made[number] = orthogonalised(matrix, self.ns_steps)
            update[..., place] = self._ratio(rows, columns) * made.reshape(*gradient.shape[:-1], size)
            at += size
        first, denominator = self._adam.advance(worker, _gathered(gradient, rest))
        steps, at = first / denominator, 0
        for place, _ in rest:
            size = place.stop - place.start
            update[..., place] = steps[..., at : at + size]
            at += size
        return self.rate(worker) * update

    def places_in(self, worker: Worker, name: str, chosen: Vector) -> Vector:
        matrices, rest = self._places(worker.layout)
        return _gathered(chosen, matrices if name == "momentum_buffer" else rest)

    @property
    def _adam(self) -> AdamW:
        return AdamW(betas=self.adam_betas, eps=self.adam_eps)

    def _ratio(self, rows: int, columns: int) -> float:
        if self.adjust == "original":
            return math.sqrt(max(1.0, rows / columns))
        return 0.2 * math.sqrt(max(rows, columns))

    def _places(self, layout: Layout) -> tuple[Places, Places]:
        """Where the matrices lie that are orthogonalised, and all else."""
        places: tuple[Places, Places] = ([], [])
        for name, (place, shape) in zip(layout.names, tensors(layout), strict=True):
            is_matrix = len(shape) > 1 and not any(fnmatchcase(name, pattern) for pattern in self.adam_for)
            places[not is_matrix].append((place, shape))
        return places


def orthogonalised(matrix: Vector, steps: int) -> Vector:
    """A matrix (rows, columns) with all singular values near 1, in bfloat16: quintic steps of Newton and Schulz."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16()
    x = x.T if tall else x
    x = x / x.norm().clamp(min=_SMALLEST_NORM)
    for _ in range(steps):
        gram = x @ x.T
        x = x.addmm(gram.addmm(gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def _gathered(vector: Vector, places: Places) -> Vector:
    """Tensor ``(..., n)``: these parts of ``(..., d)``, one after the other."""
    sizes = [place.stop - place.start for place, _ in places]
    found, at = vector.new_empty((*vector.shape[:-1], sum(sizes))), 0
    for (place, _), size in zip(places, sizes, strict=True):
        found[..., at : at + size] = vector[..., place]
        at += size
    return found
