"""Which flows an exchange has: a graph of what waits for what, and the sizes.

A :class:`Structure` says which flows there are and what each one waits for; it depends on the number of hosts alone
and is built once. A :class:`Schedule` adds the sizes of one exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from simgmc.network.exchanges.ring import Ring, stacked


class Releases(NamedTuple):
    """What lets flows go, read from a :class:`Structure` the other way round."""

    arrival: list[list[int]]
    """Per flow: those that wait for its arrival."""
    departure: list[list[int]]
    """Per flow: those that are queued behind it."""
    gate: list[list[int]]
    """Per participant: the flows that wait for its readiness."""
    waiting: list[int]
    """Per flow: how many of these it waits for."""
    finish: list[list[int]]
    """Per flow: the participants whose part its arrival finishes."""


@dataclass(frozen=True, eq=False)
class Structure:
    """Which flows a collective has and what each waits for. Flows are numbered from 0.

    Hosts are numbered: participants 0 .. participants-1 (the workers), then the others
    (servers). A flow from a host to itself takes no time of its own: it stands for work
    at that host (its delay) or for a point where things come together.
    """

    participants: int
    hosts: int
    source: tuple[int, ...]
    destination: tuple[int, ...]
    after: tuple[tuple[int, ...], ...]
    """Flows that must have arrived before this one starts."""
    behind: tuple[int, ...]
    """The flow queued before this one in the sender's network card (-1: none): this one
    starts no earlier than that one's last byte has left."""
    gates: tuple[tuple[int, ...], ...]
    """Participants that must be ready before this one starts."""
    finishes: tuple[tuple[int, ...], ...]
    """Per participant: the flows whose arrival finishes its part (besides its own readiness)."""

    @property
    def flows(self) -> int:
        return len(self.source)

    @cached_property
    def releases(self) -> Releases:
        """What each arrival, departure and readiness lets go, and how much each flow waits for."""
        arrival: list[list[int]] = [[] for _ in self.source]
        departure: list[list[int]] = [[] for _ in self.source]
        gate: list[list[int]] = [[] for _ in range(self.participants)]
        waiting = [0] * self.flows
        for flow, (after, behind, gates) in enumerate(zip(self.after, self.behind, self.gates)):
            for other in after:
                arrival[other].append(flow)
            if behind >= 0:
                departure[behind].append(flow)
            for participant in gates:
                gate[participant].append(flow)
            waiting[flow] = len(after) + (behind >= 0) + len(gates)
        finish: list[list[int]] = [[] for _ in self.source]
        for participant, flows in enumerate(self.finishes):
            for flow in flows:
                finish[flow].append(participant)
        return Releases(arrival, departure, gate, waiting, finish)

    @cached_property
    def endpoints(self) -> tuple[np.ndarray, np.ndarray]:
        """Source and destination of every flow as int arrays."""
        return np.array(self.source, dtype=np.int64), np.array(self.destination, dtype=np.int64)


class StructureBuilder:
    """Collects flows one after the other; every method returns the new flow's number."""

    def __init__(self, participants: int, servers: int = 0):
        self.participants = participants
        self.hosts = participants + servers
        self._rows: list[tuple[int, int, tuple[int, ...], int, tuple[int, ...]]] = []
        self._finishes: list[tuple[int, ...]] = [()] * participants

    def flow(
        self, source: int, destination: int, after: Sequence[int] = (), behind: int = -1, gates: Sequence[int] = ()
    ) -> int:
        """A transfer from one host to another."""
        self._rows.append((source, destination, tuple(after), behind, tuple(gates)))
        return len(self._rows) - 1

    def local(self, host: int, after: Sequence[int] = (), gates: Sequence[int] = ()) -> int:
        """Work at one host once other flows have arrived; its delay says how long it takes."""
        return self.flow(host, host, after, -1, gates)

    def finish(self, participant: int, flows: Sequence[int]) -> None:
        """The arrivals that finish a participant's part."""
        self._finishes[participant] = tuple(flows)

    def build(self) -> Structure:
        source, destination, after, behind, gates = zip(*self._rows) if self._rows else ((), (), (), (), ())
        return Structure(
            self.participants, self.hosts, source, destination, after, behind, gates, tuple(self._finishes)
        )


