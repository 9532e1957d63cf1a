"""A method in one's own training loop: plain DDP, its gradients compressed, averaged and turned into the method's step.

    model = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    MethodHook(model, optimizer, "gmc", compressor={"name": "top-k", "density": 0.01}).register()

A method's round is its program, the same as in the simulation: it asks for one gradient and for averages, and what it
has changed its parameters by, over the learning rate, is what DDP takes for the mean gradient. So SGD without a
momentum of its own makes exactly the method's step, whatever memory (momentum, residual) the method keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from simgmc.algorithms import ALGORITHMS, effects
from simgmc.algorithms.algorithm import Algorithm, CompressorOption
from simgmc.algorithms.worker import Worker
from simgmc.compression import build
from simgmc.compression.identity import Identity
from simgmc.compression.message import Message
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.registry import REQUIRED
from simgmc.distributed.carriers import Carriers, Task
from simgmc.distributed.group import Group, Lost, Wire

_DENSE = Identity(values="fp32")


class MethodHook:
    """A communication hook that makes a method's rounds of a DDP model's backward passes."""

    def __init__(
        self,
        model: DistributedDataParallel,
        optimizer: torch.optim.SGD,
        method: str,
        *,
        weight_decay: float = 0.0,
        seed: int = 0,
        group: dist.ProcessGroup | None = None,
        **options: Any,
    ):
        """
        Args:
            optimizer: plain SGD, whose learning rate is the method's; the method has the momentum and the memory.
            method: as in a scenario, of those that take one gradient a round and send what follows from it.
            weight_decay: added to each worker's own gradient, as in the simulation.
            seed: of compressors that draw.
            group: of the model's processes; the default one unless given.
            options: the method's, as in a scenario: ``compressor={"name": "top-k", "density": 0.01}``.

        Raises:
            SimgmcError: an option that is not valid, a method that is more than a gradient's way, or an optimizer that
                would make another step of it.
        """
        self._model, self._optimizer = model, optimizer
        named = [(name, one) for name, one in model.module.named_parameters() if one.requires_grad]
        self._places: dict[int, int] = {}
        self._layout = Layout(tuple(name for name, _ in named), tuple(tuple(one.shape) for _, one in named))
        for (_, parameter), offset in zip(named, self._layout.offsets):
            self._places[id(parameter)] = offset
        self._parameters = [parameter for _, parameter in named]
        self.algorithm, self.method, self.weight_decay = _algorithm(method, self._layout, options), method, weight_decay
        self._check_optimizer()
        self._check_fits()
        rank, size = dist.get_rank(group), dist.get_world_size(group)
        like = self._parameters[0]
        joined = cast(Group, _Joined(rank, size))
        self._wire = Wire(group or dist.group.WORLD, like.device, Lost(rank))
        self._carriers = Carriers(joined, size, "ring", False, ())
        self.worker = Worker(like.new_zeros((1, self._layout.d)), self._layout, seed, [rank], size)
        self.algorithm.start(self.worker)
        self.rounds = 0
        self.epoch = 0.0
        """Passes over the data so far, for schedules over epochs (a density's warm-up); one's own loop sets it."""
        self._last_lr: float | None = None
        self._waiting: list[tuple[dist.GradBucket, Future[Tensor]]] = []

    def register(self) -> MethodHook:
        """Let the model use it; returns itself."""
        self._model.register_comm_hook(None, self.reduce)
        return self

    def reduce(self, state, bucket):  # DDP reads annotations, and takes its own or none
        """What DDP calls for each bucket of gradients; the round is made when the last is there."""
        future: Future[Tensor] = Future()
        self._waiting.append((bucket, future))
        if bucket.is_last():
            waiting, self._waiting = self._waiting, []
            own = self.worker.params.new_empty(self._layout.d)
            for one, _ in waiting:
                for parameter, gradient in zip(one.parameters(), one.gradients()):
                    at = self._places[id(parameter)]
                    own[at : at + gradient.numel()] = gradient.reshape(-1)
            step = self.step(own)
            for one, answer in waiting:
                for parameter, gradient in zip(one.parameters(), one.gradients()):
                    at = self._places[id(parameter)]
                    gradient.copy_(step[at : at + gradient.numel()].view_as(gradient))
                answer.set_result(one.buffer())
        return future

    def step(self, gradient: Tensor) -> Tensor:
        """One round: from this worker's gradient ``(d,)`` to what SGD subtracts, times its rate, ``(d,)``."""
        if self.weight_decay:
            flat = torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters])
            gradient = gradient + self.weight_decay * flat
        lr = self._rate()
        self.worker.begin(self.rounds, self.epoch, lr, self._last_lr or lr, 0.0)
        step = _round(self.algorithm, self.worker, gradient[None], self._average, self._maximum)
        self.rounds, self._last_lr = self.rounds + 1, lr
        return step[0]

    def state_dict(self) -> dict[str, Any]:
        """What the method remembers on this rank, for a checkpoint."""
        kept = {name: value for name, value in self.worker.state().items() if name != "params"}
        return {"worker": kept, "rounds": self.rounds, "last_lr": self._last_lr}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        for name, value in state["worker"].items():
            setattr(self.worker, name, value)
        self.rounds, self._last_lr = state["rounds"], state["last_lr"]

    # inside ---------------------------------------------------------------------------------

    def _rate(self) -> float:
        rates = {float(group["lr"]) for group in self._optimizer.param_groups}
        if len(rates) > 1:
            raise SimgmcError(
                f"the optimizer has learning rates {sorted(rates)}: {self.method} has one for all parameters"
            )
        (rate,) = rates
        if not rate > 0:
            raise SimgmcError(f"the optimizer's learning rate is {rate}: with DDP a method needs one above 0")
        return rate

    def _check_optimizer(self) -> None:
        groups = self._optimizer.param_groups
        plain = isinstance(self._optimizer, torch.optim.SGD) and not any(
            group.get(key)
            for group in groups
            for key in ("momentum", "weight_decay", "nesterov", "maximize", "dampening")
        )
        if not plain:
            raise SimgmcError(
                f"{self.method} makes its own step: the optimizer must be torch.optim.SGD(parameters, lr=...) without "
                "momentum or weight decay; give momentum=... and weight_decay=... to MethodHook"
            )

    def _check_fits(self) -> None:
        """Trial rounds of a made-up gradient, early and late, from two points: what is more shows."""
        like, steps = self._parameters[0], []
        gradient = torch.linspace(-1.0, 1.0, self._layout.d, dtype=like.dtype, device=like.device)[None]
        for at in (0.0, 1.0):
            worker = Worker(torch.full_like(gradient, at), self._layout, 0, [0], 1)
            self.algorithm.start(worker)
            try:
                for number, epoch in enumerate((0.0, 1e6)):
                    worker.begin(number, epoch, 0.5, 0.5, 0.0)
                    steps.append(_round(self.algorithm, worker, gradient, _alone, _largest_alone, at))
            except _DoesNotFit as error:
                raise SimgmcError(f"{self.method} is no communication hook: {error}") from None
        if not all(torch.allclose(*pair, rtol=1e-3, atol=1e-4) for pair in zip(steps[:2], steps[2:])):
            raise SimgmcError(
                f"{self.method} is no communication hook: its step follows from the parameters too, not from gradients "
                "alone"
            )

    def _average(self, message: Message, reply: Any, calls: int) -> Tensor:
        worker = self.worker

        def replied(mean: Message) -> Message:
            answer = reply(mean.dense())
            return _DENSE(answer, worker.randomness()) if isinstance(answer, Tensor) else answer

        task = Task(
            message=message,
            combine=lambda messages: messages.mean(),
            mean=True,
            shares=None,
            reply=None if reply is None else replied,
            calls=lambda: worker._calls,
            skip=lambda count: setattr(worker, "_calls", worker._calls + count),
        )
        return self._carriers.of(task).carry(self._wire, task).answer.dense()

    def _maximum(self, numbers: Tensor) -> Tensor:
        largest = numbers.clone()
        dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=self._wire._group)
        return largest


