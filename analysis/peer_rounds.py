"""One federated round: what it is, in plain PyTorch, and in simgmc. Measured by ``peers.py``.

The round is the same everywhere: 8 clients hold 16 images each, take one step of SGD on them
from the server's model, and the server averages the 8 models. As a client's minibatch is all that
it holds, every system must arrive at the same parameters, however it shuffles; that is checked.

A system is a function of (task, rounds). It calls ``task.mark()`` before its first round where it
can and after every round, and returns the server's parameters (d,).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLIENTS, SAMPLES, CLASSES, RATE = 8, 16, 10, 0.01
MEAN, STD = 72.9, 90.0


def build_model(name: str) -> nn.Sequential:
    """The two-layer perceptron 784-256-10 or a small convolutional network, the same weights each time."""
    torch.manual_seed(0)
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, CLASSES))
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, CLASSES),
    )  # fmt: skip


class Task:
    """What is trained: bytes in Fashion-MNIST's shape, 16 for each client, and the moments of the rounds' ends."""

    def __init__(self, model: str):
        rng = np.random.default_rng(0)
        self.name = model
        self.bytes = rng.integers(0, 256, (CLIENTS, SAMPLES, 1, 28, 28), dtype=np.uint8)
        self.labels = torch.from_numpy(rng.integers(0, CLASSES, (CLIENTS, SAMPLES)))
        self.images = (torch.from_numpy(self.bytes).float() - MEAN) / STD
        self.marks: list[float] = []

    def model(self) -> nn.Sequential:
        return build_model(self.name)

    def mark(self) -> None:
        """A round has ended (or the first begins)."""
        self.marks.append(time.time())  # of all processes


SYSTEMS: dict[str, Callable[[Task, int], Tensor]] = {}


def system(name: str):
    """Register a system under this name."""

    def add(function):
        SYSTEMS[name] = function
        return function

    return add


@system("plain loop")
def plain(task: Task, rounds: int) -> Tensor:
    """The round without any framework: one module, client after client."""
    model = task.model()
    parameters: list[Tensor] = list(model.parameters())
    server = [p.detach().clone() for p in parameters]
    batches = list(zip(task.images, task.labels, strict=True))
    task.mark()
    for _ in range(rounds):
        total = [torch.zeros_like(p) for p in server]
        for x, y in batches:
            with torch.no_grad():
                torch._foreach_copy_(parameters, server)
            gradients = torch.autograd.grad(F.cross_entropy(model(x), y), parameters)
            with torch.no_grad():
                torch._foreach_add_(parameters, gradients, alpha=-RATE)
                torch._foreach_add_(total, parameters)
        torch._foreach_div_(total, CLIENTS)
        server = total
        task.mark()
    return torch.cat([p.flatten() for p in server])


def _simgmc(task: Task, rounds: int, algorithm_of: Callable) -> Tensor:
    from simgmc.network import (
        ClusterSettings,
        ComputeTime,
        Duration,
        Host,
        simulate,
        star,
        worker_names,
    )
    from simgmc.network.conditions.stragglers import Stragglers
    from simgmc.training.stacked import StackedTrainer
    from simgmc.workloads.classification import ClassificationWorkload
    from simgmc.workloads.data.dataset import Dataset

    images, labels = task.bytes.reshape(-1, 1, 28, 28), task.labels.flatten().numpy()
    data = Dataset("random", images, labels, images, labels, CLASSES, np.array([MEAN]), np.array([STD]))
    owned = np.arange(CLIENTS * SAMPLES).reshape(CLIENTS, SAMPLES)
    workload = ClassificationWorkload(task.model(), data, list(owned), batch=SAMPLES, seed=0)
    trainer = StackedTrainer(algorithm_of(workload.layout), workload, lambda epoch: RATE)
    names = worker_names(CLIENTS)
    hosts = [Host(name, 12.5e6, 12.5e6, 0.005) for name in (*names, "server")]
    costs = Duration(0.001)
    cluster = ClusterSettings(
        star(hosts),
        names,
        "server",
        "parameter-server",
        ComputeTime(0.01),
        costs,
        costs,
        conditions=(Stragglers(sigma=0.2),),
    )

    def rounds_of_training():
        for _ in range(rounds):
            task.mark()  # the network of the rounds before has been simulated up to here
            yield trainer.next_round()

    timing = simulate(cluster, rounds_of_training())
    task.mark()
    assert timing.total > 0 and len(timing.round_end) == rounds
    return trainer.model()


@system("simgmc")
def simgmc(task: Task, rounds: int) -> Tensor:
    """Gradients, averaging, and every message through a star of 100 Mbit/s links, with stragglers."""
    from simgmc.algorithms import ALGORITHMS

    return _simgmc(task, rounds, lambda layout: ALGORITHMS["sgd"]())


@system("simgmc, GMC top-1 %")
def simgmc_gmc(task: Task, rounds: int) -> Tensor:
    """The same with GMC's compressed momentum: another method, so other parameters."""
    from simgmc.algorithms.gmc import GMC
    from simgmc.compression import build

    return _simgmc(task, rounds, lambda layout: GMC(build("top-k", layout, density=0.01)))
