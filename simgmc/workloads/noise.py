"""Random gradients of the size of a real workload's: what is looked at before anything is trained.

They are independent standard normal draws, a pure function of (seed, step, worker). Sizes of messages that do not
depend on values are exact on them, and so is the memory that a method holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from simgmc.core.layout import Layout
from simgmc.core.randomness import generator
from simgmc.workloads.workload import Evaluation, PassBytes, named

Observer = Callable[[str, Tensor], None]


class NoiseWorkload:
    """Standard normal gradients (float32) and losses of 0; every evaluation finds the same."""

    device, dtype = torch.device("cpu"), torch.float32
    route, precision = "noise", "float32"
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    flops, threads, at_once = 0, 1, 1
    pass_bytes = PassBytes()

    as_begun = None

    def __init__(
        self,
        workers: int,
        layout: Layout,
        *,
        batches_per_epoch: float = 1.0,
        seed: int = 0,
        components: int = 1,
        same: bool = False,
        unequal: bool = False,
        observe: Observer = lambda moment, at: None,
    ):
        """
        Args:
            same: :meth:`gradients_of` gives everybody the same gradient, held once.
            unequal: workers weigh unequally in an average.
            observe: hears of every ("gradients", point) that is computed and ("evaluation", point) that is made.
        """
        self.workers, self.layout, self.d = workers, layout, layout.d
        self.batches_per_epoch, self.components = batches_per_epoch, components
        self.steps_per_pass = [batches_per_epoch] * workers
        self.shares = tuple(rank + 1.0 for rank in range(workers)) if unequal else None
        self._seed, self._same, self._observe = seed, same, observe

    def initial_parameters(self) -> Tensor:
        """(d,) zeros."""
        return torch.zeros(self.d)

    def gradients(self, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """(K, d) independent draws, and losses of 0."""
        return self._observed(at, self._drawn(torch.empty(self.workers, self.d), step)), torch.zeros(self.workers)

    def gradients_of(self, ranks: Sequence[int], at: Tensor, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(n, d) draws, and losses of 0."""
        if self._same:
            drawn = self._shared.expand(len(ranks), self.d)
        else:
            drawn = torch.empty(len(ranks), self.d)
            for row, rank, step in zip(drawn, ranks, steps, strict=True):
                self._drawn(row, step, rank)
        return self._observed(at, drawn), torch.zeros(len(ranks))

    def gradient(self, worker: int, at: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """(d,) draws, and a loss of 0."""
        return self._observed(at, self._drawn(torch.empty(self.d), step, worker)), torch.zeros(())

    def absent(self, worker: int) -> tuple[int, ...]:
        """None: every parameter has a gradient."""
        return ()

    def component_gradient(self, worker: int, at: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """(d,) draws, and a loss of 0."""
        return self.gradient(worker, at, index)

    def evaluate(self, point: Tensor, worker: int | None = None) -> Evaluation:
        """The same at every point."""
        self._observe("evaluation", point)
        return Evaluation(1.0, 0.5)

    def minibatch_loss(self, point: Tensor, steps: Sequence[int]) -> float:
        """0."""
        return 0.0

    def model_state(self, point: Tensor) -> dict[str, Tensor]:
        """The point itself."""
        return named(self.layout, point)

    def state_dict(self) -> dict[str, Tensor]:
        """There is none."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to go back to."""

    def _drawn(self, out: Tensor, *place: int) -> Tensor:
        """Filled in place: a second copy would be counted as the method's memory."""
        generator(self._seed, "noise", *place).standard_normal(out=out.numpy(), dtype=np.float32)
        return out

    def _observed(self, at: Tensor, gradients: Tensor) -> Tensor:
        self._observe("gradients", at)
        return gradients

    @cached_property
    def _shared(self) -> Tensor:
        return self._drawn(torch.empty(self.d), 0, 0)
