"""What a message takes that has nothing in it, and what part of that is the network's.

The kernel knows how long a connection's packets took there and back at the least: no process has to wake up for an
acknowledgement. What an empty message takes more than that, one way, is software: of the library, and until the
processes run.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import struct
import time
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from simgmc.distributed.group import Group
from simgmc.network.calibration.empty import Empty

REPETITIONS = 50
MANY = 64
"""Messages that are sent one behind the other."""
LARGE = 256_000, 4_000_000
"""Bytes of two messages whose difference tells the bandwidth."""
_LEAST_ROUND_TRIP = struct.Struct("148xI")
"""Where the least round trip is in Linux's ``struct tcp_info``, in microseconds."""


def measured(group: Group) -> Empty | None:
    """Measure it; all ranks call this, rank 0 gets it."""
    one = _seconds(group, partial(_there_and_back, group, 1, 1), REPETITIONS)
    many = _seconds(group, partial(_there_and_back, group, 1, MANY), REPETITIONS // 5)
    small, large = (_seconds(group, partial(_there_and_back, group, nbytes, 1), 5) for nbytes in LARGE)
    told = group.gathered(least_round_trip())
    if group.rank:
        return None
    known = [each for each in told if each is not None]
    rate = 2 * (LARGE[1] - LARGE[0]) / max(large - small, 1e-9)
    return Empty(statistics.median(known) if known else None, one / 2, max(many - one, 0.0) / (MANY - 1), rate)


def least_round_trip() -> float | None:
    """Seconds, of this process's TCP connections to other hosts (to this one, where it has no others), the median."""
    here: list[float] = []
    elsewhere: list[float] = []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError, ValueError, struct.error):
                with socket.socket(fileno=os.dup(int(name))) as one:
                    own, other = one.getsockname()[0], one.getpeername()[0]
                    (least,) = _LEAST_ROUND_TRIP.unpack_from(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192))
                    if 0 < least < 2**32 - 1:
                        (here if own == other or ip_address(other).is_loopback else elsewhere).append(least * 1e-6)
    found = elsewhere or here
    return statistics.median(found) if found else None


def _seconds(group: Group, exchange: Callable[[], None], repetitions: int) -> float:
    """The median; on ranks that take no part some number."""
    group.wait_for_all()
    exchange()
    seconds = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        exchange()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def _there_and_back(group: Group, nbytes: int, times: int) -> None:
    """So many messages from rank 0 to rank 1 one behind the other, then one of their size back."""
    wire, payload = group.wire, b"x" * nbytes
    if group.rank == 0:
        wire.exchange([(1, payload)] * times, [])
        wire.exchange([], [(1, nbytes)])
    elif group.rank == 1:
        wire.exchange([], [(0, nbytes)] * times)
        wire.exchange([(0, payload)], [])
