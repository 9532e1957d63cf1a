"""What a run will send and how long it will take, from a few rounds on random gradients.

Nothing is trained: gradients are independent normal noise on every worker, so sizes that
do not depend on values are exact, and the union of sparse supports, which real gradients
share in part, is an upper bound.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.quantities import bytes_text
from simgmc.core.randomness import generator
from simgmc.costs.steps import RoundCosts
from simgmc.experiment.building import build_asynchronous_trainer, build_trainer
from simgmc.experiment.events import EventLoop
from simgmc.experiment.plan import Training, cluster_settings
from simgmc.experiment.preflight.checks import keys_named
from simgmc.experiment.record import Milestones
from simgmc.network import simulate
from simgmc.network.cluster.peers import Peers
from simgmc.scenario import GridPoint

ROUNDS = 10


class NoiseWorkload:
    """Random gradients of the size of a real workload's."""

    def __init__(self, workers: int, layout: Layout, batches_per_epoch: float, seed: int):
        self.workers, self.layout, self.d = workers, layout, layout.d
        self.batches_per_epoch = batches_per_epoch
        self.device, self._seed = torch.device("cpu"), seed

    def initial_parameters(self) -> torch.Tensor:
        """(d,) zeros."""
        return torch.zeros(self.d)

    def gradients(self, at: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, d) independent standard normal draws, and losses of 0."""
        drawn = generator(self._seed, "noise", step).standard_normal((self.workers, self.d), dtype="float32")
        return torch.from_numpy(drawn), torch.zeros(self.workers)

    components = 1

    def gradients_of(
        self, ranks: Sequence[int], at: torch.Tensor, steps: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, d) independent standard normal draws, and losses of 0."""
        return torch.stack([self.component_gradient(*one)[0] for one in zip(ranks, at, steps)]), torch.zeros(len(ranks))

    def component_gradient(self, worker: int, at: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(d,) standard normal draws and a loss of 0."""
        drawn = generator(self._seed, "noise", index, worker).standard_normal(self.d, dtype="float32")
        return torch.from_numpy(drawn), torch.zeros(())

    def state_dict(self) -> dict[str, torch.Tensor]:
        """There is none."""
        return {}


class _OneNoise(NoiseWorkload):
    """The same random gradient for everybody, drawn once: what a message looks like does not depend on it."""

    def gradients_of(
        self, ranks: Sequence[int], at: torch.Tensor, steps: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, d), n times the same in one place, and losses of 0."""
        return self._drawn.expand(len(ranks), self.d), torch.zeros(len(ranks))

    @functools.cached_property
    def _drawn(self) -> torch.Tensor:
        return self.component_gradient(0, None, 0)[0]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What one method will cost on one cluster."""

    point: GridPoint
    method: str
    rounds: int
    sim_time_s: float
    bytes_up: float
    """Sent by all workers over the whole run."""
    bytes_server: float
    """Into and out of the server."""
    upper_bound: bool
    """Whether real supports overlap more, so that the truth is below this."""
    stopped: str | None = None
    """Why the cluster ends the run within the rounds that are looked at, if it does; the rest is then of those finished."""


def predict(training: Training, layout: Layout, batches_per_epoch: float) -> list[Prediction]:
    """The cost of one training on each of its clusters."""
    noise = NoiseWorkload(training.scenario.workload.workers, layout, batches_per_epoch, training.seed)
    if training.asynchronous:
        return _predict_asynchronous(training, noise)
    trainer = build_trainer(training, noise)
    rounds: list[RoundCosts] = []
    gradients = 0.0
    try:
        while len(rounds) < ROUNDS:
            rounds.append(trainer.next_round().with_everybody())
            gradients = trainer.gradients / len(rounds)
    except DivergenceError as error:  # at a huge rate noise diverges, too; what went before was sent
        if not rounds:
            raise SimgmcError(f"methods.{training.method.name}: {error}") from None
    total = Milestones(training, batches_per_epoch).total(gradients)
    # The first round of a method with memory differs from the steady state.
    steady = rounds[len(rounds) // 2 :]
    predictions = []
    for point in training.points:
        timing = simulate(cluster_settings(point.scenario, training.method, training.seed), steady)
        finished = len(timing.round_end) if timing.stopped else total
        factor = 1.0 if timing.stopped else total / len(steady)
        server = timing.into_server.sum() + timing.out_of_server.sum()
        sparse = any(not step.summable for costs in steady for step in costs if hasattr(step, "summable"))
        predictions.append(
            Prediction(
                point,
                training.method.name,
                finished,
                timing.total * factor,
                timing.sent_by_workers.sum() * factor,
                server * factor,
                sparse and server > 0,
                timing.stopped,
            )
        )
    return predictions


def _predict_asynchronous(training: Training, noise: NoiseWorkload) -> list[Prediction]:
    total = Milestones(training, noise.batches_per_epoch).total()
    peers, gradients = _run_asynchronous(training, noise, ROUNDS)
    if not gradients and not peers.stopped:
        raise SimgmcError(f"methods.{training.method.name}: diverges before the first gradient is there")
    if peers.stopped:
        total = gradients = int(gradients)
    factor = 1.0 if peers.stopped else total / gradients
    server = peers.into_server + peers.out_of_server
    return [
        Prediction(
            point,
            training.method.name,
            total,
            peers.now * factor,
            peers.sent_by_workers * factor,
            server * factor,
            False,
            peers.stopped,
        )
        for point in training.points
    ]


def _run_asynchronous(
    training: Training, noise: NoiseWorkload, gradients: int, on_message: Callable[[Any], None] = lambda message: None
) -> tuple[Peers, float]:
    """So many gradients a worker, on average, of a method that the clock drives; and how many were finished.

    These are fewer where noise diverges.
    """
    trainer = build_asynchronous_trainer(training, noise)
    trainer.on_message = on_message
    peers = Peers(cluster_settings(training.scenario, training.method, training.seed))

    def after(loop: EventLoop) -> None:
        if sum(loop.gradients) >= gradients * noise.workers:
            peers.stop()

    loop = EventLoop(peers, trainer, after)
    try:
        loop.run()
    except DivergenceError:
        peers.stop()
    finally:
        trainer.close()
    return peers, sum(loop.gradients) / noise.workers


def wire_format(training: Training, layout: Layout) -> str:
    """One line: how this method's messages are written.

    Raises SimgmcError, naming the keys, where vectors of this size cannot be.
    """
    seen: dict[str, None] = {}

    def note(message: Any) -> None:
        seen[_size(message)] = None

    try:
        with keys_named(training.method):
            if training.asynchronous:
                _run_asynchronous(training, _OneNoise(training.scenario.workload.workers, layout, 1.0, 0), 3, note)
            else:
                trainer = build_trainer(training, NoiseWorkload(1, layout, 1.0, 0))
                trainer.on_message = note
                trainer.next_round().with_everybody()
    except DivergenceError:
        return "; ".join(seen) or "diverges before it sends anything"
    return "; ".join(seen) or "sends nothing"


def _size(message: Any) -> str:
    if not message.compressed:
        return f"{message.wire}, {bytes_text(message.nbytes[0])}"
    return f"{message.wire}, {bytes_text(message.nbytes[0])} where dense fp32 is {bytes_text(4 * message.d)}"
