"""What programs of an asynchronous training wait for on real processes, and who meets whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

What = Literal["partner", "swap", "answer", "arrivals"]
"""A partner to exchange messages with, that one's message, a reply, messages in the inbox."""
BLOCKS: dict[What, Literal["wait", "transfer"]] = {
    "partner": "wait", "swap": "wait", "answer": "transfer", "arrivals": "wait"
}  # fmt: skip
"""The part of a worker's time that waiting for it counts as."""


class Awaited(NamedTuple):
    """What a program waits for."""

    what: What
    number: int
    """Of its own message, of its request, or how many are to have arrived."""
    since: float
    """Seconds of training."""
    kind: str
    """As it is measured."""


@dataclass
class Asked:
    """A request under way."""

    to: int
    answer: int | None = None
    """The number of the message that answers it."""


@dataclass
class Meetings:
    """Brings those together that want to exchange messages."""

    wanting: dict[int, int] = field(default_factory=dict)
    """Who waits for an exchange, and with whom, in the order in which they came."""

    def between(self, worker: int, to: int) -> list[tuple[int, int]]:
        """A worker wants to exchange with another: who meets whom now, both ways; nobody where it has to wait.

        It meets whom it is wanted by, the first of those that came, else the wanted one if that waits too.
        """
        partner = next((other for other, wanted in self.wanting.items() if wanted == worker), None)
        if partner is None and to in self.wanting:
            partner = to
        if partner is None:
            self.wanting[worker] = to
            return []
        del self.wanting[partner]
        return [(worker, partner), (partner, worker)]
