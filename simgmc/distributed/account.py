"""What a training on real processes has spent and sent so far, added up from what its ranks measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from simgmc.distributed.carriers import Server
from simgmc.distributed.measured import Step
from simgmc.distributed.server import Servers
from simgmc.experiment.series import Series
from simgmc.experiment.under_way.evaluations import Outcome
from simgmc.results.directory.details import PARTS, Details
from simgmc.results.directory.records import Breakdown

_PART = {name: number for number, name in enumerate(PARTS)}


@dataclass
class Account:
    """Seconds of every worker by part of its time, and bytes.

    An exchange lasts from when a rank's own message is ready; until the last sender's is, the rank waits. What is
    neither an exchange nor decoding, adding or compressing counts as compute: the update of the model, too. Latency
    cannot be told from transfer and is in it.
    """

    workers: int
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(K, parts)"""
    gradients: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """(K,)"""
    sent: int = 0
    """By workers."""
    received: int = 0
    into_server: int = 0
    out_of_server: int = 0
    time: float = 0.0
    """Seconds since the start at which all of this was known."""
    staleness: dict[int, int] = field(default_factory=dict)
    """Of gradients or messages, with their numbers; of asynchronous methods."""
    stale: Literal["gradients", "messages"] = "gradients"

    def __post_init__(self) -> None:
        if not self.seconds.size:
            self.seconds = np.zeros((self.workers, len(PARTS)))
            self.gradients = np.zeros(self.workers, np.int64)

    def add(self, steps: Iterable[Step], senders: Callable[[int, int], Sequence[int]]) -> None:
        """Take in what was measured of whole rounds; ``senders(round, rank)``: whom a rank waits for in a mix."""
        begins: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        steps = list(steps)
        for one in steps:
            if one.kind in ("average", "mix"):
                begins[one.round, one.step][one.rank] = one.begin_s
        for one in steps:
            self._bytes(one)
            spent, lasted = self.seconds[one.rank], one.end_s - one.begin_s
            match one.kind:
                case "round":
                    spent[_PART["compute"]] += lasted
                case "compute":
                    self.gradients[one.rank] += 1
                case "compress":
                    self._move(spent, "compress", lasted)
                case "wait":
                    self._move(spent, "transfer", lasted)
                case "average" | "mix" if not one.behind:
                    own = begins[one.round, one.step]
                    others = own if one.kind == "average" else [*senders(one.round, one.rank), one.rank]
                    last = max(own[rank] for rank in others)
                    waits = min(max(last - one.begin_s, 0.0), lasted - one.aggregate_s)
                    self._move(spent, "wait", waits)
                    self._move(spent, "aggregate", one.aggregate_s)
                    self._move(spent, "transfer", lasted - one.aggregate_s - waits)

    @staticmethod
    def _move(spent: np.ndarray, part: str, seconds: float) -> None:
        """What was counted as compute with the whole round is of another part."""
        spent[_PART["compute"]] -= seconds
        spent[_PART[part]] += seconds

    def _bytes(self, one: Step) -> None:
        if one.kind in ("round", "interface"):
            return
        if one.carried_by == Servers.words:
            self.into_server += one.bytes_sent
            self.out_of_server += one.bytes_received
        if one.carried_by == Server.words and one.rank == 0:
            self.into_server += one.bytes_received
            self.out_of_server += one.bytes_sent
        else:
            self.sent += one.bytes_sent
            self.received += one.bytes_received

    def come_to(self, times: Sequence[float]) -> float:
        """All ranks have come to their ends of a round, and wait for the last; returns its time."""
        latest = max(times)
        self.seconds[:, _PART["wait"]] += latest - np.array(times)
        self.time = latest
        return latest

    def state(self) -> dict[str, Any]:
        """What :meth:`restored` takes."""
        return dict(vars(self))

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Account:
        """As it was."""
        return cls(**state)

    def series(self, outcome: Outcome, rounds: int) -> Series:
        """As the series of a run directory."""
        states = outcome.states
        mean = dict(zip(PARTS, self.seconds.mean(axis=0).tolist(), strict=True))
        breakdown = Breakdown(
            rounds=rounds,
            sim_time_s=self.time,
            compute_s=mean["compute"],
            compress_s=mean["compress"],
            transfer_s=mean["transfer"],
            latency_s=mean["latency"],
            aggregate_s=mean["aggregate"],
            wait_s=mean["wait"],
            bytes_sent_by_workers=self.sent,
            bytes_received_by_workers=self.received,
            bytes_into_server=self.into_server,
            bytes_out_of_server=self.out_of_server,
            rcc=outcome.rcc,
            diverged=outcome.diverged_round,
            evaluations=len(states),
        )
        return Series(
            states,
            np.array([state.time for state in states]),
            np.array([state.bytes_up for state in states], dtype=np.int64),
            np.array([state.bytes_down for state in states], dtype=np.int64),
            breakdown,
            Details(self.seconds, self.gradients, staleness=self.staleness, stale=self.stale),
        )
