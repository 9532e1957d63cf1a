"""Which route computes a model's gradients: the first that fits and proves itself, else plain PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from simgmc.core.errors import SimgmcError
from simgmc.workloads.data.collated import CollatedSamples
from simgmc.workloads.data.minibatches import Samples
from simgmc.workloads.data.steps import TrainingSamples
from simgmc.workloads.gradients.cuda import GraphEngine, streams
from simgmc.workloads.gradients.engine import POOL_FLOPS, ReplicaEngine
from simgmc.workloads.gradients.model_calls import ModelCalls
from simgmc.workloads.gradients.plain import PlainEngine, PrivateCopies
from simgmc.workloads.gradients.precision import kernels
from simgmc.workloads.gradients.proof.comparison import Reference, proven
from simgmc.workloads.gradients.proof.fingerprint import fingerprint, plain_token
from simgmc.workloads.gradients.proof.plain_passes import reference
from simgmc.workloads.gradients.replicas import Replicas
from simgmc.workloads.gradients.split import GROUP, SplitEngine, linear_stack
from simgmc.workloads.gradients.template import Template
from simgmc.workloads.losses.functions import CrossEntropy, Loss

PROVED_ON = 8
"""Test samples, at most, on which the evaluation of a route is held against plain PyTorch's, in two parts."""


@dataclass(frozen=True)
class Job:
    """What gradients are computed of, and how: all that a route is made from."""

    template: Template
    training: TrainingSamples
    test: Samples | CollatedSamples
    calls: ModelCalls
    loss: Loss
    precision: str
    threads: int

    @property
    def workers(self) -> int:
        """K."""
        return self.training.workers

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.test.device

    def linear_layers(self) -> list[nn.Module] | None:
        """The layers of a chain that route "split" can compute, else None."""
        if self.precision != "float32" or not (isinstance(self.loss, CrossEntropy) and self.loss.plain):
            return None
        if not isinstance(self.test, Samples) or not self.training.stacks or self.test.labels.ndim > 1:
            return None
        return linear_stack(self.template.module, self.test.shape)

    def take_channels_last(self, channels_last: bool) -> None:
        """Take images in that memory format from now on."""
        self.training.samples.channels_last = self.test.channels_last = channels_last


@dataclass(frozen=True)
class Chosen:
    """The route that was taken, and what is known of the model's passes."""

    engine: Any
    """Computes gradients."""
    evaluator: Any
    """Evaluates points."""
    replicas: Replicas | PrivateCopies
    """The workers' modules."""
    at_once: int
    """Workers whose activations are held at the same time."""
    reasons: list[str]
    """Why faster routes were not taken; empty where the first was."""
    flops: int
    """Of one worker's gradient."""
    moving: int
    """Numbers in buffers that a pass changes."""
    outside: tuple[str, ...]
    """What a pass may change that all workers have in common."""
    loss_keeps: bool
    """Whether the loss keeps something, so that each worker has one of its own."""


@dataclass(frozen=True)
class Verdict:
    """What the proof found: the route, and what is known of the model's passes."""

    route: str
    channels_last: bool
    alone: bool
    """Whether only one thread may run the model."""
    reasons: tuple[str, ...]
    """Why faster routes were not taken."""
    keeps: bool
    outside: tuple[str, ...]
    frozen: tuple[str, ...]
    loss_keeps: bool
    absent: tuple[int, ...]
    flops: int
    held: int
    moving: int
    """The others: as of :class:`Reference` and :class:`Chosen`."""


_VERDICTS: dict[Hashable, Verdict] = {}
"""By what a verdict depends on: another seed or method of a run need not prove it again."""


