"""Work that is done several times, in processes side by side.

A process is a plain Python that reads jobs from its standard input and writes what they gave to its standard output, so
that neither the caller's main module is run again nor its threads are forked. It ends when its input does.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import cache, partial
from queue import SimpleQueue
from typing import IO, Any, Self, TypeVar

from simgmc.core.processes.cores import usable_cores

T = TypeVar("T")
R = TypeVar("R")

WORTH = 2.0
"""Seconds that the rest of the jobs must take, about, for processes to be started: a process takes half a second."""
MOST = 16
"""Processes at a time."""
_LENGTH = struct.Struct("<Q")
_SERVE = f"from {__name__} import serve; serve()"


def side_by_side(work: Callable[[T], R], jobs: Sequence[T], processes: int | None = None) -> Iterator[R]:
    """``work(job)`` of each, in order; in processes where the first takes long enough, as many as there are cores.

    ``work`` must be known by its import path, or be a partial of what is. A job that cannot be sent to another process
    is done in this one. What a job raises is raised here, in its turn.
    """
    if not jobs:
        return
    since = time.perf_counter()
    yield work(jobs[0])
    rest = jobs[1:]
    if processes is None:
        processes = min(usable_cores(), MOST) if (time.perf_counter() - since) * len(rest) > WORTH else 1
    if processes < 2 or len(rest) < 2:
        yield from map(work, rest)
        return
    yield from _pooled(work, rest, min(processes, len(rest)))


def _pooled(work: Callable[[T], R], jobs: Sequence[T], processes: int) -> Iterator[R]:
    with ExitStack() as ends:
        # Entered first, so left last: its threads end once the processes are gone.
        threads = ends.enter_context(ThreadPoolExecutor(processes))
        idle: SimpleQueue[_Process] = SimpleQueue()
        for _ in range(processes):
            idle.put(ends.enter_context(closing(_Process())))

        def done(job: T) -> R:
            process = idle.get()
            try:
                return process.do(work, job)
            finally:
                idle.put(process)

        found = [threads.submit(done, job) for job in jobs]
        ends.callback(threads.shutdown, wait=False, cancel_futures=True)
        for job, one in zip(jobs, found, strict=True):
            try:
                yield one.result()
            except Unsent:
                yield work(job)


class Beside:
    """One process beside this one, for what takes long and is not needed at once; it does one thing after another.

    Where there is one core alone, or what is asked for cannot be sent, it is done here, when its result is asked for.
    A context: at its end what is still under way there is given up.
    """

    def __init__(self) -> None:
        self._ends = ExitStack()
        self._thread: ThreadPoolExecutor | None = None
        self._process: _Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._ends.close()

    def call(self, work: Callable[..., R], *arguments: Any) -> Callable[[], R]:
        """Begin ``work(*arguments)`` there; returns what waits for its result, or raises what it raised.

        ``work`` must be known by its import path, or be a partial of what is.
        """
        here = cache(partial(work, *arguments))
        if usable_cores() < 2:
            return here
        try:
            message = pickle.dumps((work, arguments), pickle.HIGHEST_PROTOCOL)
        except Exception:  # what cannot be pickled raises anything
            return here
        if self._process is None or self._thread is None:
            try:
                process = _Process()
            except OSError:  # no more processes, or no memory for one
                return here
            self._thread = self._ends.enter_context(ThreadPoolExecutor(1))
            self._process = self._ends.enter_context(closing(process))
        found = self._thread.submit(self._process.send, message)

        def result() -> R:
            try:
                return found.result()
            except Unsent:
                return here()

        return result


class _Process:
    """A process that does what it is sent."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self._gone = False

    def do(self, work: Callable[[T], R], job: T) -> R:
        """``work(job)``, done there. Raises what it raises, and Unsent where it cannot be done there."""
        try:
            message = pickle.dumps((work, (job,)), pickle.HIGHEST_PROTOCOL)
        except Exception:  # what cannot be pickled raises anything
            raise Unsent from None
        return self.send(message)

    def send(self, message: bytes) -> Any:
        """What comes of a pickled function and its arguments."""
        if self._gone:
            raise Unsent
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            _write(self._process.stdin, message)
            answer = _read(self._process.stdout)
        except (OSError, EOFError, ValueError):  # the last: its pipes were closed
            self._gone = True
            raise Unsent from None
        try:
            good, value = pickle.loads(answer)
        except Exception:  # a class that is not to be found here
            raise Unsent from None
        if good:
            return value
        raise value

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                pass  # what was still to be written to a process that is gone


class Unsent(Exception):
    """What no other process could do."""


def serve() -> None:
    """Do jobs from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this process ends it
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a job prints is no answer
    jobs = sys.stdin.buffer
    while True:
        try:
            message = _read(jobs)
        except EOFError:
            return
        try:
            work, arguments = pickle.loads(message)
        except Exception:  # a class that is not to be found here
            answer: tuple[bool, object] = False, Unsent()
        else:
            try:
                answer = True, work(*arguments)
            except Exception as error:
                answer = False, error
        try:
            text = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        except Exception:
            text = pickle.dumps((False, Unsent()))
        _write(answers, text)


def _write(stream: IO[bytes], message: bytes) -> None:
    stream.write(_LENGTH.pack(len(message)))
    stream.write(message)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    message = stream.read(length)
    if len(message) < length:
        raise EOFError
    return message
