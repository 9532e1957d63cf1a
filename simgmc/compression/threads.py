"""Threads that share numbered tasks: rows to compress, workers whose gradients are computed.

Every task is computed by the same single-threaded code whatever the number of threads, so results never depend on it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

_local = threading.local()


def one_intraop_thread() -> None:
    """Let every torch operation run in the thread that calls it."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


class Pool:
    """So many threads, of which the calling one is one; pools of one size share theirs."""

    def __init__(self, threads: int):
        self.threads = threads

    def map(self, task: Callable[[int], T], count: int) -> list[T]:
        """``[task(0), ..., task(count - 1)]``; every thread takes the next task that nobody has begun.

        A call from inside a task is done by the thread that calls. Of several errors the one of the lowest number
        is raised.
        """
        helpers = min(self.threads, count) - 1
        if helpers < 1 or getattr(_local, "inside", False):
            return [task(number) for number in range(count)]
        results: dict[int, T] = {}
        errors: dict[int, Exception] = {}
        numbers = itertools.count()  # its steps are atomic

        def work() -> None:
            while (number := next(numbers)) < count:
                try:
                    results[number] = task(number)
                except Exception as error:  # raised below, by the calling thread
                    errors[number] = error

        others = [_helpers(self.threads - 1).submit(work) for _ in range(helpers)]
        try:
            work()
        finally:
            for other in others:
                if not other.cancel():
                    other.result()
        if errors:
            raise errors[min(errors)]
        return [results[number] for number in range(count)]


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """As long as it lasts, tasks are done by the thread that calls."""
    before, _local.inside = getattr(_local, "inside", False), True
    try:
        yield
    finally:
        _local.inside = before


@functools.cache
def _helpers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "simgmc", initializer=_begin)


def _begin() -> None:
    _local.inside = True
    one_intraop_thread()
