"""A parameter-server round in arrays: the fast path, exact where it applies.

Where every link is used either by one worker's message or by all of them, the pushes share
one bandwidth and each has a cap of its own: the rate of each is the smaller of its cap and
a level common to all, found from the sorted caps at once. Likewise the pulls. N networks are
solved together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simgmc.network.exchanges.placement import Placement


def incast(start: np.ndarray, nbytes: np.ndarray, own: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """(N, flows) seconds at which each flow's last byte leaves, on N networks.

    ``start``: (N, flows) s; ``nbytes``: (flows,) or (N, flows); ``own``: (N, flows) bytes/s that each flow has for
    itself; ``shared``: (N,) bytes/s that all of them have together, max-min fairly.
    """
    if all((one == one[..., :1]).all() for one in (start, nbytes, own)):  # they begin and end together
        size = nbytes.astype(float)[..., 0]
        end = start[:, 0] + size / np.minimum(own[:, 0], shared / own.shape[1])
        return np.repeat(np.where(size > 0, end, start[:, 0])[:, None], own.shape[1], axis=1)
    order = np.argsort(own, axis=1, kind="stable")
    cap, begin = np.take_along_axis(own, order, axis=1), np.take_along_axis(start, order, axis=1)
    left = np.take_along_axis(np.broadcast_to(nbytes.astype(float), order.shape), order, axis=1)
    end, open_ = begin.copy(), left > 0
    now = np.full(len(start), -np.inf)
    while open_.any():
        # Where nothing is under way, the clock goes on to the next start.
        idle = ~(open_ & (begin <= now[:, None])).any(axis=1)
        if idle.any():
            first = np.where(open_, begin, np.inf).min(axis=1)
            now = np.where(idle & np.isfinite(first), first, now)
        active = open_ & (begin <= now[:, None])
        # Slower caps are met in full; what they leave is shared by the rest.
        met = _before(np.where(active, cap, 0.0))
        rest = active.sum(axis=1, keepdims=True) - _before(active)
        level = (shared[:, None] - met) / np.maximum(rest, 1)
        limited = active & (cap >= level)
        common = np.take_along_axis(level, limited.argmax(axis=1)[:, None], axis=1)
        rate = np.where(limited.any(axis=1, keepdims=True), np.minimum(cap, common), cap)
        rate = np.where(active, rate, 0.0)
        needed = np.full_like(left, np.inf)
        np.divide(left, rate, out=needed, where=active)
        gone_in = needed.min(axis=1)
        coming = np.where(open_ & ~active, begin, np.inf).min(axis=1)
        joins = coming - now < gone_in
        step = np.where(joins, coming - now, gone_in)
        now = np.where(joins, coming, np.where(np.isfinite(gone_in), now + gone_in, now))
        np.subtract(left, rate * np.where(np.isfinite(step), step, 0.0)[:, None], out=left, where=active)
        gone = active & ~joins[:, None] & (needed <= gone_in[:, None])
        end = np.where(gone, now[:, None], end)
        open_ &= ~gone
    found = np.empty_like(end)
    np.put_along_axis(found, order, end, axis=1)
    return found


def _before(values: np.ndarray) -> np.ndarray:
    """(N, flows) the sum of those before each."""
    return np.concatenate((np.zeros((len(values), 1)), np.cumsum(values[:, :-1], axis=1)), axis=1)


class Shares:
    """What a group of flows has in common and apart, on one network."""

    def __init__(self, placement: Placement, flows: range):
        links = placement.links
        uses: dict[int, int] = {}
        for flow in flows:
            for link in placement.routes[flow] or ():
                uses[link] = uses.get(link, 0) + 1
        self.simple = all(len(placement.ways[flow]) == 1 for flow in flows) and all(
            many in (1, len(flows)) and links.bandwidth[link] > 0 for link, many in uses.items()
        )
        """Whether every link is used by one of the flows or by all of them."""
        self.shared = min((links.bandwidth[link] for link, many in uses.items() if many == len(flows)), default=np.inf)
        self.own = np.array(
            [
                min(
                    [
                        placement.cap[flow],
                        *(links.bandwidth[link] for link in placement.routes[flow] or () if uses[link] == 1),
                    ]
                )
                for flow in flows
            ]
        )
        self.simple = self.simple and self.shared < np.inf
        self.latency = np.array([placement.latency[flow] for flow in flows])
        self.extra = np.array([placement.extra[flow] if placement.extra else 0.0 for flow in flows])


class ServerLinks:
    """The links of a parameter-server round: pushes 0 .. K-1, the adding K, pulls K+1 .. 2K."""

    def __init__(self, placement: Placement):
        workers = placement.structure.participants
        self.push = Shares(placement, range(workers))
        self.pull = Shares(placement, range(workers + 1, 2 * workers + 1))
        self.simple = self.push.simple and self.pull.simple
        """Whether the fast path applies."""


class Way:
    """One way, to the server or from it, on N networks: what :class:`Shares` has, stacked."""

    def __init__(self, shares: Sequence[Shares]):
        self.own, self.latency, self.extra = (
            np.stack([getattr(one, name) for one in shares]) for name in ("own", "latency", "extra")
        )
        """Each (N, flows): bytes/s, s, s."""
        self.shared = np.array([one.shared for one in shares])
        """(N,) bytes/s."""
