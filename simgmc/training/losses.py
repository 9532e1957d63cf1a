"""The minibatch losses since the last report, as one sum."""

from __future__ import annotations

from typing import Any

import torch


class LossSum:
    """Sum and number of losses, added in the order in which they come, where they were computed.

    Kept as one number: a small tensor for every round, each allocated between the large ones of a
    round, would break the heap into holes that no large one fits in any more.
    """

    def __init__(self) -> None:
        self._total: torch.Tensor | None = None
        self.count = 0

    def add(self, losses: torch.Tensor) -> None:
        """Add losses of any shape."""
        if self._total is None:
            self._total = torch.zeros((), dtype=torch.float64, device=losses.device)
        self._total += losses.double().sum()
        self.count += losses.numel()

    @property
    def total(self) -> float:
        """Waits for the device."""
        return 0.0 if self._total is None else float(self._total)

    @property
    def mean(self) -> float | None:
        """None where none was added."""
        return self.total / self.count if self.count else None

    def clear(self) -> None:
        """Begin again at none."""
        self.count = 0
        if self._total is not None:
            self._total.zero_()

    def state(self) -> list[Any]:
        """Total and number."""
        return [self.total, self.count]

    def load(self, state: list[Any], device: torch.device) -> None:
        """Go back to what :meth:`state` gave."""
        total, self.count = state
        self._total = torch.tensor(total, dtype=torch.float64, device=device)