def choose(job: Job, wanted: str | None = None) -> Chosen:
    """The first route that proves itself, see :mod:`simgmc.workloads.gradients.proof.comparison`; else the plain one.

    The proof is made once for modules of the same structure and code on the same data. ``wanted``: another route than
    the rule's. Raises SimgmcError where that does not fit.
    """
    key = _same_verdict(job, wanted)
    verdict = _VERDICTS.get(key) if key is not None else None
    if verdict is None:
        verdict, route = _prove(job, wanted)
        if key is not None:
            _VERDICTS[key] = verdict
    elif verdict.route == "plain":
        route = None
    else:
        route = FastRoute(job, verdict.route, verdict.channels_last, verdict.held)
    reasons = list(verdict.reasons)
    if route is not None:
        if getattr(route.engine, "fallback", None):
            reasons.append(f"no graph: {route.engine.fallback}")
        engine, evaluator, replicas, at_once = route.engine, route.evaluator, route.replicas, route.at_once
    else:
        job.take_channels_last(False)
        replicas = PrivateCopies(
            job.template,
            job.workers,
            verdict.keeps,
            verdict.outside,
            verdict.frozen,
            job.loss if verdict.loss_keeps else None,
        )
        threads = job.threads if verdict.flops >= POOL_FLOPS else 1
        engine = evaluator = PlainEngine(replicas, threads, verdict.alone, job.precision, job.training.seed, job.loss)
        at_once = min(engine.threads, job.workers)
    replicas.absent = dict.fromkeys(range(job.workers), verdict.absent)
    return Chosen(
        engine,
        evaluator,
        replicas,
        at_once,
        reasons,
        verdict.flops,
        verdict.moving,
        verdict.outside,
        verdict.loss_keeps,
    )


