"""The memory that a run will need, predicted before its state is allocated.

What is there already (the program, the data, one model) is measured; what comes is counted: the state
of N workers x d and a round's temporaries from a few rounds of a small model (see live_memory.py), the
activations from one gradient. Only some workers' gradients are under way at once, on the CPU so many
for each thread: activations grow with those and never with the workers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from simgmc.core import heap
from simgmc.core.errors import SimgmcError
from simgmc.core.quantities import bytes_text
from simgmc.experiment.preflight.checks import counts_of, keys_named, require_count
from simgmc.experiment.training import Training
from simgmc.network.cluster.walks.provable import flows_simulated, nothing_but_messages
from simgmc.network.collectives.catalogue import CHOICES
from simgmc.workloads.gradients.live_memory import Needed
from simgmc.workloads.memory import available, resident
from simgmc.workloads.workload import Workload

PICTURES = 44e6
"""Bytes that drawing the plots takes, at the end of a run."""
WORKER_IN_GRAPHS = 8e3
"""Bytes that the network simulation holds for a worker: 2 kB in each of four graphs (the run's, and those that tell
what would help); and"""
WORKER_SERVED = 4e3
"""for its messages to and from a server; and"""
WORKER_PROCESS = 4e3
"""for its process and the events that it waits for, where rounds are simulated event by event."""
FLOW_SIMULATED = 1.1e3
"""Bytes of one flow that is simulated event by event: 350 in the list of flows, the rest for those under way; and"""
FLOW_AT_ONCE = 1.8e3
"""where half of them are under way at the same time, as those of servers and to neighbours are."""


@dataclass(frozen=True)
class MemoryPrediction:
    """Bytes that a training needs at its worst moment."""

    method: str
    parts: dict[str, float]
    """By what they are for; ``now`` is what the process already has."""
    device: str
    threads: int = 1
    with_threads: float = 0.0
    """Of all, what grows with the number of threads."""

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.parts.values())

    @property
    def more(self) -> float:
        """What is still to be allocated."""
        return self.total - self.parts["now"]

    def __str__(self) -> str:
        said = ", ".join(
            f"{name} {bytes_text(size)}" for name, size in self.parts.items() if size >= 0.005 * self.total
        )
        return f"about {bytes_text(self.total)} at its worst ({self.method}): {said}"


class TooLarge(SimgmcError):
    """A run needs more memory than there is; with ``threads`` it may fit (None: it would not with one)."""

    def __init__(self, message: str, threads: int | None):
        super().__init__(message)
        self.threads = threads


def needed_by(training: Training, workload: Workload) -> Needed:
    """What one training on a built workload needs beside its passes."""
    for place, count in counts_of(training.method):
        require_count(place, count, workload.layout.d)
    with keys_named(training.method):
        return training.memory_needed(workload)


def predict_memory(training: Training, workload: Workload) -> MemoryPrediction:
    """What one training on a built workload will need."""
    workers, d, item, device = workload.workers, workload.d, workload.dtype.itemsize, workload.device.type
    threads, passes, needed = workload.threads, workload.pass_bytes, needed_by(training, workload)
    gradient, workspace = passes.gradient, passes.workspace * min(threads, workers)
    if workload.route == "cuda graph":
        torch.cuda.empty_cache()  # freed, but still counted as in use
        gradient = 0  # a captured round has the memory of its passes already; one at other points shares it
    gradients = workload.at_once * gradient + workspace
    evaluation = threads * passes.evaluation + workspace
    # parameters of a pass's own: on CUDA every worker's stay, and its point too
    own = d * item * (2 * workers if device == "cuda" else min(threads, workers)) if needed.separate else 0
    compressing = needed.per_thread * min(threads, workers)
    state = f"state of {workers} workers x {d:,}"
    # The worst of four moments: what is held in it, what comes on top, and how much of that each thread takes.
    moments = {
        "activations": (needed.gradient, gradients + own + workers * passes.batch, gradients + own),
        "messages": (needed.gradient, needed.step - needed.gradient + compressing, compressing),
        "evaluation": (needed.evaluation, evaluation, evaluation),
        "final model": (needed.evaluation, 2 * passes.model, 0.0),
    }
    worst = max(moments, key=lambda name: sum(moments[name][:2]))
    held, on_top, with_threads = moments[worst]
    heap.give_back()  # what trying the model has freed would be counted twice
    parts = {"now": resident(device), state: held, worst: max(0.0, on_top)}
    if device == "cpu":
        parts["kept by the allocator"] = training.freed_bytes(d * item)
        rounds = training.milestones(workload.batches_per_epoch).total() * training.record_bytes()
        parts["network"] = workers * worker_bytes(training) + flow_bytes(training, d * item) + rounds
        parts["plots"] = PICTURES
    return MemoryPrediction(training.method.name, parts, device, threads, with_threads)


def worker_bytes(training: Training) -> float:
    """What the network simulation holds for each worker, beside the flows between them."""
    settings = training.settings(training.points[0])
    at_once = training.sends_first_alone and nothing_but_messages(settings)
    served = WORKER_SERVED if settings.server_hosts or not training.sends_first_alone else 0.0
    return WORKER_IN_GRAPHS + served + (0.0 if at_once else WORKER_PROCESS)


def flow_bytes(training: Training, message: float) -> float:
    """What the flows of one exchange take, the adding between them included, where they are simulated one by one."""
    if not training.sends_first_alone:
        return 0.0
    if training.scenario.has_graph(training.method):
        mixing = training.scenario.mixing(training.method)
        return FLOW_AT_ONCE * max((len(edges) for edges in mixing.edges), default=0) if mixing else 0.0
    settings = training.settings(training.points[0])
    entry = CHOICES[settings.collective]
    at_once = entry.servers or entry.all_to_all or entry.build is None
    return (FLOW_AT_ONCE if at_once else FLOW_SIMULATED) * flows_simulated(settings, message)


def require_memory(prediction: MemoryPrediction, workers: int) -> None:
    """Raises TooLarge where a run would need more than there is; nothing has been allocated yet."""
    free = available(prediction.device)
    if free is None or prediction.more <= free:
        return
    largest = max(
        (size, name) for name, size in prediction.parts.items() if name not in ("now", "kept by the allocator")
    )[1]
    fewer = int(workers * free / prediction.more * 0.9)
    smaller = {"activations": "a smaller workload.batch_per_worker", "network": "fewer epochs"}.get(
        largest, f"fewer workers (about {fewer} would fit) or a smaller model" if fewer >= 1 else "a smaller model"
    )
    where = "GPU" if prediction.device == "cuda" else "machine"
    left = free - (prediction.more - prediction.with_threads)
    threads = int(prediction.threads * left / prediction.with_threads) if prediction.with_threads else 0
    raise TooLarge(
        f"workload: needs {prediction}; this {where} has {bytes_text(free)} free beside what is in use now. "
        f"Most of it is for the {largest}: {smaller} would need less",
        min(threads, prediction.threads - 1) if threads >= 1 and prediction.threads > 1 else None,
    )
