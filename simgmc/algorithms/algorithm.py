"""What an algorithm is: the base of all, and the options that it may have."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from simgmc.algorithms.effects import Effect
from simgmc.algorithms.worker import Period, PeriodOption, Worker
from simgmc.compression.compressor import Compressor
from simgmc.core.declared import OWN, described_class, option, options_of
from simgmc.core.registry import Entry, Option, read_options

if typing.TYPE_CHECKING:
    from simgmc.algorithms.effects import Content
    from simgmc.compression.compressor import Vector

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
    """Whether it needs a loss that is a finite sum of fixed parts (:attr:`.Worker.components`)."""
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
        """Each worker's :attr:`.Worker.neighbours`, given everybody's neighbours in the graph."""
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
