"""Progress of a run: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column

from simgmc.core.quantities import number, time_text
from simgmc.core.terminal import in_encoding
from simgmc.experiment.tracking.tracking import Tracking
from simgmc.experiment.training import Training
from simgmc.experiment.under_way.evaluations import Outcome, State

_BAR, _LEFT = 12, 14
"""Columns of the bar and of the time left; the title and what is known of the training share the rest."""
_TITLE = 24
"""Columns that a title has before the state loses a part."""
LINE_SECONDS = 10.0
"""Off a terminal, how often a training that is under way prints a line."""


@dataclass
class _UnderWay:
    """What is known of a training that began."""

    number: int
    title: str
    total: int
    """Rounds, about."""
    task: TaskID
    rounds: int = 0
    resumed_at: int = 0
    """Rounds that are only simulated again."""
    sim_time: float = 0.0
    value: float = 0.0
    epoch: float = 0.0
    unsaid: int | None = None
    """The round of an evaluation that no line has told of yet."""
    started: float = field(default_factory=time.monotonic)
    paced: float = field(default_factory=time.monotonic)
    """Since when rounds are trained."""
    printed: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> float:
        """The share of its rounds that is trained, of those that an earlier run has not."""
        return min(max(self.rounds - self.resumed_at, 0) / max(self.total - self.resumed_at, 1), 1.0)

    @property
    def shown(self) -> float:
        """The share of all its rounds."""
        return min(max(self.rounds, self.resumed_at) / max(self.total, 1), 1.0)


class RunProgress:
    """Hears of the trainings of a run, as :class:`simgmc.experiment.training.Progress`; use as a context manager.

    Several may be under way at once. ``metric`` is what the run is measured by, as ``report.metric`` names it;
    ``clock``: what its time is. ``tracking`` hears of evaluations too.
    """

    def __init__(
        self,
        console: Console,
        trainings: int,
        metric: str = "accuracy",
        clock: str = "simulated",
        tracking: Tracking | None = None,
    ):
        self._metric, self._clock, self._tracking = metric, clock, tracking
        self._console = console
        self._trainings = trainings
        self._live = console.is_terminal
        self._bars = Bars(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=_BAR),
            TextColumn("{task.fields[state]}", markup=False, table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[left]}", markup=False, table_column=Column(no_wrap=True, min_width=_LEFT)),
            console=console,
            disable=not self._live,
            transient=True,
        )
        self._whole = self._bars.add_task("all trainings", total=trainings, state="", left="")
        self._under_way: dict[str, _UnderWay] = {}
        """By the trainings' keys."""
        self._began: float | None = None
        """When the first training of this run began: what came before, as processes that start, is not its pace."""
        self._number = self._kept = self._over = 0
        """Trainings heard of; finished by an earlier run; finished in this one, or given up."""

    def __enter__(self) -> RunProgress:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def simulated(self, training: Training, seconds: float) -> None:
        """A round, or a replay, of many events has come to this simulated time."""
        one = self._under_way.get(training.key)
        if one is None:
            return
        one.sim_time = seconds
        self._show(one)
        if self._may_speak(one):
            self._line(one, f"simulated {time_text(seconds)} so far")

    def skipped(self, training: Training) -> None:
        """A training was finished by an earlier run."""
        self._number += 1
        self._kept += 1
        self._print(f"[{self._number}/{self._trainings}] {training.title}: kept, it was finished before")
        self._show_whole()

    def started(self, training: Training, rounds: int) -> None:
        """A training begins."""
        before = self._under_way.pop(training.key, None)
        self._began = self._began or time.monotonic()
        if before is None:
            self._number += 1
        else:  # begun anew, as the machine that trained it was lost
            self._bars.remove_task(before.task)
        number = self._number if before is None else before.number
        one = _UnderWay(number, training.title, rounds, self._whole)
        one.task = self._bars.add_task(self._fitting(one)[0], total=rounds, state="", left="")
        self._under_way[training.key] = one
        if self._tracking is not None:
            self._tracking.started(training)

    def resumed(self, training: Training, rounds: int, where: str) -> None:
        """The training that began goes on after so many rounds, which are only simulated again."""
        one = self._under_way[training.key]
        one.resumed_at = rounds
        self._line(one, f"goes on after {where}")

    def warned(self, message: str) -> None:
        """Something that was saved cannot be used."""
        self._print(f"warning: {message}")

    def evaluated(self, training: Training, state: State) -> None:
        """The model was evaluated."""
        one = self._under_way[training.key]
        self._note(one, state)
        self._show(one)
        if self._tracking is not None:
            self._tracking.evaluated(training, state)
        one.unsaid = state.round
        if state.round == 0:
            self._say(one)

    def round_done(self, training: Training, number: int, sim_time: float) -> None:
        """The last worker finished a round of the training on its first cluster."""
        one = self._under_way[training.key]
        if number == one.resumed_at - 1:
            one.paced = time.monotonic()  # what was only simulated again says nothing of the pace
        one.rounds, one.sim_time = number + 1, sim_time
        if self._tracking is not None:
            self._tracking.round_done(training, number, sim_time)
        self._show(one)
        if one.unsaid is not None and number + 1 >= one.unsaid:  # only now is its simulated time known
            self._say(one)

    def ended(self, training: Training, outcome: Outcome, seconds: float | None = None) -> None:
        """A training and all its replays are finished and written; ``seconds`` it took, where others trained it."""
        one = self._under_way[training.key]
        if outcome.states:
            # evaluated at simulated times, the last is not the latest that was heard of
            self._note(one, outcome.states[-1])
        if outcome.diverged:
            self._line(one, f"diverged: {outcome.diverged}")
        else:
            took = time.monotonic() - one.started if seconds is None else seconds
            self._line(one, f"{self._state(one)}, took {time_text(took)}")
        self._forget(training)

    def failed(self, training: Training, reason: str) -> None:
        """A training could not be finished."""
        one = self._under_way.get(training.key)
        if one is None:
            self._number += 1
        number = self._number if one is None else one.number
        self._print(f"[{number}/{self._trainings}] {training.title}: failed: {reason}")
        self._forget(training)

    def _forget(self, training: Training) -> None:
        one = self._under_way.pop(training.key, None)
        if one is not None:
            self._bars.remove_task(one.task)
        self._over += 1
        if self._tracking is not None:
            self._tracking.over(training)
        self._show_whole()

    def _may_speak(self, one: _UnderWay) -> bool:
        """Whether there may be a line on it: off a terminal, if the one before is long ago."""
        if self._live or time.monotonic() - one.printed < LINE_SECONDS:
            return False
        one.printed = time.monotonic()
        return True

    def _say(self, one: _UnderWay) -> None:
        """A line on the latest evaluation."""
        one.unsaid = None
        if self._may_speak(one):
            this, whole = self._left(one), self._left_of_all()
            self._line(one, self._state(one) + (f", {this} left of this, {whole} in all" if this else ""))

    def _note(self, one: _UnderWay, state: State) -> None:
        own = {"accuracy": state.test_accuracy, "loss": state.test_loss}
        value = own.get(self._metric, state.others.get(self._metric.replace("-", "_")))
        one.value, one.epoch = math.nan if value is None else value, state.epoch

    def _state(self, one: _UnderWay) -> str:
        return f"epoch {one.epoch:.4g}, {self._value_text(one)}, {self._clock} {time_text(one.sim_time)}"

    def _value_text(self, one: _UnderWay) -> str:
        return f"{self._metric} " + (f"{one.value:.2%}" if self._metric == "accuracy" else number(one.value))

    def _fitting(self, one: _UnderWay) -> tuple[str, str]:
        """Title and state as they fit beside the bar and the time left: the state without its parts, the title cut."""
        room, title = self._console.width - _BAR - _LEFT - 3, one.title
        states = (self._state(one), f"epoch {one.epoch:.4g}, {self._value_text(one)}", self._value_text(one))
        state = next((text for text in states if len(text) + min(cell_len(title), _TITLE) <= room), "")
        return set_cell_size(title, min(cell_len(title), max(room - len(state), 1))), state

    def _left(self, one: _UnderWay) -> str:
        """Time left of one, from its pace so far; empty before its first round."""
        return time_text((time.monotonic() - one.paced) * (1 / one.done - 1)) if one.done else ""

    def _left_of_all(self) -> str:
        """Time left of all trainings, from their pace so far; empty before there is one."""
        trained = self._over + sum(one.done for one in self._under_way.values())
        if not trained or self._began is None:
            return ""
        return time_text((time.monotonic() - self._began) / trained * (self._trainings - self._kept - trained))

    def _show(self, one: _UnderWay) -> None:
        if not self._live:
            return
        left = self._left(one)
        title, state = self._fitting(one)
        self._bars.update(
            one.task,
            description=title,
            completed=max(one.rounds, one.resumed_at),
            state=state,
            left=f"{left} left" if left else "",
        )
        self._show_whole()

    def _show_whole(self) -> None:
        if self._live:
            left = self._left_of_all()
            completed = self._kept + self._over + sum(one.shown for one in self._under_way.values())
            self._bars.update(self._whole, completed=completed, left=f"{left} left" if left else "")

    def _line(self, one: _UnderWay, text: str) -> None:
        self._print(f"[{one.number}/{self._trainings}] {one.title}: {text}")

    def _print(self, text: str) -> None:
        # One line for each thing that happens, whatever the width: they are read by programs, too.
        self._console.print(in_encoding(text, self._console.encoding), markup=False, highlight=False, soft_wrap=True)