class Schedule:
    """One exchange: a structure with the size and the delay of every flow.

    A ring's flows are many and its fast path needs none of them: ``flows`` is then a function
    that lists them, called when they are first asked for.
    """

    def __init__(
        self,
        structure: Structure | None = None,
        nbytes: np.ndarray | None = None,
        delay: np.ndarray | None = None,
        ring: Ring | None = None,
        flows: Callable[[], tuple[Structure, np.ndarray, np.ndarray]] | None = None,
    ):
        self.ring = ring
        """The ring this is, where it is one."""
        self._list = flows
        if flows is None:
            assert structure is not None and nbytes is not None and delay is not None
            self._flows = structure, nbytes, delay

    @cached_property
    def _flows(self) -> tuple[Structure, np.ndarray, np.ndarray]:
        assert self._list is not None
        return self._list()

    @property
    def structure(self) -> Structure:
        """Which flows there are and what each waits for."""
        return self._flows[0]

    @property
    def nbytes(self) -> np.ndarray:
        """(flows,) bytes of each flow; (N, flows) of :class:`Stacked` ones."""
        return self._flows[1]

    @property
    def delay(self) -> np.ndarray:
        """(flows,) seconds between a flow's last release and its start: work at the sender; (N, flows) of
        :class:`Stacked` ones."""
        return self._flows[2]

    def on(self, network: int) -> Schedule:
        """The exchange on one of the networks: the same on all, unless they are stacked."""
        return self

    def among(self, networks: np.ndarray) -> Schedule:
        """The exchanges on some of the networks."""
        return self

    @property
    def forms(self) -> list[tuple[np.ndarray | None, Schedule]]:
        """Networks whose exchanges can be solved together, and these exchanges; None: all."""
        return [(None, self)]

    @property
    def form(self) -> object:
        """What exchanges have in common that differ in sizes alone."""
        return id(self.structure) if self.ring is None else self.ring.form


class Stacked(Schedule):
    """Exchanges on N networks, each with sizes of its own."""

    def __init__(self, schedules: Sequence[Schedule], of: np.ndarray):
        """``of``: (N,) which of the schedules each network has."""
        self._schedules, self._of = schedules, of
        first = schedules[0]
        ring = None if first.ring is None or len(self._alike) > 1 else stacked([_ring(one) for one in schedules], of)
        super().__init__(ring=ring, flows=self._stack)

    def _stack(self) -> tuple[Structure, np.ndarray, np.ndarray]:
        nbytes, delay = (
            np.stack([getattr(one, what) for one in self._schedules])[self._of] for what in ("nbytes", "delay")
        )
        return self._schedules[0].structure, nbytes, delay

    @cached_property
    def _alike(self) -> dict[object, list[int]]:
        """Numbers of schedules by their form."""
        found: dict[object, list[int]] = {}
        for number, one in enumerate(self._schedules):
            found.setdefault(one.form, []).append(number)
        return found

    def on(self, network: int) -> Schedule:
        return self._schedules[self._of[network]]

    def among(self, networks: np.ndarray) -> Schedule:
        return Stacked(self._schedules, self._of[networks])

    @cached_property
    def forms(self) -> list[tuple[np.ndarray | None, Schedule]]:
        if len(self._alike) == 1:
            return [(None, self)]
        found: list[tuple[np.ndarray | None, Schedule]] = []
        for numbers in self._alike.values():
            networks = np.flatnonzero(np.isin(self._of, numbers))
            some = [self._schedules[number] for number in numbers]
            found.append((networks, Stacked(some, np.searchsorted(numbers, self._of[networks]))))
        return found


def _ring(schedule: Schedule) -> Ring:
    assert schedule.ring is not None
    return schedule.ring
