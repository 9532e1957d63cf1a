"""What exchanges take on this machine or process group, and how fast it adds and compresses (`simgmc calibrate`)."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from simgmc.compression import build
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness, generator
from simgmc.distributed.group import Group
from simgmc.distributed.twin import latency
from simgmc.distributed.twin.laboratory import Laboratory, dropped
from simgmc.distributed.twin.measuring import Timed, Wanted, empty_file, read, timed
from simgmc.network import Host, star, worker_names
from simgmc.network.calibration.empty import Empty
from simgmc.network.calibration.table import MeasuredExchange

COLLECTIVES = ("ring", "ring-all-gather", "gossip")
SECONDS = 0.04
"""Of the link's bandwidth, that the vector in the middle takes; the others are a quarter of it and four times it."""
REPETITIONS = 5


def wanted(bandwidth: float) -> list[Wanted]:
    """The exchanges that are timed, for links of so many bytes/s."""
    middle = bandwidth * SECONDS
    return [Wanted(name, max(4096, round(middle * share))) for share in (0.25, 1.0, 4.0) for name in COLLECTIVES]


def in_laboratory(nodes: int, bandwidth: float) -> tuple[list[MeasuredExchange], Empty]:
    """Exchanges between processes in namespaces of their own, over links shaped to so many bytes/s, and what an empty
    message takes.

    Raises:
        NotHereError: this machine, or this user, cannot have namespaces; it says what is missing.
    """
    names = worker_names(nodes)
    plan = {
        "empty": True,
        "repetitions": REPETITIONS,
        "wanted": [{"collective": one.collective, "nbytes": one.nbytes} for one in wanted(bandwidth)],
    }
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "plan.json", Path(folder) / "rows.jsonl"
        file.write_text(json.dumps(plan), encoding="utf-8")
        command = [sys.executable, "-m", "simgmc.distributed.twin.measuring", str(file), str(out)]
        with Laboratory(star([Host(name, bandwidth, bandwidth, 0.0) for name in names]), names) as laboratory:
            laboratory.run_or_raise(command, 600.0)
            if lost := dropped(laboratory.shaped()):
                raise SimgmcError(f"shapers dropped packets ({lost}): what was measured is not the transport alone")
        return exchanges(read(out)), Empty(**json.loads(empty_file(out).read_text(encoding="utf-8")))


def in_group(bandwidth: float | None) -> tuple[list[MeasuredExchange], Empty] | None:
    """Exchanges in the process group that torchrun started, and what an empty message takes; None on ranks but the
    first.

    ``bandwidth``: bytes/s of each link; None: what a large message has.
    """
    torch.set_num_threads(1)
    group = Group("gloo", torch.device("cpu"), 300.0, "calibration")
    if group.size < 2:
        raise SimgmcError("one process sends nothing: start two or more (torchrun --nproc-per-node 4 ...)")
    try:
        empty = latency.measured(group)
        rate = group.told(None if empty is None else bandwidth or empty.rate)
        found = [timed(group, one, REPETITIONS) for one in wanted(rate)]
        group.wait_for_all()
    finally:
        group.leave()
    return None if empty is None else (exchanges([one for one in found if one is not None]), empty)


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
