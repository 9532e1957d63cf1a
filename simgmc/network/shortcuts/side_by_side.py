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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import IO, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

WORTH = 2.0
"""Seconds that the rest of the jobs must take, about, for processes to be started: a process takes half a second."""
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
        processes = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 16)
        processes = processes if (time.perf_counter() - since) * len(rest) > WORTH else 1
    if processes < 2 or len(rest) < 2:
        yield from map(work, rest)
        return
    yield from _Pool(work, rest, min(processes, len(rest))).results()


class _Pool(Generic[T, R]):
    """Processes, a thread for each that hands it jobs, and what these gave."""

    def __init__(self, work: Callable[[T], R], jobs: Sequence[T], processes: int):
        self._work, self._jobs = work, jobs
        self._found: list[Future[R]] = [Future() for _ in jobs]
        self._next = iter(range(len(jobs)))
        self._lock = threading.Lock()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
            for _ in range(processes)
        ]

    def results(self) -> Iterator[R]:
        threads = [threading.Thread(target=self._feed, args=(one,), daemon=True) for one in self._processes]
        try:
            for thread in threads:
                thread.start()
            for number, found in enumerate(self._found):
                try:
                    yield found.result()
                except _Unsent:
                    yield self._work(self._jobs[number])
        finally:
            for process in self._processes:
                process.kill()
                process.wait()
            for thread in threads:
                thread.join()
            for process in self._processes:
                for pipe in (process.stdin, process.stdout):
                    assert pipe is not None
                    try:
                        pipe.close()
                    except OSError:
                        pass  # what was still to be written to a process that is gone

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        lost: Exception | None = None
        while (number := self._take()) is not None:
            if lost is None:
                try:
                    _write(process.stdin, pickle.dumps((self._work, self._jobs[number]), pickle.HIGHEST_PROTOCOL))
                    good, value = pickle.loads(_read(process.stdout))
                    if good:
                        self._found[number].set_result(value)
                    else:
                        self._found[number].set_exception(value)
                    continue
                except (OSError, EOFError) as error:
                    lost = error  # the process is gone: what is left is done by the others, or here
                except Exception:  # what cannot be pickled raises anything
                    pass
            self._found[number].set_exception(_Unsent())

    def _take(self) -> int | None:
        with self._lock:
            return next(self._next, None)


class _Unsent(Exception):
    """A job that no other process could do."""


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
            work, job = pickle.loads(message)
        except Exception:  # a class that is not to be found here
            answer: tuple[bool, object] = False, _Unsent()
        else:
            try:
                answer = True, work(job)
            except Exception as error:
                answer = False, error
        try:
            text = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        except Exception:
            text = pickle.dumps((False, _Unsent()))
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