class _DoesNotFit(SimgmcError):
    """A round asks for more than a hook can give."""


class _Joined:
    """What carriers that add on every rank ask of a group."""

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size


def _round(
    algorithm: Algorithm,
    worker: Worker,
    gradient: Tensor,
    average: Any,
    maximum: Any,
    at: float = 0.0,
) -> Tensor:
    """Run a method's round from parameters that are all ``at``; (1, d): how far they have gone, over the rate."""
    worker.params = torch.full_like(gradient, at)
    start = worker.params
    program, answer, taken = algorithm.round(worker), None, False
    while True:
        try:
            effect = program.send(answer)
        except StopIteration:
            break
        match effect:
            case effects.Gradient(at=point, component=component):
                if taken:
                    raise _DoesNotFit("it takes more than one gradient a round")
                if point is not start or component is not None:
                    raise _DoesNotFit("it takes its gradient elsewhere than at the parameters")
                answer, taken = gradient, True
            case effects.Average(message=content, reply=reply):
                message = _DENSE(content, worker.randomness()) if isinstance(content, Tensor) else content
                answer = average(message, reply, worker._calls)
            case effects.Maximum(numbers=numbers):
                answer = maximum(numbers)
            case _:
                raise _DoesNotFit(f"it asks for {type(effect).__name__.lower()}, which is no average of all")
    return (start - worker.params) / worker.lr


def _alone(message: Message, reply: Any, calls: int) -> Tensor:
    mean = message.mean().dense()
    answer = mean if reply is None else reply(mean)
    return answer if isinstance(answer, Tensor) else answer.dense()


def _largest_alone(numbers: Tensor) -> Tensor:
    return numbers


def _algorithm(method: str, layout: Layout, options: Mapping[str, Any]) -> Algorithm:
    kind = ALGORITHMS[method]
    if kind.asynchronous or kind.mixing != "none":
        raise SimgmcError(f"{method} is no communication hook: it does not average over all workers")
    known = kind.options()
    for name in options:
        if name not in known:
            raise SimgmcError(f"{method} has no option {name!r}; it has {', '.join(known) or 'none'}")
    given = {}
    for name, chosen in known.items():
        if name in options and not isinstance(chosen, CompressorOption):
            given[name] = chosen.read(options[name])
        elif isinstance(chosen, CompressorOption):
            value = options.get(name, chosen.default)
            if value is None:  # the method has its own
                continue
            if value is REQUIRED:
                raise SimgmcError(f"{method} needs {name}, such as {name}={{'name': 'top-k', 'density': 0.01}}")
            table = {"name": value} if isinstance(value, str) else dict(value)
            given[name] = build(table.pop("name"), layout, **table)
    return kind(**given)
