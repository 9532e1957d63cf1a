"""The worker that an algorithm's program runs on, and the base of all algorithms."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from simgmc.algorithms.effects import SERVER, Effect
from simgmc.compression.compressor import Compressor
from simgmc.core.declared import OWN, described_class, option, options_of
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness, generator
from simgmc.core.registry import Entry, Option, read_options

if typing.TYPE_CHECKING:
    from simgmc.algorithms.effects import Content
    from simgmc.compression.compressor import Vector


@dataclasses.dataclass(frozen=True)
class Epochs:
    """A period in passes of each worker over its own samples."""

    number: float

    def __str__(self) -> str:
        return f"{self.number:g} epoch{'' if self.number == 1 else 's'}"


Period = int | Epochs
"""Local steps of a round: so many, or as many as each worker's passes over its own samples take."""


@dataclasses.dataclass(frozen=True)
class PeriodOption(Option):
    """An option that holds a :data:`Period`; in passes it is written ``"1 epoch"``."""

    @property
    def words(self) -> str:
        """How it is written."""
        return f'{super().words}, or passes of each worker over its own samples, such as "1 epoch"'

    def accepts(self, value: Any) -> bool:
        """Whether it is written so."""
        return isinstance(value, Epochs) or _epochs(value) is not None or super().accepts(value)

    def read(self, value: Any) -> Any:
        """As :class:`Epochs` where it is in passes."""
        return super().read(value) if _epochs(value) is None else _epochs(value)


def _epochs(text: Any) -> Epochs | None:
    number, _, unit = text.strip().partition(" ") if isinstance(text, str) else ("", "", "")
    try:
        passes = float(number)
    except ValueError:
        return None
    return Epochs(passes) if unit.strip() in ("epoch", "epochs") and 1e-6 <= passes <= 1e6 else None


def steps_in(period: Period, per_epoch: float) -> float:
    """Local steps of a round, ``per_epoch`` of them being a pass over the data."""
    return max(1.0, period.number * per_epoch) if isinstance(period, Epochs) else period


@dataclasses.dataclass(frozen=True)
class UnequalStep:
    """A local step that not all workers make."""

    ranks: tuple[int, ...]
    """Who makes it."""
    gradients: float
    """How far it brings the training, in gradients of each worker on average."""
    last: bool
    """Whether it is the round's last."""


