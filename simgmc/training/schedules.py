"""Learning-rate schedules: the factor on the base rate as a function of training progress."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from simgmc.core.declared import Declared, Tables, declared
from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.own_code.errors import guarded
from simgmc.core.own_code.imports import find
from simgmc.core.registry import Entry, ImportPath, Option, OptionError, Registry


@dataclass(frozen=True)
class _Milestones(Option):
    """A list of epochs; whole numbers are read as real ones."""

    def read(self, value: Any) -> tuple[float, ...]:
        return tuple(map(float, super().read(value)))


def _factor(summary: str, default: float, **limits: Any) -> Any:
    return declared(Option(summary, float, default, **limits))


_SHAPES = ("constant", "linear", "cosine", "polynomial", "1-sqrt", "multi-step")
_MANY = 1e12


@dataclass(frozen=True)
class Phase(Declared):
    """One part of a schedule, from the factor ``start`` to the factor ``end``; u goes from 0 to 1 in it.

    ``linear``: ``start + (end - start) u``; ``cosine``: ``end + (start - end) (1 + cos(pi u)) / 2``;
    ``polynomial``: ``end + (start - end) (1 - u) ** power``; ``1-sqrt``: ``end + (start - end) (1 - sqrt(u))``;
    ``multi-step``: ``start`` times ``gamma`` at each milestone, in epochs since the phase began.
    """

    kind: str = declared(Option("how the rate goes", str, "constant", _SHAPES))
    epochs: float | None = declared(Option("its length in epochs", float, None, above=0, at_most=_MANY))
    steps: int | None = declared(Option("its length in minibatches of a worker", int, None, at_most=10**12))
    share: float | None = declared(Option("its length as a share of the training", float, None, above=0, at_most=1))
    start: float | None = declared(
        Option("factor at its begin; unless given that at the end of the phase before, else 1", float, None, at_least=0)
    )
    end: float | None = declared(
        Option("factor at its end; unless given that at its begin, 0 for those that fall", float, None, at_least=0)
    )
    power: float = _factor("exponent of the polynomial", 1.0, above=0, at_most=1000)
    milestones: tuple[float, ...] = declared(_Milestones("epochs", list[float], (), above=0, at_most=_MANY))
    gamma: float = _factor("factor at each milestone", 0.1, above=0, at_most=1000)

    def check_fields(self) -> None:
        """One length at most; milestones are those of one kind; what does not move has no end of its own."""
        if sum(one is not None for one in (self.epochs, self.steps, self.share)) > 1:
            raise SimgmcError("a phase has one length: epochs, steps or share")
        _check_milestones(self.kind, self.milestones)
        if self.end is not None and self.kind in ("constant", "multi-step"):
            raise OptionError("", "end", self.end, f"{self.kind} has no end of its own; leave it out")

    def length(self, epochs: float, per_epoch: float) -> float | None:
        """In epochs, of a training of ``epochs`` epochs with ``per_epoch`` gradients of a worker each."""
        if self.share is not None:
            return self.share * epochs
        return self.steps / per_epoch if self.steps is not None else self.epochs

    def stretched(self, times: float) -> Phase:
        """The phase of a training that is so many times as long."""
        return replace(
            self,
            epochs=self.epochs and self.epochs * times,
            steps=self.steps and max(1, round(self.steps * times)),
            milestones=tuple(times * one for one in self.milestones),
        )

    def factor(self, start: float, into: float, length: float) -> float:
        """The factor so many epochs into it, having begun at ``start``."""
        end, u = self.target(start), min(1.0, into / length) if length > 0 else 1.0
        if self.kind == "linear":
            return start + (end - start) * u
        if self.kind == "cosine":
            return end + (start - end) * (1 + math.cos(math.pi * u)) / 2
        if self.kind == "polynomial":
            return end + (start - end) * (1 - u) ** self.power
        if self.kind == "1-sqrt":
            return end + (start - end) * (1 - math.sqrt(u))
        return start * self.gamma ** sum(into >= one for one in self.milestones)

    def target(self, start: float) -> float:
        """The factor that it moves to."""
        falls = self.kind in ("linear", "cosine", "polynomial", "1-sqrt")
        return self.end if self.end is not None else 0.0 if falls else start


_KINDS = {
    "constant": ("the rate as it is", "-", ()),
    "cosine": (
        "(1 + cos(pi e / epochs)) / 2, or down to a floor, without restarts",
        "GMC paper, section 5",
        ("floor",),
    ),
    "multi-step": ("times gamma at each milestone", "textbook", ("milestones", "gamma")),
    "polynomial": ("(1 - e / epochs) ** power, or down to a floor", "textbook", ("power", "floor")),
    "wsd": (
        "warm-up, stable, decay: constant, and over the last part linear to the floor",
        "Hu et al. 2024, MiniCPM",
        ("decay_share", "floor"),
    ),
    "phases": ("any composition of parts, one after the other", "-", ("phases",)),
    "import": ("a function of one's own, by import path", "-", ("function",)),
}
"""What each kind is, where it comes from, and the options that it has beside those that all have."""
_SHARED = ("per", "warmup_epochs", "warmup_steps", "warmup_from")


@dataclass(frozen=True)
class LearningRateSchedule(Declared):
    """The learning rate over a run of ``epochs`` epochs.

    ``cosine`` is ``(1 + cos(pi e / epochs)) / 2`` without restarts (GMC paper, section 5); ``polynomial`` is
    ``(1 - e / epochs) ** power``; both fall to ``floor`` instead of 0 where it is given, ``floor + (1 - floor) f``.
    ``multi-step`` multiplies by ``gamma`` at each milestone. ``wsd`` (warm-up, stable, decay) is constant until the
    last ``decay_share`` of the training, over which it falls linearly to ``floor``. Over the first
    ``warmup_epochs`` or ``warmup_steps`` the rate rises linearly, round by round, from ``warmup_from`` times its
    value (Goyal et al. 2017). ``phases``, one after the other, are any composition; the one without a length fills
    what the others leave, and after the last the rate stays as it is. ``import`` is a function of one's own,
    ``function(step, steps)``: the factor before a gradient, given how many minibatches a worker has taken and how
    many it will.
    """

    kind: str = declared(
        Option(
            "how it goes on", str, "constant",
            tuple(_KINDS),
        )
    )  # fmt: skip
    milestones: tuple[float, ...] = declared(_Milestones("epochs", list[float], (), above=0, at_most=_MANY))
    gamma: float = _factor("factor at each milestone", 0.1, above=0, at_most=1000)
    power: float = _factor("exponent of the polynomial", 1.0, above=0, at_most=1000)
    per: str | None = declared(
        Option(
            "whether the rate is constant within an epoch (e is rounded down), as in the papers, or not; unless given "
            'it is, but for "wsd", "phases" and "import"',
            str, None, ("epoch", "round"),
        )
    )  # fmt: skip
    warmup_epochs: float = _factor("epochs over which the rate rises at the start", 0.0, at_least=0, at_most=_MANY)
    warmup_from: float = _factor("share of the rate that it rises from", 0.1, at_least=0, at_most=1)
    warmup_steps: int | None = declared(
        Option("minibatches of a worker over which the rate rises at the start", int, None, at_most=10**12)
    )
    floor: float = _factor("factor that a cosine, a polynomial or wsd falls to", 0.0, at_least=0, at_most=1)
    decay_share: float = _factor("share of the training over which wsd falls", 0.1, above=0, at_most=1)
    phases: tuple[Phase, ...] = declared(Tables("parts of the schedule, in order", default=(), entries=Phase))
    function: str | None = declared(
        ImportPath('gives the factor, of one\'s own; schedule = "my_schedule:function" says it all', default=None)
    )

    def check_fields(self) -> None:
        """Milestones and phases are those of one kind; there is one warm-up, and one phase that fills the rest."""
        _check_milestones(self.kind, self.milestones)
        if (self.kind == "phases") != bool(self.phases):
            raise OptionError("", "phases", len(self.phases), "the kind phases needs some; no other kind takes them")
        if (self.kind == "import") != (self.function is not None):
            raise OptionError("", "function", self.function, "the kind import needs one; no other kind takes it")
        if self.warmup_steps and self.warmup_epochs:
            raise OptionError("", "warmup_steps", self.warmup_steps, "the warm-up is stated in epochs already")
        if self.phases and (self.warmup_steps or self.warmup_epochs):
            raise SimgmcError("phases: their warm-up is a phase of its own, such as { kind = \"linear\", start = 0, "
                              "end = 1, steps = 100 }")  # fmt: skip
        if sum(one.length(1.0, 1.0) is None for one in self.phases) > 1:
            raise SimgmcError("phases: one of them at most can be without a length, to fill what the others leave")

    @property
    def by_epoch(self) -> bool:
        """Whether the rate is constant within an epoch, but for the warm-up."""
        return self.per == "epoch" or (self.per is None and self.kind not in ("wsd", "phases", "import"))

    def stretched(self, times: float) -> LearningRateSchedule:
        """The schedule of a run that is so many times as long."""
        return replace(
            self,
            milestones=tuple(times * one for one in self.milestones),
            warmup_epochs=times * self.warmup_epochs,
            warmup_steps=self.warmup_steps and max(1, round(times * self.warmup_steps)),
            phases=tuple(one.stretched(times) for one in self.phases),
        )

    def factor(self, epoch: float, epochs: float, per_epoch: float = 1.0) -> float:
        """Factor on the base learning rate at ``epoch`` (a real number) of ``epochs``, of ``per_epoch`` gradients of a
        worker each."""
        # Rounds per epoch need not be whole: a round that starts within rounding
        # error of a boundary belongs to the epoch that begins there.
        at = math.floor(epoch + 1e-9) if self.by_epoch else epoch
        if self.kind == "cosine":
            factor = self._above_floor((1 + math.cos(math.pi * min(at / epochs, 1.0))) / 2)
        elif self.kind == "polynomial":
            factor = self._above_floor(max(0.0, 1 - at / epochs) ** self.power)
        elif self.kind == "multi-step":
            factor = math.prod([self.gamma] * sum(at >= milestone for milestone in self.milestones), start=1.0)
        elif self.kind == "wsd":
            factor = self._above_floor(min(1.0, max(0.0, 1 - at / epochs) / self.decay_share))
        elif self.kind == "phases":
            factor = self._in_phases(at, epochs, per_epoch)
        elif self.kind == "import":
            factor = self._by_function(round(at * per_epoch), round(epochs * per_epoch))
        else:
            factor = 1.0
        warmup = self.warmup_epochs if self.warmup_steps is None else self.warmup_steps / per_epoch
        if epoch < warmup:
            factor *= self.warmup_from + (1 - self.warmup_from) * epoch / warmup
        return factor

    def _by_function(self, step: int, steps: int) -> float:
        what = f"schedule {self.function}"
        found = guarded(what, f"its factor at step {step} of {steps}", lambda: self.own_function(step, steps))
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found < math.inf:
            raise SimgmcError(
                f"{what}: gives {show_value(found)} at step {step} of {steps}: needs a number of at least 0"
            )
        return float(found)

    @functools.cached_property
    def own_function(self) -> Callable[[int, int], float]:
        """The user's, of the kind import."""
        assert self.function is not None
        return find(f"schedule {self.function}", self.function)

    def _above_floor(self, factor: float) -> float:
        return self.floor + (1 - self.floor) * factor if self.floor else factor

    def _in_phases(self, at: float, epochs: float, per_epoch: float) -> float:
        begin, factor = 0.0, 1.0
        for phase, length in self._lengths(epochs, per_epoch):
            start = factor if phase.start is None else phase.start
            if at < begin + length - 1e-9:
                return phase.factor(start, max(0.0, at - begin), length)
            begin, factor = begin + length, phase.factor(start, length, length)
        return factor

    def _lengths(self, epochs: float, per_epoch: float) -> Iterator[tuple[Phase, float]]:
        lengths = [one.length(epochs, per_epoch) for one in self.phases]
        rest = max(0.0, epochs - sum(one for one in lengths if one is not None))
        return zip(self.phases, (rest if one is None else one for one in lengths), strict=True)


def _check_milestones(kind: str, milestones: tuple[float, ...]) -> None:
    if (kind == "multi-step") != bool(milestones):
        raise OptionError(
            "",
            "milestones",
            list(milestones),
            "multi-step needs milestones, in epochs, and no other kind takes them",
        )


def schedules() -> Registry[Entry]:
    """The kinds of schedules as ``simgmc list`` shows them."""
    options = LearningRateSchedule.options()
    made = []
    for name, (summary, source, own) in _KINDS.items():
        shared = _SHARED if name != "phases" else ("per",)  # their warm-up is a phase of its own
        made.append(Entry(name, summary, source, {key: options[key] for key in (*own, *shared)}))
    return Registry("schedule", made, listed="schedules")
