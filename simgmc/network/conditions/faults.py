"""Workers that crash, and what the others do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simgmc.core.errors import SimgmcError

POLICIES = ("wait", "without", "stop")
"""wait: the others wait until the worker is back and has redone its step; without: rounds go
on with those that are there, and it joins again with the first round after its return; stop:
the run ends at the crash."""


@dataclass(frozen=True)
class Crash:
    """A worker is gone from ``at`` until ``back`` (s).

    A crash strikes a worker that computes or compresses: the step is lost. One that strikes
    during a collective takes effect when the worker is through with it.
    """

    worker: int
    at: float
    back: float | None = None
    """None: it never returns."""


@dataclass(frozen=True)
class Faults:
    """All crashes of a run and the policy of its collectives."""

    crashes: tuple[Crash, ...] = ()
    policy: str = "wait"

    def __post_init__(self):
        if self.policy not in POLICIES:
            raise SimgmcError(f"crash policy {self.policy!r}: must be one of {', '.join(POLICIES)}")
        last: dict[int, float] = {}
        for crash in sorted(self.crashes, key=lambda crash: crash.at):
            back = float("inf") if crash.back is None else crash.back
            if not last.get(crash.worker, 0.0) <= crash.at < back:
                raise SimgmcError(f"{crash}: a worker comes back after its crash, and crashes again only after that")
            if self.policy == "wait" and crash.back is None:
                raise SimgmcError(
                    f"worker{crash.worker} crashes at {crash.at} s and never returns: with policy 'wait' the others would "
                    "wait for ever; use 'without' or 'stop', or say when it is back"
                )
            last[crash.worker] = back

    def check(self, workers: int) -> None:
        """Refuse crashes of workers that there are not."""
        for crash in self.crashes:
            if not 0 <= crash.worker < workers:
                raise SimgmcError(f"worker{crash.worker} cannot crash: there are workers 0 to {workers - 1}")

    def during(self, worker: int, start: float, end: float) -> Crash | None:
        """The first crash that hits a worker between two times."""
        hits = [c for c in self.crashes if c.worker == worker and c.at < end and (c.back is None or c.back > start)]
        return min(hits, key=lambda crash: crash.at, default=None)

    def absent(self, time: float, workers: Sequence[int]) -> set[int]:
        """Who is gone at a time."""
        return {
            w
            for w in workers
            if any(c.worker == w and c.at < time and (c.back is None or time < c.back) for c in self.crashes)
        }
