"""A process that trains for another: orders come in on standard input, what happens goes out where output went.

It ends as soon as the other one is gone: whatever way that ended, its end of the pipe is closed then.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from simgmc.core import output
from simgmc.core.errors import SimgmcError
from simgmc.core.imports import described, own_places
from simgmc.core.interruption import Interruption
from simgmc.experiment.engines.recipe import Workplace
from simgmc.experiment.training import Training
from simgmc.experiment.under_way.evaluations import Outcome, State

TOLD_EVERY = 0.05
"""Seconds between two messages of rounds that are done."""


class Reports:
    """Tells the other process, as pickles, what becomes of tasks; also a
    :class:`simgmc.experiment.training.Progress` of the one under way."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._told = 0.0
        self.number = -1
        """The task under way."""

    def tell(self, kind: str, *content: Any) -> None:
        """Send a message: what it is about, the task, and more."""
        try:
            pickle.dump((kind, self.number, content), self._stream)
            self._stream.flush()
        except OSError:
            os._exit(1)  # nobody is there any more

    def skipped(self, training: Training) -> None:
        self.tell("skipped")

    def started(self, training: Training, rounds: int) -> None:
        self.tell("started", rounds)

    def resumed(self, training: Training, rounds: int, where: str) -> None:
        self.tell("resumed", rounds, where)

    def evaluated(self, training: Training, state: State) -> None:
        self.tell("evaluated", state)

    def round_done(self, training: Training, number: int, sim_time: float) -> None:
        self._now_and_then("round_done", number, sim_time)

    def simulated(self, training: Training, seconds: float) -> None:
        self._now_and_then("simulated", seconds)

    def warned(self, message: str) -> None:
        self.tell("warned", message)

    def ended(self, training: Training, outcome: Outcome) -> None:
        """Without the costs of its rounds, which are written."""
        last = Outcome([], outcome.states[-1:], outcome.rcc, outcome.diverged, outcome.diverged_round)
        self.tell("ended", last)

    def failed(self, training: Training, reason: str) -> None:
        self.tell("failed", reason)

    def _now_and_then(self, kind: str, *content: Any) -> None:
        now = time.monotonic()
        if now - self._told >= TOLD_EVERY:
            self._told = now
            self.tell(kind, *content)


def main() -> None:
    """Read a recipe, then train what is ordered, until there are no more orders."""
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all; whoever started this one passes them on
    reports = Reports(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what the user's own code prints is no message
    output.prepare()
    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
    interruption = Interruption(silent=True)
    try:
        with interruption.listening():
            threading.Thread(target=_listen, args=(sys.stdin.buffer, orders), daemon=True).start()
            _work(orders, reports, interruption)
    except KeyboardInterrupt:
        reports.tell("stopped")
    os._exit(0)  # whatever threads of the user's own there are


def _listen(stream: BinaryIO, orders: queue.SimpleQueue[Any]) -> None:
    try:
        while True:
            orders.put(pickle.load(stream))
    except (EOFError, OSError):
        os._exit(0)
    except Exception:  # what was handed over cannot be made again here
        orders.put(SimgmcError(f"cannot be handed to another process: {traceback.format_exc(limit=0).strip()}"))


def _work(orders: queue.SimpleQueue[Any], reports: Reports, interruption: Interruption) -> None:
    recipe = orders.get()
    if isinstance(recipe, SimgmcError):
        reports.tell("unfit", str(recipe))
        return
    workplace = Workplace(recipe)
    reports.tell("ready")
    while True:
        reports.number, missing, part, checkpoints = orders.get()
        try:
            workplace.train(reports.number, missing, Path(part), Path(checkpoints), interruption, reports)
        except SimgmcError as error:
            reports.tell("failure", str(error), True)
        except Exception as error:
            own = bool(own_places(error))
            said = f"in code of your own: {described(error)}" if own else traceback.format_exc()
            reports.tell("failure", said, own)
        else:
            reports.tell("done")


if __name__ == "__main__":
    main()