class Worker:
    """One worker's state, or all workers' stacked: the program cannot tell which.

    An algorithm keeps its tensors as attributes of the worker; :meth:`state` has all of them, so
    that a run can be saved between any two rounds.
    """

    params: Vector
    """Tensor ``(..., d)``: the model, in one flat vector."""
    lr: float
    """Learning rate of this step: that of the last gradient, or of the round's start before its first."""
    previous_lr: float
    """Learning rate of the last step before this round (of this round's start, in the first)."""
    gradients_left: float
    """Gradients of each worker until the training ends; infinite where its length is not stated in gradients."""
    weight_decay: float | Vector
    """Coefficient of the L2 term; a tensor (d,) where parameters have their own, or get no gradient."""
    without_gradient: Vector | None
    """Tensor (..., d), true where the latest gradient was none, so that a step leaves the parameter alone."""
    rates: Vector | None
    """Tensor (d,): factors on the learning rate, where parameters have their own, for optimizers."""
    clip_norm: float
    """What an optimizer clips the norm of its gradients to before it adds weight decay; 0: it does not."""
    round: int
    """Rounds finished so far."""
    epoch: float
    """Passes over the training data so far."""
    workers: int
    """How many workers there are."""
    layout: Layout
    """Where the model's tensors lie in the vector."""
    neighbours: tuple[int, ...]
    """Whom this worker can send to in this round, or exchange messages with (one worker's run only)."""
    sources: tuple[int, ...]
    """Who may send to this worker in this round: those whose neighbour it is (one worker's run only)."""
    components: int
    """Where losses are means of a finite number of components: how many the worker's own has, the
    same for all workers; on the server those of all workers together."""

    if typing.TYPE_CHECKING:  # a method's own tensors are attributes of their own

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...

    _CONTEXT = frozenset(
        {
            "lr",
            "previous_lr",
            "gradients_left",
            "weight_decay",
            "without_gradient",
            "rates",
            "clip_norm",
            "round",
            "epoch",
            "workers",
            "layout",
            "neighbours",
            "sources",
            "components",
        }
    )

    def __init__(self, params: Vector, layout: Layout, seed: int, ranks: Sequence[int], workers: int):
        self.params = params
        self.layout = layout
        self.workers = workers
        self.neighbours = ()
        self.sources = ()
        self.components = 0
        self.gradients_left = math.inf
        self.rates = None
        self.without_gradient = None
        self.clip_norm = 0.0
        self._seed = seed
        self._ranks = ranks
        self._calls = 0
        self._applied: list[int] = []
        self._passes: Sequence[float] = ()
        self._per_epoch = math.nan
        self._put_back: Callable[[object, object, list[int]], object] = lambda now, before, ranks: now
        self._unequal_step: UnequalStep | None = None

    @property
    def rank(self) -> int:
        """This worker's number (one worker's run only); the server's is :data:`~simgmc.costs.steps.SERVER`."""
        (rank,) = self._ranks
        return rank if rank < self.workers else SERVER

    def applied(self, staleness: int) -> None:
        """Note that a gradient was applied to a model that others had changed so many times
        since it was read (or that a message was added so many rounds late, see :attr:`Algorithm.stale`)."""
        self._applied.append(staleness)

    def take_staleness(self) -> tuple[int, ...]:
        """What :meth:`applied` has noted since this was last asked for."""
        noted, self._applied = tuple(self._applied), []
        return noted

    def begin(self, round: int, epoch: float, lr: float, previous_lr: float, weight_decay: float | Vector) -> None:
        """Set the context of the round about to run."""
        self.round, self.epoch = round, epoch
        self.lr, self.previous_lr, self.weight_decay = lr, previous_lr, weight_decay
        self.without_gradient = None
        self._calls = 0

    def skipped(self, gradient: Vector) -> Vector | None:
        """Tensor ``(..., d)``, true where a step along this gradient leaves parameters alone; None if nowhere.

        A step that all workers share leaves alone what no worker has a gradient of.
        """
        where = self.without_gradient
        if where is not None and where.ndim > 1 and len(where) > len(gradient):
            where = where.all(dim=0, keepdim=True)
        return where

    def stepped(self, before: Vector, after: Vector) -> Vector:
        """Tensor ``(..., d)``: what a step makes of parameters or a buffer; as before where it leaves them alone."""
        where = self.skipped(after)
        return after if where is None else before.where(where, after)

    def steps_left(self, steps: int) -> int:
        """So many local steps of a round, or as many of them as the training still has: its last round is cut short."""
        return int(min(steps, self.gradients_left)) if self.gradients_left > 0 else steps

    @property
    def unequal_step(self) -> UnequalStep | None:
        """The local step under way, where not all workers make it."""
        return self._unequal_step

    def hold_samples(
        self, passes: Sequence[float], per_epoch: float, put_back: Callable[[object, object, list[int]], object]
    ) -> None:
        """Tell how many gradients are a pass of each worker over its own samples, and of all over the data.

        ``put_back(now, before, ranks)``: a stacked vector with these workers' rows as they were.
        """
        self._passes, self._per_epoch, self._put_back = passes, per_epoch, put_back

    def local_steps(self, period: Period) -> Iterator[int]:
        """The local steps of a round, one by one; the last round of a training is cut short.

        Where workers make unequally many, as each goes through its own samples, who has made its own stays as it is.
        """
        if not isinstance(period, Epochs):
            yield from range(self.steps_left(period))
            return
        if not self._passes:
            raise SimgmcError(f'period = "{period}" needs workers that run all at once; state it in steps')
        passes = period.number
        counts = [max(1, round(passes * one)) for one in self._passes]
        if len(set(counts)) == 1:
            yield from range(self.steps_left(counts[0]))
            return
        if math.isfinite(self.gradients_left):
            passes = min(passes, self.gradients_left / self._per_epoch)
            counts = [max(1, round(passes * one)) for one in self._passes]
        for step in range(max(counts)):
            there = [rank for rank, count in enumerate(counts) if step < count]
            self._unequal_step = UnequalStep(
                tuple(there), passes * self._per_epoch / max(counts), step + 1 == max(counts)
            )
            done = [rank for rank, count in enumerate(counts) if step >= count]
            before = self.state()
            yield step
            for name, value in self.state().items() if done else ():
                setattr(self, name, self._put_back(value, before.get(name, value), done))
        self._unequal_step = None

    def zeros(self) -> Vector:
        """A zero vector like the parameters: where every residual and momentum starts."""
        return self.params * 0

    def randomness(self) -> Randomness:
        """Randomness for the next compression of this round."""
        self._calls += 1
        return Randomness(self._seed, self.round, self._calls, self._ranks)

    def draws(self, purpose: str) -> np.random.Generator:
        """This worker's own random numbers for one purpose in this round, the same at every call
        (one worker's run only)."""
        return generator(self._seed, purpose, self.round, *self._ranks)

    def server_randomness(self) -> Randomness:
        """Randomness for what a server compresses: the same draws on every worker.

        Without a server every worker computes the server's part, and must get the same.
        """
        self._calls += 1
        return Randomness(self._seed, self.round, self._calls, (self.workers,))

    def state(self) -> dict[str, Any]:
        """The named tensors that make up the worker between rounds."""
        return {
            name: value for name, value in vars(self).items() if not name.startswith("_") and name not in self._CONTEXT
        }

    _KEPT = ("round", "epoch", "lr", "previous_lr", "neighbours", "sources")

    def snapshot(self) -> dict[str, Any]:
        """The worker as it stands in a round, for :meth:`restore`.

        Lists and dicts are copied; tensors are not, as programs make new ones.
        """
        state = {name: _own(value) for name, value in self.state().items()}
        return {"state": state, "context": [getattr(self, name) for name in self._KEPT], "calls": self._calls}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        for name in set(self.state()) - set(snapshot["state"]):
            delattr(self, name)
        for name, value in snapshot["state"].items():
            setattr(self, name, _own(value))
        for name, value in zip(self._KEPT, snapshot["context"], strict=True):
            setattr(self, name, tuple(value) if name in ("neighbours", "sources") else value)
        self._calls = snapshot["calls"]


