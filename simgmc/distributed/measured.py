"""What a run on real processes measured, rank by rank and step by step: ``measured/KEY.csv`` of a run directory."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, get_type_hints

from simgmc.core.errors import SimgmcError, reason
from simgmc.results.directory.run_directory import RunDirectory

FOLDER = "measured"


class Step(NamedTuple):
    """One step of one rank's round. Seconds are those of :class:`simgmc.distributed.clock.Clock`."""

    rank: int
    round: int
    """From 0."""
    step: int
    """Of the round's :class:`~simgmc.costs.steps.RoundCosts`; -1: the round from its begin to its end."""
    kind: str
    """round, compute, compress, average, mix or wait."""
    carried_by: str
    """What carried an average or a mix, in words."""
    begin_s: float
    """Of an exchange: when this rank's message was ready; of compress: when the step before was over."""
    end_s: float
    """Of an exchange: when its answer was there, decoded and added."""
    bytes_sent: int
    """Payload that this rank gave to others in it; of ``all_reduce`` what a ring gives."""
    bytes_received: int
    nbytes: int
    """Length of this rank's own message, as it is simulated."""
    wire_s: float = 0.0
    """Spent in calls of the process group."""
    aggregate_s: float = 0.0
    """Spent decoding and adding."""
    behind: int = 0
    """1: in the background, while the rank went on."""


def file_of(directory: RunDirectory, training_key: str) -> Path:
    """Where the steps of a training are."""
    return directory.path / FOLDER / directory.costs_path(training_key).with_suffix(".csv").name


def append(file: Path, steps: Iterable[Step]) -> None:
    """Adds steps to a file, which may not exist yet."""
    file.parent.mkdir(exist_ok=True)
    new = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        if new:
            writer.writerow(Step._fields)
        writer.writerows(steps)


def read(directory: RunDirectory, training_key: str) -> list[Step]:
    """The steps of a training, in the order in which they were written. Raises SimgmcError where there are none."""
    file = file_of(directory, training_key)
    try:
        return list(_rows(file))
    except (OSError, ValueError, TypeError) as error:
        raise SimgmcError(f"{file}: cannot be read: {reason(error)}") from None


def write_starts(file: Path, starts: Iterable[tuple[float, float]]) -> None:
    """Beside the steps' file: whenever the clock went on, for whoever watched the machine meanwhile."""
    with file.with_suffix(".clock.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, lineterminator="\n").writerows([("seconds", "monotonic_zero"), *starts])


def read_starts(directory: RunDirectory, training_key: str) -> list[tuple[float, float]]:
    """What :func:`write_starts` wrote. Raises SimgmcError where there is nothing."""
    file = file_of(directory, training_key).with_suffix(".clock.csv")
    try:
        rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))[1:]
        return [(float(seconds), float(zero)) for seconds, zero in rows]
    except (OSError, ValueError) as error:
        raise SimgmcError(f"{file}: cannot be read: {reason(error)}") from None


def _rows(file: Path) -> Iterator[Step]:
    """All whole lines: the last one may have been cut short when the run was killed."""
    make = list(get_type_hints(Step).values())
    text = file.read_text(encoding="utf-8")
    rows = csv.reader(text[: text.rfind("\n") + 1].splitlines())
    next(rows, None)
    for row in rows:
        yield Step(*(one(cell) for one, cell in zip(make, row, strict=True)))