def _prove(job: Job, wanted: str | None) -> tuple[Verdict, FastRoute | None]:
    few = min(PROVED_ON, max(4, job.training.batch), len(job.test))
    parts = torch.arange(few, device=job.device)
    parts = parts.split(max(2, -(-len(parts) // 2)))

    def test(module: nn.Module, number: int) -> Tensor:
        return _one_tensor(job.calls(module, *job.test.take(parts[number])))

    found = reference(
        job.template, job.training.at_step, job.workers, test, len(parts), job.calls, job.precision, job.loss
    )
    names = _routes(job, found)
    first = wanted or names[0]
    if first not in names:
        raise SimgmcError(
            f"route {wanted!r} does not fit this model and device; possible: {', '.join(dict.fromkeys(names))}"
        )
    route, reasons = None, found.findings.all()
    if first != "plain":
        route, reasons = proven(found, _candidates(job, first, found), test)
    if route is None and wanted not in (None, "plain"):
        raise SimgmcError(f"route {wanted!r} does not fit this model: {'; '.join(reasons)}")
    verdict = Verdict(
        "plain" if route is None else route.kind, route is not None and route.channels_last, bool(found.findings.alone),
        tuple(reasons), found.keeps, found.outside, tuple(found.frozen), found.loss_keeps, found.absent, found.flops,
        found.held, _moving(job.template, found),
    )  # fmt: skip
    return verdict, route


def _same_verdict(job: Job, wanted: str | None) -> Hashable:
    """Equal for jobs of which one proof serves; None where that is not known."""
    of_module, of_loss = fingerprint(job.template.module), plain_token(vars(job.loss))
    if of_module is None or of_loss is None or not isinstance(job.test, Samples) or job.template.shared:
        return None
    test, training = job.test, job.training
    first = test.values[:PROVED_ON].cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return (
        of_module, job.calls.outputs, type(job.loss), of_loss, test.shape, test.tokens, test.labels.dtype,
        test.labels.shape[1:], first, len(test), training.batch, training.augment, training.stacks, job.workers,
        job.precision, job.threads, job.device, wanted,
    )  # fmt: skip


def _routes(job: Job, found: Reference) -> list[str]:
    """Routes that may be tried, the one to begin with first."""
    if found.findings:
        return ["plain"]
    if job.device.type == "cuda":
        return [*(["cuda graph", "cuda streams"] if job.training.stacks else []), "loop", "plain"]
    routes = ["loop", "pool"] if found.flops < POOL_FLOPS else ["pool", "loop"]
    return (["split"] if job.linear_layers() else []) + routes + ["plain"]


def _candidates(job: Job, first: str, found: Reference) -> Iterator[Callable[[], FastRoute]]:
    """Ways to compute gradients by that route, in the order in which they are tried."""
    names = [first]
    if first == "split":
        names += [name for name in _routes(job, found) if name in ("loop", "pool")][:1]
    convolutions = any(isinstance(module, nn.Conv2d) for module in job.template.module.modules())
    formats = (True, False) if convolutions and isinstance(job.test, Samples) and not found.by_memory else (False,)
    for name in names:
        for channels_last in formats:
            yield functools.partial(FastRoute, job, name, channels_last, found.held)


def _moving(template: Template, found: Reference) -> int:
    """Numbers in buffers that a pass changes."""
    before = dict(template.module.named_buffers())
    return sum(
        after.numel()
        for name, after in found.passes[0].buffers.items()
        if after.is_floating_point() and not (name in before and torch.equal(after, before[name]))
    )


def _one_tensor(output: Any) -> Tensor:
    """An output, all of its tensors in one where there are several: to compare it with another."""
    if isinstance(output, Tensor):
        return output
    tensors = [one for one in tree_leaves(output) if isinstance(one, Tensor)]
    return torch.cat([one.flatten().to(torch.float64) for one in tensors]) if tensors else torch.empty(0)


class FastRoute:
    """An engine with what it works on, and how it takes part in the proof."""

    def __init__(self, job: Job, name: str, channels_last: bool, held: int):
        """``held``: bytes of one worker's pass."""
        self._job, self.kind, self.channels_last = job, name, channels_last
        self.name = name + (", channels-last" if channels_last else "")
        workers, device = job.workers, job.device
        job.take_channels_last(channels_last)
        self.replicas = Replicas(job.template, workers, channels_last)
        if name != "split":
            for worker in range(workers):
                self.replicas.module(worker)  # made now, so that the memory they take is known
        if name == "split":
            self.engine = SplitEngine(job.linear_layers(), job.template.layout, job.threads)
            self.at_once = min(job.threads * GROUP, workers)
        elif name in ("pool", "loop"):
            self.engine = ReplicaEngine(self.replicas, name, job.threads, job.precision, job.loss)
            self.at_once = min(self.engine.threads, workers)
        else:
            self.at_once = streams(workers, held, device)
            capture = name == "cuda graph"
            self.engine = GraphEngine(
                self.replicas, job.training.at_step(0), self.at_once, job.precision, job.loss, capture=capture
            )
        self.evaluator = self.engine
        if not isinstance(self.engine, ReplicaEngine):
            evaluation = "pool" if device.type == "cpu" else "loop"
            self.evaluator = ReplicaEngine(self.replicas, evaluation, job.threads, "float32", job.loss)
        self.evaluation_threads = self.evaluator.threads

    def several(self, workers: Sequence[int], at: Tensor, step: int, out: Tensor, losses: Tensor) -> None:
        """See :class:`simgmc.workloads.gradients.proof.comparison.Route`."""
        batch = self._job.training.at_step(step)
        if isinstance(self.engine, GraphEngine):  # which computes whole rounds
            every, each = (torch.empty(self._job.workers, *one.shape[1:]).to(one) for one in (out, losses))
            self.engine.gradients(at[:1], batch, every, each)
            out.copy_(every[workers])
            losses.copy_(each[workers])
        else:
            self.engine.several(workers, at, [batch] * len(workers), out, losses)

    def evaluate(self, point: Tensor, task: Callable[[nn.Module, int], None], count: int, alone: bool) -> None:
        """See :class:`simgmc.workloads.gradients.proof.comparison.Route`."""
        with kernels("float32", self._job.device):
            if not alone:
                self.evaluator.evaluate(point, task, count)
                return
            one_by_one = lambda module, _: [task(module, number) for number in range(count)]  # noqa: E731
            self.evaluator.evaluate(point, one_by_one, 1)

    def buffers(self) -> dict[str, Tensor]:
        """See :class:`simgmc.workloads.gradients.proof.comparison.Route`."""
        return self.replicas.state_dict()

    def restore(self, buffers: dict[str, Tensor]) -> None:
        """See :class:`simgmc.workloads.gradients.proof.comparison.Route`."""
        self.replicas.load_state_dict(buffers)
