"""What a run on real processes measured, rank by rank and step by step: ``measured/KEY.csv`` of a run directory."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, get_type_hints

from simgmc.core.errors import SimgmcError, reason
from simgmc.results.directory import rows
from simgmc.results.directory.run_directory import RunDirectory

FOLDER = "measured"


class Call(NamedTuple):
    """Something that a rank asked of its process group."""

    what: str
    """send, receive: a message to or from another rank; tell, hear: something about messages, such as their lengths;
    sum: an all-reduce; lengths: an all-gather of a number; barrier. Once for each other rank: with: messages went to or
    came from it; from: they came from it."""
    nbytes: int
    """Of the message, or of this rank's numbers."""
    ranks: int = 2
    """How many take part."""
    both: int = 0
    """1: of a message, where the other rank sends one to this rank at the same time."""


class Step(NamedTuple):
    """One step of one rank's round. Seconds are those of :class:`simgmc.distributed.clock.Clock`."""

    rank: int
    round: int
    """From 0."""
    step: int
    """Of the round's :class:`~simgmc.costs.steps.RoundCosts`; -1: the round from its begin to its end."""
    kind: str
    """round, compute, compress, average, mix, wait or tell (once, which parameters have no gradient); of an
    asynchronous training compute, compress, serve (a request of another), and what is waited for: exchange, request,
    wait, collect; interface: since the clock went on last, see :func:`interface`."""
    carried_by: str
    """What carried an average or a mix, in words."""
    begin_s: float
    """Of an exchange: when this rank's message was ready; of compress: when the step before was over."""
    end_s: float
    """Of an exchange: when its answer was there, decoded and added."""
    bytes_sent: int
    """Payload that this rank gave to others in it; of ``all_reduce`` what a ring gives; of ``interface`` all that went
    out there."""
    bytes_received: int
    nbytes: int
    """Length of this rank's own message, as it is simulated."""
    wire_s: float = 0.0
    """Spent in calls of the process group."""
    aggregate_s: float = 0.0
    """Spent decoding and adding."""
    behind: int = 0
    """1: in the background, while the rank went on."""
    calls: str = ""
    """What it asked of the process group, see :func:`calls_text`."""


def calls_text(calls: Mapping[Call, int]) -> str:
    """``3 send 1000 2 0;1 lengths 8 4 0``: how many times which call."""
    return ";".join(f"{times} {' '.join(map(str, one))}" for one, times in calls.items())


def read_calls(texts: Iterable[str]) -> Counter[Call]:
    """Those that several texts of :func:`calls_text` tell of, together."""
    found: Counter[Call] = Counter()
    for text in (text for one in texts for text in one.split(";") if text):
        times, what, *numbers = text.split()
        found[Call(what, *map(int, numbers))] += int(times)
    return found


def file_of(directory: RunDirectory, training_key: str) -> Path:
    """Where the steps of a training are."""
    return directory.path / FOLDER / directory.costs_path(training_key).with_suffix(".csv").name


def append(file: Path, steps: Iterable[Step]) -> None:
    """Adds steps to a file, which may not exist yet. Raises SimgmcError where it cannot be written."""
    if not file.exists():
        rows.replace(file, _text([Step._fields]).encode())
    rows.append(file, _text(steps))


def _text(of: Iterable[Iterable[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(of)
    return text.getvalue()


def read(directory: RunDirectory, training_key: str) -> list[Step]:
    """The steps of a training, in the order in which they were written. Raises SimgmcError where there are none."""
    file = file_of(directory, training_key)
    try:
        return list(_rows(file))
    except (OSError, ValueError, TypeError) as error:
        raise SimgmcError(f"{file}: cannot be read: {reason(error)}") from None


def interface() -> tuple[int, int] | None:
    """Bytes that the interface of the process group has sent and received so far, Ethernet's headers included.

    None where the group is not told which one is its own (GLOO_SOCKET_IFNAME), or nothing counts it.
    """
    try:
        text = Path("/proc/thread-self/net/dev").read_text()
    except OSError:
        return None
    name = re.escape(os.environ.get("GLOO_SOCKET_IFNAME", ""))
    found = re.search(rf"^\s*{name}:\s*(\d+)(?:\s+\d+){{7}}\s+(\d+)", text, re.MULTILINE)
    return (int(found[2]), int(found[1])) if name and found else None


def _rows(file: Path) -> Iterator[Step]:
    """All whole lines: the last one may have been cut short when the run was killed."""
    make = list(get_type_hints(Step).values())
    text = file.read_text(encoding="utf-8")
    found = csv.reader(text[: text.rfind("\n") + 1].splitlines())
    next(found, None)
    for row in found:
        # Older runs have fewer columns.
        yield Step(*(one(cell) for one, cell in zip(make, row, strict=False)))
