"""Stragglers: gradients that take longer on some workers in some rounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simgmc.core.declared import declared
from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import generator
from simgmc.core.registry import Option
from simgmc.network.conditions.condition import Condition

_MEAN_OF = {"log-normal": "sigma", "shifted-exponential": "mean"}


@dataclass(frozen=True)
class Stragglers(Condition):
    """Random slowness of every gradient, drawn per (seed, round, worker).

    The draws of a round never depend on the order of events. ``shifted-exponential`` is that of
    Lee et al. 2018.
    """

    key = "stragglers"
    static = True
    whole = True

    kind: str = declared(
        Option(
            "how many times as long: exp(sigma z), z standard normal, or 1 plus an exponential with mean `mean`",
            str, "log-normal", tuple(_MEAN_OF),
        )
    )  # fmt: skip
    sigma: float | None = declared(
        Option("standard deviation of a log-normal factor's logarithm", float, None, at_least=0, at_most=10)
    )
    mean: float | None = declared(
        Option("mean of the exponential part, as a share of the rest", float, None, at_least=0, at_most=1000)
    )

    def check_fields(self) -> None:
        """Each kind has a parameter of its own."""
        wanted = _MEAN_OF[self.kind]
        (other,) = set(_MEAN_OF.values()) - {wanted}
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise SimgmcError(f"{self.kind} needs {wanted}, and does not take {other}")

    @property
    def spread(self) -> float:
        """The parameter of its kind."""
        return getattr(self, _MEAN_OF[self.kind])

    @property
    def random(self) -> bool:
        return self.spread > 0

    @property
    def heading(self) -> str:
        return f"{self.kind} stragglers ({self.spread:g})"

    def factors(self, seed: int, round: int, step: int, workers: int) -> np.ndarray | None:
        if self.spread == 0:
            return None
        if self.kind == "log-normal":
            return np.exp(self.spread * generator(seed, "straggler", round, step).standard_normal(workers))
        draw = generator(seed, "straggler, exponential", round, step)
        return 1.0 + draw.exponential(self.spread, workers)
