"""The minibatch losses since the last report, as one sum."""

from __future__ import annotations

import torch


class LossSum:
    """Sum and number of losses, added in the order in which they come, where they were computed.

    Kept as one number: a small tensor for every round, each allocated between the large ones of a
    round, would break the heap into holes that no large one fits in any more.
    """

    def __init__(self) -> None:
        self._total: float | torch.Tensor = 0.0
        self.count = 0

    def add(self, losses: torch.Tensor) -> None:
        """Add losses of any shape."""
        if isinstance(self._total, float):
            self._total = losses.new_full((), self._total, dtype=torch.float64)
        self._total += losses.double().sum()
        self.count += losses.numel()

    def clear(self) -> None:
        """Begin again at none."""
        self._total, self.count = 0.0, 0

    def state(self) -> tuple[float, int]:
        """Total and number, as plain numbers. Waits for the device."""
        return float(self._total), self.count

    def load(self, state: tuple[float, int]) -> None:
        """Go back to what :meth:`state` gave."""
        self._total, self.count = state
