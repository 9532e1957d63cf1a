"""The rounds under way: pulled when first needed, kept until everyone has passed them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import simpy

from simgmc.core.errors import DivergenceError
from simgmc.costs.steps import Round, with_everybody
from simgmc.network.cluster.communication import Communication, RoundExchange
from simgmc.network.cluster.timing import TimingBuilder


@dataclass
class OpenRound:
    """A round that some worker has begun and not all have finished."""

    costs: Round
    finished: int = 0
    """Workers that are through with it, or have missed it."""
    exchanges: dict[int, list[RoundExchange]] = field(default_factory=dict)
    """The exchanges of each step, one for every piece of its message."""
    gone: set[int] = field(default_factory=set)
    """Workers that missed it, or left it, by a crash."""
    compute: dict[int, np.ndarray] = field(default_factory=dict)
    """(workers,) seconds of each compute step."""

    def exchange(self, step: int, piece: int, create: Callable[[], RoundExchange]) -> RoundExchange:
        """The exchange of a step (of one piece of its message); the first to ask creates it."""
        exchanges = self.exchanges.setdefault(step, [])
        if len(exchanges) == piece:
            exchanges.append(create())
        return exchanges[piece]


class OpenRounds:
    """Rounds in order, and who is away.

    Unless the cluster leaves some workers out of averages, everybody is in them: a round is then
    resolved as soon as it is begun.
    """

    def __init__(self, rounds: Iterator[Round], communication: Communication, timings: TimingBuilder, first: int = 0):
        """``first``: the number of the first of these rounds."""
        self._rounds = rounds
        self._communication = communication
        self._clock = communication.clock
        self._timings = timings
        self._workers = len(communication.settings.workers)
        self._leaves_out = communication.settings.leaves_out
        self._held: dict[int, OpenRound] = {}
        self._begun: dict[int, simpy.Event] = {}
        self.there = self._workers
        """How many workers take part now."""
        self._awaited = 0
        """How many will again."""
        self.pulled = first
        """The number of the next round to be pulled."""
        self.over = False
        """Whether there are no more."""
        self.on_pull: dict[int, Callable[[int, OpenRound], None]] = {}
        """What to do for an absent worker when a round is begun without it."""

    def get(self, number: int) -> OpenRound | None:
        """Round ``number``, None past the last."""
        while self.pulled <= number and not self.over:
            begun = self._next()
            if begun is None:
                self.over = True
            else:
                self._held[self.pulled] = begun
                self.pulled += 1
                for notice in list(self.on_pull.values()):
                    notice(self.pulled - 1, begun)
            event = self._begun.pop(number, None)
            if event is not None:
                event.succeed()
        return self._held.get(number)

    def _next(self) -> OpenRound | None:
        costs = next(self._rounds, None)
        if costs is None:
            return None
        if self._leaves_out:
            return OpenRound(costs)
        try:
            return OpenRound(with_everybody(costs, self._workers))
        except DivergenceError:  # there are no more rounds; whoever trains knows
            return None

    def passed(self, number: int) -> None:
        """A worker is through with a round, or misses it; the last one closes it."""
        current = self._held[number]
        current.finished += 1
        if current.finished < self._workers:
            return
        exchanges = [exchange for pieces in current.exchanges.values() for exchange in pieces]
        for exchange in exchanges:
            self._communication.check(exchange)
        self._timings.close(number, [exchange.flows.moved() for exchange in exchanges], self._clock.now)
        del self._held[number]

    def open_from(self, number: int) -> list[tuple[int, OpenRound]]:
        """Rounds from this one on that have been begun and not closed, with their numbers."""
        return [(held, self._held[held]) for held in sorted(self._held) if held >= number]

    def begun(self, number: int) -> simpy.Event:
        """Happens when a round that nobody has begun yet is begun, or turns out not to exist."""
        return self._begun.setdefault(number, self._clock.event())

    def leave(self, returns: bool) -> None:
        """A worker is gone, for good or not."""
        self.there -= 1
        self._awaited += returns

    def come_back(self) -> None:
        """One that was gone takes part again."""
        self.there += 1
        self._awaited -= 1

    @property
    def deserted(self) -> bool:
        """Whether nobody is there and nobody will be."""
        return self.there == 0 and self._awaited == 0

    def wake(self) -> None:
        """Let those that are back begin a round themselves where nobody else is left to."""
        if self.there == 0:
            for event in self._begun.values():
                event.succeed()
            self._begun.clear()
