"""The flows of a collective of one's own, as they are said one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.network.exchanges.schedule import Schedule, Structure, StructureBuilder


class Flows:
    """Transfers between hosts and work at them, each after others, until every worker is finished.

    Hosts are numbered: workers 0 .. workers-1, then the servers. Every transfer and every piece of work has a number,
    which later ones wait for.
    """

    def __init__(self, workers: int, servers: int = 0):
        self.workers, self.servers = workers, servers
        self._build = StructureBuilder(workers, servers)
        self._nbytes: list[float] = []
        self._seconds: list[float] = []
        self._finished: set[int] = set()

    def transfer(self, source: int, destination: int, nbytes: float, after: Sequence[int] = ()) -> int:
        """So many bytes from one host to another, once what it comes after has arrived; returns its number.

        What a worker sends waits for its own message, too.
        """
        if source == destination:
            raise SimgmcError(f"a transfer from host {source} to itself: say work(host, seconds, after)")
        return self._add(source, destination, nbytes, 0.0, after)

    def work(self, host: int, seconds: float = 0.0, after: Sequence[int] = ()) -> int:
        """So long a work at a host, such as adding, once what it comes after has arrived; returns its number."""
        return self._add(host, host, 0.0, seconds, after)

    def finish(self, worker: int, after: Sequence[int] = ()) -> None:
        """A worker has the average once these have arrived."""
        self._check(after)
        if not 0 <= worker < self.workers or worker in self._finished:
            raise SimgmcError(f"finish({worker}): every worker, 0 to {self.workers - 1}, is finished once")
        self._finished.add(worker)
        self._build.finish(worker, list(after))

    def schedule(self) -> Schedule:
        """All of it. Raises SimgmcError where a worker is never finished."""
        if missing := sorted(set(range(self.workers)) - self._finished):
            raise SimgmcError(f"worker {missing[0]} is never finished; say finish({missing[0]}, after)")
        structure = self._build.build()
        same = _kept(*(getattr(structure, field.name) for field in fields(structure)))
        return Schedule(same, np.array(self._nbytes, float), np.array(self._seconds, float))

    def _add(self, source: int, destination: int, nbytes: float, seconds: float, after: Sequence[int]) -> int:
        self._check(after)
        hosts = self.workers + self.servers
        for host in (source, destination):
            if not 0 <= host < hosts:
                raise SimgmcError(f"host {host}: there are {self.workers} workers and {self.servers} servers, from 0")
        if not (0 <= nbytes < float("inf") and 0 <= seconds < float("inf")):
            raise SimgmcError(f"{nbytes!r} bytes, {seconds!r} s: must be finite and at least 0")
        self._nbytes.append(float(nbytes))
        self._seconds.append(float(seconds))
        own = (source,) if source < self.workers else ()
        return self._build.flow(source, destination, tuple(after), gates=own)

    def _check(self, after: Sequence[int]) -> None:
        for one in after:
            if not 0 <= one < len(self._nbytes):
                raise SimgmcError(f"after {one}: is no transfer or work that was said before")


@lru_cache(maxsize=64)
def _kept(*values: Any) -> Structure:
    """The structure of these fields: the same object for the same flows, so that what is known of it is found again."""
    return Structure(*values)
