"""Methods and a compressor as a user writes them, for real processes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from simgmc import Algorithm, Average, Compressor, Gradient, Mix, Request, encoded, option


@dataclass(frozen=True)
class Choosy(Algorithm):
    """Looks at numbers, draws, and replies as a server."""

    compressor: Compressor = option("what is sent")

    def start(self, worker):
        worker.residual = worker.zeros()
        worker.seen = 0

    def round(self, worker):
        gradient = yield Gradient(at=worker.params)
        if float(gradient.norm()) > 3:
            gradient = gradient / 2
            worker.seen += 1
        wanted = worker.residual + gradient + 0.01 * torch.randn_like(gradient)
        message = self.compressor(wanted, worker.randomness())
        worker.residual = message.subtract_from(wanted)
        mean = yield Average(message, reply=lambda mean: mean * 0.9)
        worker.params = worker.params - worker.lr * mean


@dataclass(frozen=True)
class Mixing(Algorithm):
    """Gossip after a step."""

    mixing = "doubly-stochastic"

    def round(self, worker):
        gradient = yield Gradient(at=worker.params)
        worker.params = yield Mix(worker.params - worker.lr * gradient)


@dataclass(frozen=True)
class Asking(Algorithm):
    """Asks a neighbour for its model."""

    asynchronous = True

    def round(self, worker):
        gradient = yield Gradient(at=worker.params)
        worker.params = worker.params - worker.lr * gradient
        other = yield Request(worker.neighbours[0], worker.params)
        worker.params = (worker.params + other) / 2

    def serve(self, asked, asker, message):
        return [(asker, asked.params)]


@dataclass(frozen=True)
class Halves(Compressor):
    """Numbers in halves, as 16-bit integers of the user's own format."""

    def __call__(self, vector, random):
        return encoded(vector, lambda row: (2 * row).round().to(torch.int16).numpy().tobytes(), read_halves)


def read_halves(payload):
    """What the bytes say."""
    return torch.frombuffer(bytearray(payload), dtype=torch.int16).double() / 2
