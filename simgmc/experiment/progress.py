"""Progress of a run: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column

from simgmc.core.heartbeat import listening
from simgmc.core.quantities import number, time_text
from simgmc.experiment.training import Training
from simgmc.experiment.under_way.evaluations import Outcome, State

_BAR, _LEFT = 12, 14
"""Columns of the bar and of the time left; the title and what is known of the training share the rest."""
_TITLE = 24
"""Columns that a title has before the state loses a part."""
LINE_SECONDS = 10.0
"""Off a terminal, how often a training that is under way prints a line."""


class RunProgress:
    """Hears of the trainings of a run, as :class:`simgmc.experiment.training.Progress`; use as a context manager.

    ``metric`` is what the run is measured by, as ``report.metric`` names it.
    """

    def __init__(self, console: Console, trainings: int, metric: str = "accuracy"):
        self._metric = metric
        self._console = console
        self._trainings = trainings
        self._number = 0
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
        self._task: TaskID | None = None
        self._title = ""
        self._listening = ExitStack()
        self._value = self._epoch = 0.0
        self._sim_time = 0.0
        self._began = self._started = self._paced = self._printed = time.monotonic()
        self._rounds = self._total = self._from = 0
        self._kept = 0
        self._unsaid: tuple[Training, int] | None = None

    def __enter__(self) -> RunProgress:
        self._bars.start()
        self._listening.enter_context(listening(self.simulated))
        return self

    def __exit__(self, *error: object) -> None:
        self._listening.close()
        self._bars.stop()

    def simulated(self, seconds: float) -> None:
        """A round, or a replay, of many events has come to this simulated time."""
        self._sim_time = seconds
        self._show()
        if not self._live and time.monotonic() - self._printed >= LINE_SECONDS:
            self._printed = time.monotonic()
            said = f"[{self._number}/{self._trainings}] {self._title}: simulated {time_text(seconds)} so far"
            self._console.print(said, markup=False, highlight=False, soft_wrap=True)

    def skipped(self, training: Training) -> None:
        """A training was finished by an earlier run."""
        self._number += 1
        self._kept += 1
        self._console.print(
            f"[{self._number}/{self._trainings}] {training.title}: kept, it was finished before",
            markup=False,
            highlight=False,
        )
        self._bars.advance(self._whole)

    def started(self, training: Training, rounds: int) -> None:
        """A training begins."""
        self._number += 1
        self._rounds, self._total, self._from = 0, rounds, 0
        self._sim_time = 0.0
        self._unsaid = None
        self._started = self._paced = self._printed = time.monotonic()
        self._title = training.title
        self._task = self._bars.add_task(self._fitting(self._title)[0], total=rounds, state="", left="")

    def resumed(self, training: Training, rounds: int, where: str) -> None:
        """The training that began goes on after so many rounds, which are only simulated again."""
        self._from = rounds
        self._line(training, f"goes on after {where}")

    def warned(self, message: str) -> None:
        """Something that was saved cannot be used."""
        self._console.print(f"warning: {message}", markup=False, highlight=False, soft_wrap=True)

    def evaluated(self, training: Training, state: State) -> None:
        """The model was evaluated."""
        self._noted(state)
        self._show()
        self._unsaid = (training, state.round)
        if state.round == 0:
            self._say()

    def _say(self) -> None:
        """A line on the latest evaluation, off a terminal, if the one before is long ago."""
        if self._unsaid is None:
            return
        training, _ = self._unsaid
        self._unsaid = None
        if not self._live and time.monotonic() - self._printed >= LINE_SECONDS:
            self._printed = time.monotonic()
            this, whole = self._left()
            self._line(training, self._state() + (f", {this} left of this, {whole} in all" if this else ""))

    def round_done(self, number: int, sim_time: float) -> None:
        """The last worker finished a round of the training on its first cluster."""
        if number == self._from - 1:
            self._paced = time.monotonic()  # what was only simulated again says nothing of the pace
        self._rounds, self._sim_time = number + 1, sim_time
        self._show()
        if self._unsaid and number + 1 >= self._unsaid[1]:  # only now is its simulated time known
            self._say()

    def ended(self, training: Training, outcome: Outcome) -> None:
        """A training and all its replays are finished and written."""
        if outcome.states:
            self._noted(
                outcome.states[-1]
            )  # evaluated at simulated times, the last is not the latest that was heard of
        if outcome.diverged:
            self._line(training, f"diverged: {outcome.diverged}")
        else:
            self._line(training, f"{self._state()}, took {time_text(time.monotonic() - self._started)}")
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._bars.update(self._whole, completed=self._number)

    def _noted(self, state: State) -> None:
        own = {"accuracy": state.test_accuracy, "loss": state.test_loss}
        value = own.get(self._metric, state.others.get(self._metric.replace("-", "_")))
        self._value, self._epoch = math.nan if value is None else value, state.epoch

    def _state(self) -> str:
        return f"epoch {self._epoch:.4g}, {self._value_text()}, simulated {time_text(self._sim_time)}"

    def _value_text(self) -> str:
        return f"{self._metric} " + (f"{self._value:.2%}" if self._metric == "accuracy" else number(self._value))

    def _fitting(self, title: str) -> tuple[str, str]:
        """Title and state as they fit beside the bar and the time left: the state without its parts, the title cut."""
        room = self._console.width - _BAR - _LEFT - 3
        states = (self._state(), f"epoch {self._epoch:.4g}, {self._value_text()}", self._value_text())
        state = next((one for one in states if len(one) + min(cell_len(title), _TITLE) <= room), "")
        return set_cell_size(title, min(cell_len(title), max(room - len(state), 1))), state

    def _left(self) -> tuple[str, str]:
        """Time left of this training and of all, from the pace so far; empty before the first round."""
        if self._rounds <= self._from:
            return "", ""
        now = time.monotonic()
        done = min((self._rounds - self._from) / max(self._total - self._from, 1), 1.0)
        this = (now - self._paced) * (1 / done - 1)
        trained = self._number - 1 - self._kept + done
        whole = (now - self._began) / trained * (self._trainings - self._kept - trained)
        return time_text(this), time_text(whole)

    def _show(self) -> None:
        if self._live and self._task is not None:
            this, whole = self._left()
            title, state = self._fitting(self._title)
            self._bars.update(
                self._task,
                description=title,
                completed=max(self._rounds, self._from),
                state=state,
                left=f"{this} left" if this else "",
            )
            share = min(max(self._rounds, self._from) / max(self._total, 1), 1.0)
            self._bars.update(self._whole, completed=self._number - 1 + share, left=f"{whole} left" if whole else "")

    def _line(self, training: Training, text: str) -> None:
        self._console.print(
            f"[{self._number}/{self._trainings}] {training.title}: {text}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