def _own(value: Any) -> Any:
    """A container of one's own."""
    return copy.copy(value) if isinstance(value, (list, dict)) else value


Program = Generator[Effect, Any, None]
"""One round of one worker: yields effects, receives their answers."""


class CompressorOption(Option):
    """An option that holds a compressor, in a scenario by name."""

    words = 'a compressor: see `simgmc list compressors`, or "module:Name" of one\'s own'

    def accepts(self, value: Any) -> bool:
        """Whether there is one: a scenario is checked before compressors are built."""
        return value is not None


MixingKind = Literal["none", "doubly-stochastic", "symmetric", "push-sum"]


def momentum() -> Any:
    """The field ``momentum``."""
    return option("factor of the momentum; the optimizer's unless given", 0.9, at_least=0, below=1)


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A method of distributed training, written as one worker's program.

    Subclasses are frozen dataclasses: their fields, each an :func:`option`, are the method's parameters.
    Programs act on the last dimension only and keep all state on the worker.
    """

    source: ClassVar[str] = OWN
    """Paper and equation or algorithm number."""
    summable: ClassVar[bool] = True
    """Whether the messages of a method without a compressor can be added in flight."""
    mixing: ClassVar[MixingKind] = "none"
    """What a gossip method needs its mixing matrices to be. "symmetric": the same in every round
    too. "push-sum": column-stochastic. "none": it does not mix."""
    centralised: ClassVar[bool] = False
    """Whether the model that counts is the server's (only of asynchronous methods)."""
    finite_sum: ClassVar[bool] = False
    """Whether it needs a loss that is a finite sum of fixed parts (:attr:`Worker.components`)."""
    exchange: ClassVar[Literal["pairwise", "asynchronous gossip"]] = "pairwise"
    """How workers without a server exchange what they have, of an asynchronous method."""
    neighbours_weigh: ClassVar[str] = "in pairs, half of each"
    """What an asynchronous method makes of what comes from its neighbours, for the header: it reads no weights."""
    stale: ClassVar[Literal["gradients", "messages"]] = "gradients"
    """What has a staleness: gradients, in updates of the model since they were computed, or
    messages, in rounds of the receiver after the one that they were sent in."""
    needs_everybody: ClassVar[str] = ""
    """Why no worker can be left out of a round, in a few words; empty where one can."""
    one_by_one: ClassVar[bool] = False
    """Of a method of one's own: that every worker's program runs by itself, as it decides by numbers. Else it is found
    out, see :mod:`simgmc.training.one_by_one`."""
    own_update: ClassVar[str] = "its update is written in its program"
    """Why no optimizer but SGD with a momentum goes with it, in a few words; empty where others do
    (see :class:`~simgmc.algorithms.optimizers.method.WithOptimizer`)."""
    steps_on: ClassVar[Literal["own", "mean"]] = "own"
    """Along what an optimizer of it steps: each worker's own gradient, or the mean of what workers send."""
    asynchronous: ClassVar[bool] = False
    """Whether the order in which things happen is part of the method: the simulated clock
    then drives the training, one program a worker."""

    def __post_init__(self) -> None:
        options = {name: option for name, option in self.options().items() if option.summary}
        read_options(options, {name: getattr(self, name) for name in options})

    @classmethod
    @functools.cache
    def options(cls) -> Mapping[str, Option]:
        """The fields as a scenario may set them; a momentum that it leaves out is the optimizer's."""
        options = options_of(cls, _special)
        if "momentum" in options:
            options["momentum"] = dataclasses.replace(options["momentum"], default=None)
        if cls.own_update:
            options.pop("optimizer", None)
        return options

    @classmethod
    def entry(cls, name: str) -> Entry:
        """The line of ``simgmc list`` on the method that is registered under that name."""
        summary, details = described_class(cls)
        if cls.own_update:
            details += f"\n\nTakes no optimizer but SGD with a momentum or none: {cls.own_update}."
        return Entry(name, summary, cls.source, cls.options(), details=details.strip())

    @property
    def decays_vectors(self) -> bool:
        """Whether tensors of one dimension have weight decay where no group of parameters says so."""
        return True

    @property
    def skips(self) -> Literal["own", "mean"]:
        """Whose gradients have to be none for a step to leave a parameter alone: the worker's own, or everybody's."""
        return "mean" if self.mixing == "none" else "own"

    @property
    def same_coordinates(self) -> bool:
        """Whether its compressors must select the same coordinates on all workers."""
        return False

    def start(self, worker: Worker) -> None:
        """Give the worker the state that the first round finds."""

    def round(self, worker: Worker) -> Program:
        """One round of one worker."""
        raise TypeError(f"{type(self).__name__} has no round")

    def gradients(self, rounds: int, per_epoch: float) -> int:
        """How many gradients a worker computes in so many rounds, ``per_epoch`` of them being a pass over the data."""
        return rounds

    def changes(self, per_epoch: float) -> tuple[int, ...]:
        """Rounds, ascending, from which on messages are of another kind: a warm-up is over, a density falls.

        ``per_epoch`` rounds are a pass over the data. For the header and for what is predicted of a run.
        """
        return ()

    def start_server(self, server: Worker) -> None:
        """Give the server the state that the first request finds (``params`` is there)."""

    def serve(self, asked: Worker, asker: int, message: Vector) -> list[tuple[int, Content]]:
        """What a worker or the server does when an :class:`~simgmc.algorithms.effects.Request` arrives.

        ``message``: its content, a tensor ``(..., d)``. Returns replies as pairs (rank, message
        or tensor): to the asker, to others whose requests were held back, or none yet. The
        server's ``lr``, ``epoch`` and ``round`` (requests it has served) are those of this moment.
        """
        raise TypeError(f"{type(self).__name__} answers no requests")

    def partners(self, graph: Sequence[tuple[int, ...]]) -> Sequence[tuple[int, ...]]:
        """Each worker's :attr:`Worker.neighbours`, given everybody's neighbours in the graph."""
        return graph

    def model(self, worker: Worker) -> Vector:
        """Tensor ``(..., d)``: the point at which the method is evaluated; its mean over workers counts."""
        return worker.params

    def other_models(self, worker: Worker) -> dict[str, Vector]:
        """Further points worth evaluating, by name."""
        return {}

    def metrics(self, worker: Worker) -> dict[str, float]:
        """Numbers since the start that an evaluation reports as their sum over workers, by name."""
        return {}


def _special(hint: Any, stated: Mapping[str, Any]) -> Option | None:
    """The option of a field that is annotated as a compressor or an optimizer."""
    if hasattr(hint, "as_option"):
        return hint.as_option(**stated)
    if hint == Period:
        return PeriodOption(kind=int, **stated)
    return CompressorOption(kind=None, **stated) if hint is Compressor else None
