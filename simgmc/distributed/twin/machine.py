"""What exchanges take on this machine or process group, and how fast it adds and compresses (`simgmc calibrate`)."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from simgmc.compression import build
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness, generator
from simgmc.distributed.group import Group
from simgmc.distributed.twin.laboratory import Laboratory
from simgmc.distributed.twin.measuring import Timed, Wanted, read, timed
from simgmc.network import Host, star, worker_names
from simgmc.network.calibration.table import MeasuredExchange

COLLECTIVES = ("ring", "ring-all-gather", "gossip")
SECONDS = 0.04
"""Of the link's bandwidth, that the vector in the middle takes; the others are a quarter of it and four times it."""
UNKNOWN = 1_000_000
"""Bytes of the vector in the middle where the bandwidth is not known."""
REPETITIONS = 5


def wanted(bandwidth: float | None) -> list[Wanted]:
    """The exchanges that are timed, for links of so many bytes/s."""
    middle = UNKNOWN if bandwidth is None else bandwidth * SECONDS
    return [Wanted(name, max(4096, round(middle * share))) for share in (0.25, 1.0, 4.0) for name in COLLECTIVES]


def in_laboratory(nodes: int, bandwidth: float) -> list[MeasuredExchange]:
    """Exchanges between processes in namespaces of their own, over links shaped to so many bytes/s.

    Raises:
        NotHereError: this machine, or this user, cannot have namespaces; it says what is missing.
    """
    names = worker_names(nodes)
    plan = {
        "repetitions": REPETITIONS,
        "wanted": [{"collective": one.collective, "nbytes": one.nbytes} for one in wanted(bandwidth)],
    }
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "plan.json", Path(folder) / "rows.jsonl"
        file.write_text(json.dumps(plan), encoding="utf-8")
        command = [sys.executable, "-m", "simgmc.distributed.twin.measuring", str(file), str(out)]
        with Laboratory(star([Host(name, bandwidth, bandwidth, 0.0) for name in names]), names) as laboratory:
            laboratory.run_or_raise(command, 600.0)
        return exchanges(read(out))


def in_group(bandwidth: float | None) -> list[MeasuredExchange]:
    """Exchanges in the process group that torchrun started; on ranks but the first an empty list."""
    group = Group("gloo", torch.device("cpu"), 300.0, "calibration")
    try:
        found = [timed(group, one, REPETITIONS) for one in wanted(bandwidth)]
        group.wait_for_all()
    finally:
        group.leave()
    return exchanges([one for one in found if one is not None])


def started_by_torchrun() -> bool:
    """Whether this process is one of a group."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def exchanges(rows: Sequence[Timed]) -> list[MeasuredExchange]:
    """As a table has them: the median of the repetitions, less decoding and adding, which the transport is not."""
    return [
        MeasuredExchange(
            one.wanted.collective, one.workers, one.wanted.nbytes, statistics.median(one.seconds) - one.aggregate
        )
        for one in rows
    ]


def throughputs(nbytes: int = 8_000_000) -> dict[str, float]:
    """Bytes/s of this machine on one thread: adding messages; compressing (of the dense vector) and decompressing."""
    vector = torch.from_numpy(generator(0, "throughput").standard_normal((1, nbytes // 4), dtype="float32"))
    many = vector.repeat(4, 1)
    top_k = build("top-k", Layout.flat(nbytes // 4), density=0.01)
    randomness = Randomness(0, 0, 1, [0])
    message = top_k(vector, randomness)
    payload = message.encode()
    return {
        "adding": many.numel() * 4 / _median(lambda: many.sum(dim=0)),
        "compressing (top-k, 1 %)": nbytes / _median(lambda: top_k(vector, randomness)),
        "decompressing (top-k, 1 %)": nbytes / _median(lambda: message.decode([payload]).dense()),
    }


def _median(task: Callable[[], object]) -> float:
    seconds = []
    for _ in range(9):
        begin = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[2:])
