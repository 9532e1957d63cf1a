"""A parameter that gets a gradient only now and then moves as torch.optim moves it: not at all where it has none."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from simgmc.algorithms import ALGORITHMS
from simgmc.algorithms.optimizers import SGD
from simgmc.compression import build
from simgmc.core.randomness import generator
from simgmc.mixing import everybody
from simgmc.training.per_worker import PerWorkerTrainer
from tests.algorithms.test_optimizers import CASES, Cast, each, rate, train

DECAY, STEPS, WORKERS = 0.02, 24, 4


@dataclass(frozen=True)
class NowAndThen(Cast):
    """In a step a worker has no gradient of some tensors: the first is all workers' alike, others are each one's."""

    workers: int = WORKERS
    components = 0
    as_begun = None
    latest: dict[int, int] = field(default_factory=dict)
    """Worker to its latest step."""

    def missing(self, worker: int, step: int) -> tuple[int, ...]:
        common = bool(generator(1, "common", step).integers(2))
        own = generator(1, "own", step, worker).integers(3, size=len(self.shapes)) == 0
        return tuple(n for n in range(len(self.shapes)) if (common if n == 0 else own[n]))

    def absent(self, worker: int) -> tuple[int, ...]:
        return self.missing(worker, self.latest[worker])

    def gradients(self, at: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.gradients_of(range(self.workers), at.expand(self.workers, -1), [step] * self.workers)

    def gradients_of(self, ranks: Any, at: torch.Tensor, steps: Any) -> tuple[torch.Tensor, torch.Tensor]:
        rows, losses = [], []
        for point, rank, step in zip(at, ranks, steps, strict=True):
            of_all, loss = super().gradients(point[None], step)
            rows.append(of_all[rank])
            losses.append(loss[rank])
            self.latest[rank] = step
            for number in self.missing(rank, step):
                rows[-1][slice(*self.layout.offsets[number : number + 2])] = 0
        return torch.stack(rows), torch.stack(losses)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Nothing changes."""


class Model:
    """Tensors of one worker and their torch optimizers."""

    def __init__(self, task: NowAndThen, make: Any, vectors: bool):
        parts = task.initial_parameters().split(task.layout.sizes)
        self.tensors = [torch.nn.Parameter(p.clone().view(s)) for p, s in zip(parts, task.shapes, strict=True)]
        self.optimizers = [make(one, DECAY if vectors or one.ndim > 1 else 0.0) for one in self.tensors]

    @property
    def flat(self) -> torch.Tensor:
        return torch.cat([one.detach().reshape(-1) for one in self.tensors])

    def load(self, flat: torch.Tensor) -> None:
        with torch.no_grad():
            for one, part in zip(self.tensors, flat.split([one.numel() for one in self.tensors]), strict=True):
                one.copy_(part.view(one.shape))

    def step(self, gradient: torch.Tensor, missing: Any, lr: float) -> None:
        for number, (one, part, optimizer) in enumerate(
            zip(self.tensors, gradient.split([one.numel() for one in self.tensors]), self.optimizers, strict=True)
        ):
            one.grad = None if number in missing else part.clone().view(one.shape)
            optimizer.param_groups[0]["lr"] = lr
            optimizer.step()


def along_the_mean(make: Any, vectors: bool) -> torch.Tensor:
    """As DistributedDataParallel: None where no worker has a gradient, else the mean with zeros."""
    task = NowAndThen()
    model, found = Model(task, make, vectors), []
    for step in range(STEPS):
        gradients, _ = task.gradients(model.flat[None], step)
        nowhere = set.intersection(*(set(task.missing(rank, step)) for rank in range(WORKERS)))
        model.step(gradients.mean(0), nowhere, rate(step / task.batches_per_epoch))
        found.append(model.flat)
    return torch.stack(found)


def alone(make: Any, vectors: bool, period: int) -> torch.Tensor:
    """Every worker by its own gradients; after so many steps the models are averaged."""
    task, found = NowAndThen(), []
    models = [Model(task, make, vectors) for _ in range(WORKERS)]
    for step in range(STEPS):
        for rank, model in enumerate(models):
            gradient, _ = task.gradients_of([rank], model.flat[None], [step])
            model.step(gradient[0], task.missing(rank, step), rate(step / task.batches_per_epoch))
        if (step + 1) % period == 0:
            mean = torch.stack([model.flat for model in models]).mean(0)
            for model in models:
                model.load(mean)
            found.append(mean)
    return torch.stack(found)


