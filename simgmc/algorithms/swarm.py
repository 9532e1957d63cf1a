"""SwarmSGD: local steps, then an averaging with one random neighbour; nobody waits for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from simgmc.algorithms.effects import Exchange, Request
from simgmc.algorithms.local import LocalSGD
from simgmc.algorithms.worker import Compressor, Program, Worker, option


@dataclass(frozen=True)
class SwarmSGD(LocalSGD):
    """SwarmSGD, blocking: after its local steps a worker and a random neighbour take the mean of their models.

    ``x_i = x_j = (Q(x_i) + Q(x_j)) / 2``, when both have finished their local steps.
    ``period`` local steps between exchanges, or, ``geometric``, a random number of that mean.
    ``compressor`` is Q (default: none); the paper's is ``lattice``, which the receiver decodes
    near its own model: a message that decodes to anything but what was sent is counted in
    ``failed_decodings``, its coordinates in ``wrapped_coordinates``. The local momentum is not
    exchanged.

    State: momentum m (d). Message: Q(x) each way of an exchange: d dense values, or d log2 q bits.
    """

    source: ClassVar[str] = "Nadiradze et al., NeurIPS 2021, Algorithm 1"
    asynchronous: ClassVar[bool] = True

    period: int = option("local steps between exchanges, or their mean", 2)
    geometric: bool = option("a random number of local steps, geometric", False)
    compressor: Compressor | None = option("Q, of the models; dense unless given", None)

    def start(self, worker: Worker) -> None:
        super().start(worker)
        if hasattr(self.compressor, "received"):
            worker.failed_decodings = worker.wrapped_coordinates = 0

    def steps(self, worker: Worker) -> int:
        return int(worker.draws("local steps").geometric(1 / self.period)) if self.geometric else self.period

    def round(self, worker: Worker) -> Program:
        yield from self.local_steps(worker)
        for _ in range(self.steps(worker)):
            worker.applied(0)
        partner = random_neighbour(worker)
        if partner is not None:
            message, own = self.message(worker, worker.params)
            other = self.read(worker, (yield Exchange(partner, message)), worker.params)
            worker.params = (own + other) / 2

    def message(self, worker: Worker, model: Any) -> tuple[Any, Any]:
        """The message of a model, and its content (..., d)."""
        if self.compressor is None:
            return model, model
        message = self.compressor(model, worker.randomness())
        return message, message.dense()

    def read(self, worker: Worker, content: Any, reference: Any) -> Any:
        """What the worker makes of another's message, given its own model (both (..., d))."""
        if not hasattr(self.compressor, "received"):
            return content
        found = self.compressor.received(content, reference)
        wrapped = int((found != content).sum())
        worker.failed_decodings += wrapped > 0
        worker.wrapped_coordinates += wrapped
        return found

    def metrics(self, worker: Worker) -> dict[str, float]:
        counts = ("failed_decodings", "wrapped_coordinates")
        return {name: getattr(worker, name) for name in counts if hasattr(worker, name)}


@dataclass(frozen=True)
class NonBlockingSwarmSGD(SwarmSGD):
    """SwarmSGD, non-blocking: the partner of an averaging goes on with its local steps.

    A worker has a shared model x, which others average with, and live parameters, which its
    local steps move away from the x of their start by ``-lr h``. When they are finished::

        partner j, at once:   x_j = x_j + (Q(x_i) - Q(x_j)) / 2
        initiator i:          x_i = x_i + (Q(x_j) - Q(x_i)) / 2 - lr h_i;   live_i = x_i

    The partner's live parameters and their steps stay as they are, to be added when it
    initiates. As differences the two halves cancel, whoever else averages with i or j while
    the messages travel: the sum of the x changes by the ``-lr h`` alone, with any Q that is
    decoded rightly. Evaluated at x. Other parameters as blocking SwarmSGD.

    State: shared model x, momentum m (d each). Messages: Q(x) to the partner and back.
    """

    source: ClassVar[str] = "Nadiradze et al., NeurIPS 2021, Algorithm 2"

    def start(self, worker: Worker) -> None:
        super().start(worker)
        worker.shared = worker.params
        worker.averagings = 0

    def round(self, worker: Worker) -> Program:
        start, seen = worker.params, worker.averagings
        yield from self.local_steps(worker)
        moved = worker.params - start
        partner = random_neighbour(worker)
        if partner is not None:
            message, own = self.message(worker, worker.shared)
            answer = yield Request(partner, message)
            worker.shared = worker.shared + (self.read(worker, answer, worker.shared) - own) / 2
        for _ in range(self.steps(worker)):
            worker.applied(worker.averagings - seen)
        worker.shared = worker.shared + moved
        worker.params = worker.shared

    def serve(self, asked: Worker, asker: int, message: Any) -> list[tuple[int, Any]]:
        reply, own = self.message(asked, asked.shared)
        asked.shared = asked.shared + (self.read(asked, message, asked.shared) - own) / 2
        asked.averagings += 1
        return [(asker, reply)]

    def model(self, worker: Worker) -> Any:
        return worker.shared


@dataclass(frozen=True)
class PopSGD(SwarmSGD):
    """PopSGD: after its local steps a worker reads a random neighbour's model and averages only itself.

    ``x_i = (x_i + Q(x_j)) / 2``; the neighbour is not changed, so the mean is not preserved.
    Parameters as SwarmSGD. State: momentum m (d). Messages: a request of one value, and Q(x_j).
    """

    source: ClassVar[str] = "Nadiradze et al. 2019 (PopSGD), as its authors' code"

    period: int = option("local steps between readings, or their mean", 1)

    def round(self, worker: Worker) -> Program:
        yield from self.local_steps(worker)
        for _ in range(self.steps(worker)):
            worker.applied(0)
        partner = random_neighbour(worker)
        if partner is not None:
            answer = yield Request(partner, worker.zeros()[..., :1])
            worker.params = (worker.params + self.read(worker, answer, worker.params)) / 2

    def serve(self, asked: Worker, asker: int, message: Any) -> list[tuple[int, Any]]:
        return [(asker, self.message(asked, asked.params)[0])]


def random_neighbour(worker: Worker) -> int | None:
    """Whom the worker averages with in this round, each neighbour with the same probability; None without any."""
    others = worker.neighbours
    return others[int(worker.draws("partner").integers(len(others)))] if others else None
