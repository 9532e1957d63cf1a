"""Exchanges timed on a process group without a training, a rank each: ``python -m simgmc.distributed.twin.measuring``.

Every rank carries made-up messages as a training's rounds would (:mod:`simgmc.distributed.carriers`); rank 0 writes a
line of JSON for each exchange, with the sizes that it had, and beside them what an empty message takes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from simgmc.compression import build
from simgmc.compression.identity import Identity
from simgmc.compression.message import Message
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness, generator
from simgmc.costs.steps import Average, Mix
from simgmc.distributed.carriers import Carriers, Task
from simgmc.distributed.group import Group
from simgmc.distributed.measured import Call, calls_text, interface
from simgmc.distributed.twin import latency

GOSSIP = "gossip"


@dataclass(frozen=True)
class Wanted:
    """One exchange to be timed."""

    collective: str
    """Of a scenario, or "gossip": with the two neighbours in a ring."""
    nbytes: int
    """Of the dense vector, in 32-bit floats."""
    density: float | None = None
    """The share of its entries that every rank sends; None: all."""
    sites: tuple[tuple[int, ...], ...] = ()
    """The ranks of each site, of ``two-level``: it adds on the way, so that sparse messages are blocks that all
    share."""


@dataclass(frozen=True)
class Timed:
    """One exchange as it was timed."""

    wanted: Wanted
    workers: int
    up: list[int]
    """Bytes of every rank's message."""
    down: int
    summable: bool
    item_bytes: int
    partial: list[list[int]] | None
    carried_by: str
    seconds: list[float]
    """Of each repetition: from when the last rank begins to when the last has its answer, decoding and adding in it."""
    aggregate: float
    """Seconds of decoding and adding, the median."""
    counted: list[int] = field(default_factory=list)
    """Bytes that left the interface of every rank in all repetitions and the barriers around each; empty where nothing
    counts them."""
    calls: list[str] = field(default_factory=list)
    """What every rank asked of the process group meanwhile, as :func:`simgmc.distributed.measured.calls_text` says."""

    @property
    def cost(self) -> Average | Mix:
        """As the simulation takes it."""
        up = np.array(self.up)
        if self.wanted.collective == GOSSIP:
            ranks = range(self.workers)
            edges = sorted({(a, b % self.workers) for a in ranks for b in (a - 1, a + 1)})
            return Mix(up, np.array(edges), up // 4)
        partial = None if self.partial is None else np.array(self.partial)
        return Average(up, self.down, self.summable, self.item_bytes, up // 4, self.down // 4, partial)


def read(file: Path) -> list[Timed]:
    """What :func:`main` wrote."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        sites = tuple(tuple(site) for site in row["wanted"].pop("sites"))
        found.append(Timed(**(row | {"wanted": Wanted(**row["wanted"], sites=sites)})))
    return found


def empty_file(out: Path) -> Path:
    """Where :func:`main` writes what an empty message takes, beside its lines."""
    return out.with_suffix(".empty.json")


def message_of(wanted: Wanted, rank: int, workers: int) -> Message:
    """This rank's message of an exchange."""
    d = max(1, wanted.nbytes // 4)
    vector = torch.from_numpy(generator(rank, "message", d).standard_normal((1, d), dtype="float32"))
    randomness = Randomness(0, 0, 1, [rank])
    if wanted.density is None:
        return Identity(values="fp32")(vector, randomness)
    kind = "rbgs" if wanted.sites else "top-k"
    return build(kind, Layout.flat(d), density=wanted.density)(vector, randomness)


def timed(group: Group, wanted: Wanted, repetitions: int) -> Timed | None:
    """Carry it so many times, and once before; on rank 0 what it took."""
    message, rank, size = message_of(wanted, group.rank, group.size), group.rank, group.size
    down, partial, words, aggregates = 0, None, "send and receive to and from each neighbour", []
    if wanted.collective == GOSSIP:
        payload, neighbours = message.encode(), sorted({(rank - 1) % size, (rank + 1) % size} - {rank})

        def carry() -> float:
            lengths = [(one, len(payload)) for one in neighbours]
            arrived = group.wire.exchange([(one, payload) for one in neighbours], lengths)
            began = time.perf_counter()
            message.decode([payload, *arrived]).dense().sum(dim=0)
            return time.perf_counter() - began
    else:
        carriers = Carriers(group, size, wanted.collective, False, wanted.sites)
        task = _task(message)
        carrier = carriers.of(task)
        words = carrier.words
        first = carrier.carry(group.wire, task)
        down, partial = first.down, first.partial

        def carry() -> float:
            return carrier.carry(group.wire, task).aggregate_s

    carry()
    group.wait_for_all()
    group.wire.taken_calls()
    spans, before = [], interface()
    for _ in range(repetitions):
        group.wait_for_all()
        begin = time.monotonic()
        aggregates.append(carry())
        spans.append((begin, time.monotonic()))
    group.wait_for_all()
    after = interface()
    left = after[0] - before[0] if before is not None and after is not None else None
    calls = group.wire.taken_calls() + Counter({Call("barrier", 0, size): repetitions + 1})
    told = group.gathered((spans, left, calls_text(calls)))
    sizes = group.gathered(int(message.nbytes[0]))
    shown = None if partial is None else np.asarray(partial).tolist()
    if rank:
        return None
    item, adding = message.item_bytes, float(np.median(aggregates))
    seconds = [
        max(end for _, end in each) - max(start for start, _ in each)
        for each in zip(*(one for one, _, _ in told), strict=True)
    ]
    counted = [left for _, left, _ in told if left is not None]
    calls_told = [text for _, _, text in told]
    return Timed(wanted, size, sizes, down, message.summable, item, shown, words, seconds, adding, counted, calls_told)


def _task(message: Message) -> Task:
    return Task(message, lambda messages: messages.mean(), True, None, None, lambda: 0, lambda count: None)


def main(arguments: Sequence[str]) -> None:
    """``PLAN OUT``: a JSON list of what is wanted, with ``repetitions``, and ``empty`` where messages with nothing in
    them are timed too; the file for the lines.
    """
    plan, out = json.loads(Path(arguments[0]).read_text(encoding="utf-8")), Path(arguments[1])
    torch.set_num_threads(1)
    group = Group("gloo", torch.device("cpu"), 300.0, "measuring")
    if plan.get("empty") and (empty := latency.measured(group)) is not None:
        empty_file(out).write_text(json.dumps(asdict(empty)), encoding="utf-8")
    for row in plan["wanted"]:
        wanted = Wanted(**(row | {"sites": tuple(tuple(site) for site in row.get("sites", ()))}))
        found = timed(group, wanted, plan["repetitions"])
        if found is not None:
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(found)) + "\n")
    group.leave()
    sys.stdout.flush()
    os._exit(0)  # threads of the group may still be waiting


if __name__ == "__main__":
    main(sys.argv[1:])