@pytest.mark.parametrize("name", CASES)
def test_of_a_mean_and_of_ones_own_gradients_as_in_torch_optim(identity, name):
    rule, make, vectors = CASES[name]
    found = train(ALGORITHMS["data-parallel"](optimizer=rule), NowAndThen(), STEPS)
    off = (found - along_the_mean(make, vectors)).abs().max()
    identity(f"    data-parallel, gradients now and then = torch.optim, {name}", off, 1e-12)
    found = train(ALGORITHMS["local-sgd"](optimizer=rule, period=4), NowAndThen(), STEPS // 4)
    off = (found - alone(make, vectors, 4)).abs().max()
    identity(f"    local, gradients now and then = torch.optim, {name}", off, 1e-12)


def test_methods_with_a_momentum_of_their_own_program():
    momentum, plain = each(torch.optim.SGD, momentum=0.9), each(torch.optim.SGD)
    for name, options, make in (
        ("sgd", {}, plain), ("dmsgd", {"momentum_at": "local"}, momentum),
        ("dmsgd", {"momentum_at": "global"}, momentum),
    ):  # fmt: skip
        found = train(ALGORITHMS[name](**options), NowAndThen(), STEPS)
        assert (found - along_the_mean(make, True)).abs().max() < 1e-12, (name, options)
    found = train(ALGORITHMS["dmsgd-gossip"](order="atc"), NowAndThen(), STEPS, mixing=everybody(WORKERS))
    assert (found - alone(momentum, True, 1)).abs().max() < 1e-12


def test_a_residual_is_stepped_along_though_the_gradient_is_none():
    """What error feedback sends of earlier gradients is no skipped step: nothing of it is lost."""
    top = build("top-k", NowAndThen().layout, count=3)
    found = train(ALGORITHMS["ef"](compressor=top, optimizer=SGD(momentum=0.0)), NowAndThen(), STEPS, decay=0.0)
    task = NowAndThen()
    gone, sent = torch.zeros(WORKERS, task.d, dtype=torch.float64), task.initial_parameters()
    for step in range(STEPS):
        at = sent[None]
        wanted = gone + task.gradients(at, step)[0]
        chosen = wanted.abs().topk(3).indices
        message = torch.zeros_like(wanted).scatter(1, chosen, wanted.gather(1, chosen))
        gone, sent = wanted - message, sent - rate(step / task.batches_per_epoch) * message.mean(0)
    assert (found[-1] - sent).abs().max() < 1e-12


def test_minibatches_that_are_accumulated_have_none_where_none_of_them_has_one():
    task = NowAndThen(workers=1)
    found = train(ALGORITHMS["data-parallel"](optimizer=SGD(momentum=0.9)), task, 8, accumulate=2)
    model = Model(task, each(torch.optim.SGD, momentum=0.9), True)
    for step in range(0, 16, 2):
        lr = rate(step / task.batches_per_epoch)
        at = model.flat[None]
        mean = (task.gradients(at, step)[0] + task.gradients(at, step + 1)[0])[0] / 2
        model.step(mean, set(task.missing(0, step)) & set(task.missing(0, step + 1)), lr)
    assert (found[-1] - model.flat).abs().max() < 1e-12


def test_where_the_clock_decides_also_after_a_stop_in_the_midst_of_a_round():
    """One AD-PSGD worker alone is momentum SGD; told again all that it was told, it stands where it stood."""
    task = NowAndThen(workers=1)

    def trainer():
        return PerWorkerTrainer(ALGORITHMS["ad-psgd"](momentum=0.9), task, rate, DECAY)

    def run(one, steps):
        for _ in range(2 * steps):
            one.advance(0, -1)

    whole, stopped, anew = trainer(), trainer(), trainer()
    run(whole, STEPS)
    run(stopped, STEPS // 2)
    stopped.advance(0, -1)
    anew.load_state_dict(stopped.state_dict())
    model = Model(task, each(torch.optim.SGD, momentum=0.9), True)
    for step in range(STEPS):
        gradient, _ = task.gradients(model.flat[None], step)
        model.step(gradient[0], task.missing(0, step), rate(step / task.batches_per_epoch))
    assert math.isclose(float((whole.model() - model.flat).abs().max()), 0, abs_tol=1e-12)
    anew.advance(0, -1)
    run(anew, STEPS // 2 - 1)
    assert torch.equal(anew.model(), whole.model())
