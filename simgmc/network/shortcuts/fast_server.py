"""A parameter-server round in arrays: the fast path for many workers, exact where it applies.

Where every link is used either by one worker's message or by all of them, the pushes share
one bandwidth and each has a cap of its own: the rate of each is the smaller of its cap and
a level common to all, found from the sorted caps at once. Likewise the pulls.
"""

from __future__ import annotations

import numpy as np

from simgmc.network.collectives.schedule import Placement

MIN_MESSAGES = 32
"""Workers from which arrays beat events."""


def incast(start: np.ndarray, nbytes: np.ndarray, own: np.ndarray, shared: float) -> np.ndarray:
    """(flows,) seconds at which each flow's last byte leaves.

    ``start``: (flows,) s; ``nbytes``: (flows,); ``own``: (flows,) bytes/s that each flow has for
    itself; ``shared``: bytes/s that all of them have together, max-min fairly.
    """
    order = np.argsort(own, kind="stable")
    cap, begin, left = own[order], start[order], nbytes[order].astype(float)
    end = np.where(left > 0, np.nan, begin)
    coming = [flow for flow in np.argsort(begin, kind="stable").tolist() if left[flow] > 0]
    coming.reverse()
    active = np.zeros(len(cap), dtype=bool)
    now = 0.0
    while True:
        under_way = np.flatnonzero(active)
        if not len(under_way):
            if not coming:
                break
            now = float(begin[coming[-1]])
        if coming and begin[coming[-1]] <= now:
            while coming and begin[coming[-1]] <= now:
                active[coming.pop()] = True
            continue
        caps = cap[under_way]
        many = len(caps)
        # Slower caps are met in full; what they leave is shared by the rest.
        level = (shared - np.concatenate(([0.0], np.cumsum(caps[:-1])))) / np.arange(many, 0, -1)
        limited = np.flatnonzero(caps >= level)
        rate = np.minimum(caps, level[limited[0]]) if len(limited) else caps
        needed = left[under_way] / rate
        first = float(needed.min())
        until = float(begin[coming[-1]]) - now if coming else np.inf
        if until < first:
            left[under_way] -= rate * until
            now = float(begin[coming[-1]])
            continue
        left[under_way] -= rate * first
        now += first
        gone = under_way[needed <= first]
        end[gone] = now
        active[gone] = False
    found = np.empty_like(end)
    found[order] = end
    return found


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
