"""A process that trains for another: orders come in on standard input, what happens goes out where output went.

It ends as soon as the other one is gone: whatever way that ended, its end of the pipe is closed then.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from simgmc.core import output
from simgmc.core.errors import SimgmcError
from simgmc.core.interruption import Interruption
from simgmc.experiment.engines.recipe import Workplace, said_of
from simgmc.experiment.engines.reports import Message, Reports


def main() -> None:
    """Read a recipe, then train what is ordered, until there are no more orders."""
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all; whoever started this one passes them on
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the user's own code prints is no message
    output.prepare()
    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send(message: Message) -> None:
        try:
            pickle.dump(message, stream)
            stream.flush()
        except OSError:
            os._exit(1)  # nobody is there any more

    reports = Reports(send, orders.get if json.loads(sys.argv[2]) else None)
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
        except Exception as error:
            reports.tell("failure", *said_of(error))
        else:
            reports.tell("done")


if __name__ == "__main__":
    main()
