"""Workers that crash, and what the others do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simgmc.core.declared import Declared, Tables, declared
from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Option
from simgmc.core.units import DURATION, QuantityOption
from simgmc.network.conditions.condition import Condition
from simgmc.network.topology.routing import Links

_INFINITY = float("inf")


@dataclass(frozen=True)
class Crash(Declared):
    """A worker is gone from ``at`` until ``back``.

    A crash strikes a worker that computes or compresses: the step is lost. One that strikes
    during a collective takes effect when the worker is through with it.
    """

    worker: int = declared(Option("its number, from 0", int, at_least=0))
    at: float = declared(QuantityOption("when it crashes", units=DURATION, example="5 s"))
    back: float | None = declared(
        QuantityOption(
            "when it is back; never unless given", default=None, units=DURATION, example="20 s", positive=True
        )
    )

    def gone(self, time: float) -> bool:
        """Whether the worker is gone at a time; the crash's own instant does not count."""
        return self.at < time < (_INFINITY if self.back is None else self.back)


@dataclass(frozen=True)
class Crashes(Condition):
    """All crashes of a run, and what the other workers do meanwhile."""

    key = "crashes"
    static = True
    random = False

    workers: tuple[Crash, ...] = declared(Tables("who crashes, and when", entries=Crash, min_tables=1))
    policy: str = declared(
        Option(
            "the others wait until the worker is back and has redone its step; or rounds go on without it, and it "
            "joins again with the first round after its return; or the run ends at the crash",
            str, choices=("wait", "without", "stop"),
        )
    )  # fmt: skip

    def check_fields(self) -> None:
        """A worker crashes again only once it is back; nobody waits for one that never is."""
        last: dict[int, float] = {}
        for crash in sorted(self.workers, key=lambda crash: crash.at):
            back = _INFINITY if crash.back is None else crash.back
            if not last.get(crash.worker, 0.0) <= crash.at < back:
                raise SimgmcError(f"{crash}: a worker comes back after its crash, and crashes again only after that")
            if self.policy == "wait" and crash.back is None:
                raise SimgmcError(
                    f"worker{crash.worker} crashes at {float(crash.at)} s and never returns: with policy 'wait' the "
                    "others would wait for ever; use 'without' or 'stop', or say when it is back"
                )
            last[crash.worker] = back

    @property
    def leaves_out(self) -> bool:
        """Whether averages go on without those that are gone."""
        return self.policy == "without" and bool(self.workers)

    def check(self, links: Links, workers: int, hosts: int) -> None:
        for crash in self.workers:
            if crash.worker >= workers:
                raise SimgmcError(f"worker{crash.worker} cannot crash: there are workers 0 to {workers - 1}")

    def during(self, worker: int, start: float, end: float) -> Crash | None:
        """The first crash that hits a worker between two times."""
        hits = [c for c in self.workers if c.worker == worker and c.at < end and (c.back is None or c.back > start)]
        return min(hits, key=lambda crash: crash.at, default=None)

    def absent(self, time: float, workers: Sequence[int]) -> set[int]:
        """Who of these workers is gone at a time."""
        return {crash.worker for crash in self.workers if crash.worker in workers and crash.gone(time)}


NO_CRASHES = Crashes((), "wait")
"""Everybody is there all the time."""
