"""Trainings in several processes side by side: each trains one at a time, into a run directory of its own.

This process alone writes the run's: it takes in (see :meth:`RunDirectory.take_in`) what a training left as soon as that
is finished. So whatever is killed, at any moment, what was saved is in one place: a checkpoint, a part in ``parts/``,
or the run's own tables. New processes are new interpreters, which CUDA needs and which no thread, no lock and no
``__main__`` of the user's can disturb; they end when this one does, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from simgmc.core.errors import SimgmcError, reason
from simgmc.core.interruption import Interruption
from simgmc.experiment.engines.recipe import Recipe
from simgmc.experiment.engines.task import Failure, Judge, Task
from simgmc.experiment.training import Progress
from simgmc.results.directory.checkpoint import CHECKPOINTS
from simgmc.results.directory.run_directory import RunDirectory, open_run

_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from simgmc.experiment.engines import child; child.main()"
)
_NOTICE = b"\nstopping: what is under way is saved first, after its round (the same again stops at once)\n"


class Processes:
    """So many processes. ``keep_going``: others go on where one training fails, or its process is killed."""

    def __init__(
        self,
        recipe: Recipe,
        jobs: int,
        interruption: Interruption,
        keep_going: bool = False,
        devices: Sequence[str] = (),
        judge: Judge | None = None,
    ):
        """``devices``: the CUDA devices that they share, each process one; none on the CPU. ``judge``: who may give
        trainings up."""
        self._recipe, self._jobs, self._keep_going, self._devices = handed_over(recipe), jobs, keep_going, devices
        self._interruption, self._judge = interruption, judge

    def train(self, tasks: Sequence[Task], directory: RunDirectory, progress: Progress) -> list[Failure]:
        """See :class:`simgmc.experiment.engines.task.Engine`."""
        crew = _Crew(self, tasks, directory, progress)
        try:
            crew.work(min(self._jobs, len(tasks)))
        except KeyboardInterrupt:
            notice()
            crew.stop()
            raise
        except Exception:  # what is under way elsewhere is saved first
            crew.stop()
            raise
        finally:
            crew.end()
        return crew.failures


def handed_over(recipe: Recipe) -> bytes:
    """A recipe as bytes. Raises SimgmcError where something in it that came from Python cannot go elsewhere."""
    import cloudpickle  # functions and classes of __main__ and of notebooks go by value; loads for several jobs alone

    try:
        return cloudpickle.dumps(recipe)
    except Exception as error:
        raise SimgmcError(
            f"jobs: what was given in Python cannot be handed to another process ({reason(error)}); give jobs=1"
        ) from None


class _Child:
    """A process, and the thread that listens to it: messages come as (child, kind, number, content)."""

    def __init__(self, recipe: bytes, heard: queue.SimpleQueue[Any], device: str | None, judged: bool):
        environment = dict(os.environ) | ({} if device is None else {"CUDA_VISIBLE_DEVICES": device})
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, json.dumps(sys.path), json.dumps(judged)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self.device = device
        self.task: Task | None = None
        self.ready = False
        self._heard = heard
        self._thread = threading.Thread(target=self._talk, args=(recipe,), daemon=True)
        self._thread.start()

    def order(self, content: Any) -> None:
        """Send an order; one that is dead already hears nothing."""
        self._send(pickle.dumps(content))

    def _send(self, content: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(content)
            self.process.stdin.flush()
        except (OSError, ValueError):
            return  # its end is heard of

    def _talk(self, recipe: bytes) -> None:
        assert self.process.stdout is not None
        self._send(recipe)  # here, as much data may be in it
        try:
            while True:
                self._heard.put((self, *pickle.load(self.process.stdout)))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            return  # it has ended, maybe in the middle of a message
        finally:
            self._heard.put((self, "gone", -1, ()))

    def dismiss(self) -> None:
        """There are no more orders: it ends by itself."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # it is dead already
            self.process.stdin.close()

    def ask_to_stop(self) -> None:
        """Save after the round under way, and end."""
        if self.process.poll() is None:
            self.process.terminate()

    def end(self) -> None:
        """At once."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._thread.join()  # it has read the end, or does now
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()  # type: ignore[union-attr]
            except OSError:
                continue  # what it did not read any more


class _Crew:
    """The processes of one run, and what they have left to do."""

    def __init__(self, of: Processes, tasks: Sequence[Task], directory: RunDirectory, progress: Progress):
        self._recipe, self._devices, self._judge = of._recipe, of._devices, of._judge
        self._interruption, self._keep_going = of._interruption, of._keep_going
        self._directory, self._progress = directory, progress
        self._tasks: Mapping[int, Task] = {task.number: task for task in tasks}
        self._waiting = deque(tasks)
        self._heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._children: list[_Child] = []
        self.failures: list[Failure] = []

    def work(self, jobs: int) -> None:
        """Until every task is done or has failed."""
        for number in range(jobs):
            self._start(self._devices[number % len(self._devices)] if self._devices else None)
        while self._children:
            self._hear()

    def stop(self) -> None:
        """Let what is under way be saved, and take in what is finished meanwhile."""
        self._waiting.clear()
        for child in self._children:
            child.ask_to_stop()
        while self._children:
            self._hear(stopping=True)

    def end(self) -> None:
        """No process is left after this."""
        for child in self._children:
            child.end()
        self._children.clear()

    def _start(self, device: str | None) -> None:
        self._children.append(_Child(self._recipe, self._heard, device, self._judge is not None))

    def _next(self, child: _Child) -> None:
        """The next task, or the end."""
        if not self._waiting:
            child.dismiss()
            return
        child.task = task = self._waiting.popleft()
        parts = self._directory.part(task.training.key), self._directory.path / CHECKPOINTS
        child.order((task.number, task.missing, *(str(path.absolute()) for path in parts)))

    def _hear(self, stopping: bool = False) -> None:
        child, kind, number, content = self._heard.get()
        match kind:
            case "ready":
                child.ready = True
                self._next(child)
            case "done":
                self._take_in(self._tasks[number])
                child.task = None
                self._next(child)
            case "failure":
                why, known = content
                self._fail(self._tasks[number], why, known, stopping)
                child.task = None
                self._next(child)
            case "gone":
                self._gone(child, stopping)
            case "unfit":
                raise SimgmcError(f"jobs: {content[0]}; give jobs=1")
            case "stopped":
                child.task = None
            case "warned":
                self._progress.warned(*content)
            case "evaluated":
                self._progress.evaluated(self._tasks[number].training, *content)
                if self._judge is not None:
                    child.order(self._judge.hears(number, *content))
            case _:
                getattr(self._progress, kind)(self._tasks[number].training, *content)

    def _take_in(self, task: Task) -> None:
        with self._interruption.held():
            self._directory.take_in(open_run(self._directory.part(task.training.key)))

    def _fail(self, task: Task, why: str, known: bool, stopping: bool) -> None:
        """``known``: whether it is a mistake of the user's, or something that can happen; else it is one of simgmc."""
        if not known:
            raise RuntimeError(f"{task.training.title}: in the process that trained it:\n{why}")
        if stopping:
            return  # it will be heard of when the run goes on
        if not self._keep_going:
            raise SimgmcError(why if why.startswith(task.training.title) else f"{task.training.title}: {why}")
        part = self._directory.part(task.training.key)
        if (part / "scenario.toml").is_file():  # it may have come as far as its first series
            self._directory.take_in(open_run(part))
        self.failures.append(Failure(task, why))
        self._progress.failed(task.training, why)

    def _gone(self, child: _Child, stopping: bool) -> None:
        """A process has ended: where a task was under way, it was killed."""
        self._children.remove(child)
        child.end()
        task, status = child.task, child.process.returncode
        if stopping or (task is None and (child.ready or not self._waiting)):
            return
        how = f"was killed ({_signal_name(-status)})" if status < 0 else f"ended with status {status}"
        if task is None:
            raise SimgmcError(f"jobs: a process that was to train {how} before it began")
        again = "what it had saved is kept: the same command goes on from there"
        if status == -signal.SIGKILL:
            again += ", with fewer --jobs if the memory ran out"
        if self._waiting and self._keep_going:
            self._start(child.device)
        self._fail(task, f"the process that trained it {how}; {again}", True, stopping)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def notice() -> None:
    """Say that what is under way elsewhere is saved first."""
    try:
        os.write(2, _NOTICE)
    except OSError:
        return  # nobody is listening any more, as after SIGHUP


def visible_devices(count: int) -> list[str]:
    """The CUDA devices that this process sees, as ``CUDA_VISIBLE_DEVICES`` names them."""
    stated = os.environ.get("CUDA_VISIBLE_DEVICES")
    return stated.split(",")[:count] if stated else [str(number) for number in range(count)]
