"""What single workers and links did in a finished series, and how stale its gradients were.

::

    workers.csv     one row per worker: gradients computed, and the seconds of each part of its time
    links.csv       one row per link that carried something: bytes and messages
    staleness.csv   one row per staleness that gradients or messages had, with their count; only where there is any
    participation.csv  one row per worker: rounds missed, messages lost and carried; only where workers can be left out

Each row starts with the columns of its series, as in ``breakdown.csv``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simgmc.results.directory.columns import Bytes, Seconds

PARTS = ("compute", "compress", "transfer", "latency", "aggregate", "wait")
"""What a worker's time is made of."""

_BUSY = [PARTS.index("compute"), PARTS.index("compress")]


@dataclass(frozen=True)
class WorkerRow:
    """One row of ``workers.csv``."""

    worker: int
    gradients: int
    compute_s: Seconds
    compress_s: Seconds
    transfer_s: Seconds
    latency_s: Seconds
    aggregate_s: Seconds
    wait_s: Seconds


@dataclass(frozen=True)
class LinkTraffic:
    """One row of ``links.csv``: what a link (one direction of a cable) carried in the whole run."""

    source: str
    destination: str
    bytes: Bytes
    messages: int
    """Transfers; where a collective cuts its messages into slices, each slice counts."""


@dataclass(frozen=True)
class StalenessRow:
    """One row of ``staleness.csv``."""

    staleness: int
    """Of a gradient: updates of the model that it was applied to since the model that it was computed at.
    Of a message: rounds that its receiver was ahead of the one that it was sent in when it was added."""
    count: int
    of: str = "gradients"
    """What has it: gradients or messages."""

    def __post_init__(self) -> None:
        if self.of not in ("gradients", "messages"):
            raise ValueError(f"gradients or messages have a staleness, not {self.of}")


@dataclass(frozen=True)
class ParticipationRow:
    """One row of ``participation.csv``: how often a worker was left out of a round's average."""

    worker: int
    rounds_missed: int
    """Rounds without a gradient of its own: it had crashed, gave it up, or was busy with a late one."""
    messages_lost: int
    """Messages that it sent and that came too late, so that they were thrown away."""
    messages_carried: int
    """Late messages that went into a later round's average."""


@dataclass(frozen=True)
class Details:
    """One finished series, worker by worker and link by link. K workers."""

    seconds: np.ndarray
    """(K, parts) of each worker's time, parts as in :data:`PARTS`."""
    gradients: np.ndarray
    """(K,) int64: gradients that each worker computed."""
    links: tuple[LinkTraffic, ...] = ()
    """Of the links that carried something."""
    staleness: Mapping[int, int] = field(default_factory=dict)
    """Staleness -> how many gradients (or messages) had it; empty where the method has none."""
    stale: str = "gradients"
    """What has a staleness: gradients or messages."""

    participation: tuple[ParticipationRow, ...] = ()
    """Of every worker, where some can be left out of a round; empty otherwise."""

    def __post_init__(self) -> None:
        seconds, gradients = np.asarray(self.seconds, dtype=float), np.asarray(self.gradients, dtype=np.int64)
        if seconds.shape != (len(gradients), len(PARTS)) or not np.isfinite(seconds).all():
            raise ValueError(
                f"finite seconds of {len(gradients)} workers and {len(PARTS)} parts are needed, not {seconds.shape}"
            )
        object.__setattr__(self, "seconds", seconds)
        object.__setattr__(self, "gradients", gradients)
        object.__setattr__(self, "staleness", dict(sorted(self.staleness.items())))


def idle_share(seconds: np.ndarray) -> np.ndarray:
    """(K,) share of each worker's time in which it neither computed nor compressed, from (K, parts) seconds.

    1 - (compute + compress) / total, so communication that compute does not hide counts as idle;
    0 for a worker whose time is 0.
    """
    total = seconds.sum(axis=-1)
    busy = seconds[..., _BUSY].sum(axis=-1)
    return np.where(total > 0, 1 - busy / np.where(total > 0, total, 1.0), 0.0)


def traffic(
    links: Sequence[tuple[str, str]], nbytes: Sequence[float] | np.ndarray, messages: Sequence[float] | np.ndarray
) -> tuple[LinkTraffic, ...]:
    """The links that carried something, in the network's order; bytes are whole up to rounding, and rounded."""
    return tuple(
        LinkTraffic(source, destination, round(float(carried)), round(float(number)))
        for (source, destination), carried, number in zip(links, nbytes, messages, strict=True)
        if number
    )


def rows_of(details: Details) -> dict[str, list[Any]]:
    """The rows of each file that has any."""
    workers = [
        WorkerRow(worker, int(gradients), *seconds)
        for worker, (gradients, seconds) in enumerate(zip(details.gradients, details.seconds.tolist(), strict=True))
    ]
    rows: dict[str, list[Any]] = {
        "workers.csv": workers,
        "links.csv": list(details.links),
        "staleness.csv": [StalenessRow(*pair, details.stale) for pair in details.staleness.items()],
        "participation.csv": list(details.participation),
    }
    return {file: found for file, found in rows.items() if found}


def from_rows(rows: Mapping[str, Sequence[Any]]) -> Details:
    """What :func:`rows_of` made rows of. Raises ValueError where rows are missing or twice there."""
    workers = rows.get("workers.csv", [])
    if not workers or [row.worker for row in workers] != list(range(len(workers))):
        raise ValueError("the rows are not those of workers 0, 1, 2 ..., each once")
    seconds = np.array([[getattr(row, f"{part}_s") for part in PARTS] for row in workers])
    staleness = rows.get("staleness.csv", [])
    return Details(
        seconds,
        np.array([row.gradients for row in workers]),
        tuple(rows.get("links.csv", ())),
        {row.staleness: row.count for row in staleness},
        staleness[0].of if staleness else "gradients",
        tuple(rows.get("participation.csv", ())),
    )


FILES: dict[str, type] = {
    "workers.csv": WorkerRow,
    "links.csv": LinkTraffic,
    "staleness.csv": StalenessRow,
    "participation.csv": ParticipationRow,
}
"""Each file and what a row of it is."""
