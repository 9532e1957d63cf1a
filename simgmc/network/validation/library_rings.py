"""How Gloo's and NCCL's rings differ from a ring of slices, where that shows: as recurrences.

All ranks are alike here and do the same at the same time, so one rank's times are everybody's.
"""

from __future__ import annotations

import math

SEGMENT = 2**20
"""Bytes: Gloo's largest segment."""
CHANNELS, CHUNK, SLICE = 2, 2 * 2**20, 2**20
"""Of NCCL over sockets: two channels, each a ring of its own; half of the 4 MiB buffer a step, sent in two slices."""


def gloo_phase(
    nodes: int, nbytes: float, rate: float, latency: float, *, software: float = 0.0, adding: float = 0.0
) -> float:
    """Seconds of one half of Gloo's all-reduce: the reduce-scatter, or the all-gather.

    A rank has two segments under way. It posts the receipt and the sending of segment i when it has received (and
    added) segment i - 2 and its sending has left; the sender hears of the receipt a latency later, and only then sends.
    So two segments take max(2 s/B, s/B + 2 L), where a ring that sends ahead takes 2 s/B.

    Args:
        nbytes: of the whole vector. rate: bytes/s. latency: s, one way.
        software: s, of every segment. adding: s/byte, of what is received.
    """
    wanted = max(math.ceil(nbytes / SEGMENT), 2 * nodes)
    segments = math.ceil(wanted / nodes) * nodes
    each = nbytes / segments
    take, add = each / rate, adding * each
    posted = left = 0.0
    leaving, there = [0.0, 0.0], [0.0, 0.0]
    for _ in range(segments - segments // nodes):
        posted = max(posted, there[-2], leaving[-2])
        left = max(posted + latency, left) + software + take
        leaving.append(left)
        there.append(left + latency + add)
    return there[-1]


def gloo_all_reduce(
    nodes: int, nbytes: float, rate: float, latency: float, *, software: float = 0.0, adding: float = 0.0
) -> float:
    """Seconds of Gloo's ring all-reduce: a reduce-scatter that adds, then an all-gather."""
    first = gloo_phase(nodes, nbytes, rate, latency, software=software, adding=adding)
    return first + gloo_phase(nodes, nbytes, rate, latency, software=software)


def nccl_all_reduce(nodes: int, nbytes: float, rate: float, latency: float, software: float = 0.0) -> float:
    """Seconds of NCCL's ring all-reduce where latency outlasts what it sends ahead.

    A channel moves a chunk for each node in a loop of 2 (K-1) steps, and the next loop after it. A step cannot be
    shorter than its first slice takes to arrive beside those of the other channels: max(C chunk/B, L + C slice/B).
    Where the first is larger, and it is up to latencies of some 17 ms at 1 Gbit/s, this is the plain ring.
    """
    loops = nbytes / (CHANNELS * nodes * CHUNK)
    step = max(CHANNELS * CHUNK / rate, latency + CHANNELS * SLICE / rate) + software
    return loops * 2 * (nodes - 1) * step + latency
