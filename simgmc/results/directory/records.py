"""What a run directory's tables hold: which series there are, and the rows of each."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from simgmc.core.transport import Transport
from simgmc.results.directory.columns import Bytes, Seconds
from simgmc.results.directory.rows import cell

COLLECTIVE_KEY = "cluster.collective"
"""The grid key that has a column of its own, ``collective``."""
RUN_KEY = "run"
"""The key that tells the series of several runs apart that are looked at together; no run's own grid has it."""


def grid_texts(grid: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
    """A grid's keys but the collective, each with its value as the text that the CSV files hold."""
    pairs = grid.items() if isinstance(grid, Mapping) else grid
    return tuple((key, cell(value)) for key, value in pairs if key != COLLECTIVE_KEY)


@dataclass(frozen=True)
class SeriesKey:
    """Which series: a method at a grid point with a seed.

    ``grid`` maps the grid's keys to values (text, number or bool); they are kept as the
    text that the CSV holds. The collective is not repeated in it.
    """

    method: str
    transport: Transport
    """What carries the method's messages: the column ``collective``, whose name is older than methods without one."""
    seed: int
    grid: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", grid_texts(self.grid))
        object.__setattr__(self, "seed", int(self.seed))

    @property
    def texts(self) -> dict[str, str]:
        """The values of all keys that tell it from others of its method and seed: the grid's, and the collective."""
        return {**dict(self.grid), COLLECTIVE_KEY: str(self.transport)}

    @property
    def words(self) -> str:
        """The series as people write it: method, transport, the grid's values, seed."""
        return ", ".join([self.method, str(self.transport), *(value for _, value in self.grid), f"seed {self.seed}"])


@dataclass(frozen=True)
class Evaluation:
    """One row of ``metrics.csv``. Bytes are summed over workers and over the run so far."""

    round: int
    epoch: Annotated[float, "passes over the training data"]
    sim_time_s: Seconds
    """Simulated time at which the evaluated model existed; evaluating takes none."""
    train_loss: float | None
    """Loss of the workers' latest minibatches at the evaluated model; unknown at round 0. In runs of an
    earlier simgmc the mean, since the evaluation before, of the losses where gradients were taken."""
    test_loss: float | None
    test_accuracy: float | None
    """In [0, 1]; unknown for a task that has only a loss."""
    bytes_up: Bytes
    """Sent by workers, onto the network."""
    bytes_down: Bytes
    """Received by workers, from the network."""
    rcc: float | None
    """Relative communication cost so far; unknown at round 0."""


@dataclass(frozen=True)
class OtherMetric:
    """One row of ``other_metrics.csv``: a further value of an evaluation."""

    round: int
    name: str
    value: float


@dataclass(frozen=True)
class Breakdown:
    """One row of ``breakdown.csv``: a finished series.

    The seconds are the mean over workers of the sum over rounds; together they are the
    mean time that a worker spent.
    """

    rounds: int
    sim_time_s: Seconds
    compute_s: Seconds
    compress_s: Seconds
    transfer_s: Seconds
    latency_s: Seconds
    aggregate_s: Seconds
    wait_s: Seconds
    bytes_sent_by_workers: Bytes
    bytes_received_by_workers: Bytes
    bytes_into_server: Bytes
    bytes_out_of_server: Bytes
    rcc: float | None
    diverged: int | None = None
    """The round in which training left the finite numbers or the loss grew too large, and so ended."""
    evaluations: int | None = None
    """Rows that the series has in ``metrics.csv``; unknown in runs from before this was written."""
    stopped: str | None = None
    """Why the cluster ended it before its end, if it did: a crash, a link that is dead for good."""
    rows: str | None = None
    """Rows that the series has in ``other_metrics.csv`` and the files of details, as ``workers.csv 8; links.csv 16``;
    unknown in runs from before this was written."""
    picked: str | None = None
    """Where the collective is picked for each message: which carried how many, as ``ring 300; parameter-server 36``."""
    events_from: int | None = None
    """The first of its rounds that was simulated event by event, as messages may meet on a link; empty: none was."""

    def picks(self) -> dict[str, int]:
        """Which collectives were picked for how many messages. Raises ValueError where that is not what is written."""
        pairs = (one.rsplit(" ", 1) for one in self.picked.split("; ")) if self.picked else ()
        return {name: int(count) for name, count in pairs}

    def row_counts(self) -> dict[str, int]:
        """The same by file. Raises ValueError where that is not what is written."""
        pairs = (one.split(" ") for one in self.rows.split("; ")) if self.rows else ()
        return {file: int(count) for file, count in pairs}

    def with_row_counts(self, counts: Mapping[str, int]) -> Breakdown:
        """The same with these counts, of files that have rows."""
        return replace(self, rows="; ".join(f"{file} {count}" for file, count in counts.items() if count) or None)

    def without_rows_of(self, files: Container[str]) -> Breakdown:
        """The same with no counts of these files."""
        return self.with_row_counts({file: count for file, count in self.row_counts().items() if file not in files})

    def __post_init__(self) -> None:
        self.row_counts()
        self.picks()
        if not math.isfinite(self.sim_time_s):
            raise ValueError(f"a series that is finished took a time, not {self.sim_time_s}")
