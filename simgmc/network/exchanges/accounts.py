"""What an exchange moved, and where a worker's time in it went: its critical chain, walked backwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from simgmc.network.exchanges.execution import Execution
from simgmc.network.exchanges.placement import Placement, Ways
from simgmc.network.exchanges.schedule import Schedule
from simgmc.network.flows.fluid import CapacityError
from simgmc.network.topology.routing import Links

CATEGORIES = ("compute", "compress", "transfer", "latency", "aggregate", "wait")
"""Where time goes. transfer: bytes leaving their sender (on the chain of flows that the
worker waited for, and of those before them on their connection); latency: bytes on their way and fixed costs of
messages; aggregate: adding messages; wait: another worker on that chain was not ready yet."""


def chain(
    execution: Execution, flow: int, ready: float, end: float, segments: list[tuple[str, float, float]] | None = None
) -> tuple[float, float, float, int, float]:
    """Walk back from ``end``, when a flow arrived, to a participant's readiness or to ``ready``.

    Returns seconds of transfer, latency and adding on the way, the participant whose
    readiness the chain starts from, and when that was (``ready`` if it was before).
    ``segments``: a list that gets (category, start, end) of every piece, the last one first.
    """
    transfer = latency = aggregate = 0.0
    flows = execution.schedule.structure.flows
    begun, departed = execution.begun, execution.departed
    released, cause = execution.released, execution.cause
    extra = execution.placement.extra
    arrived = True
    before = -1
    while flow >= 0 and end > ready:
        if arrived:
            start = max(departed[flow], ready)
            latency += end - start
            if segments is not None:
                segments.append(("latency", start, end))
            end = start
        start = max(execution.queued.get(flow, begun[flow]), ready)
        if start < end:
            transfer += end - start
            if segments is not None:
                segments.append(("transfer", start, end))
            end = start
        if extra is not None and end > ready:
            held = min(extra[flow], end - ready)
            latency += held
            if segments is not None:
                segments.append(("latency", end - held, end))
            end -= held
        start = max(released[flow], ready)
        if start < end:
            aggregate += end - start
            if segments is not None:
                segments.append(("aggregate", start, end))
            end = start
        before = cause[flow]
        arrived = before < flows
        flow = before if arrived else before - flows
    return transfer, latency, aggregate, -1 - before if before < 0 else -1, end


@dataclass(frozen=True)
class Moved:
    """What an exchange moved."""

    sent_by_workers: float
    received_by_workers: float
    into_server: float
    out_of_server: float
    links: np.ndarray
    """(links,) bytes over each link."""
    messages: np.ndarray
    """(links,) transfers over each link."""


def moved(
    schedule: Schedule,
    placement: Placement,
    delivered: np.ndarray | None = None,
    rerouted: Mapping[int, Ways] = MappingProxyType({}),
) -> Moved:
    """Bytes of a schedule's flows (of those delivered, where that is given); ``rerouted``: some flows' other routes."""
    source, destination = schedule.structure.endpoints
    sent = source != destination
    if delivered is not None:
        sent = sent & delivered
    nbytes = np.where(sent, schedule.nbytes, 0.0)
    return Moved(
        *moved_by_hosts(schedule, sent),
        placement.over_links(nbytes, rerouted),
        placement.over_links(sent.astype(float), rerouted),
    )


def moved_by_hosts(schedule: Schedule, sent: np.ndarray | None = None) -> tuple[float, float, float, float]:
    """Bytes of a schedule's flows out of workers, into workers, into servers and out of servers; ``sent``: (flows,)
    bool, which of them are counted, all that are no work at one host unless given."""
    (source, destination), workers = schedule.structure.endpoints, schedule.structure.participants
    nbytes = np.where(source != destination if sent is None else sent, schedule.nbytes, 0.0)
    return (
        float(nbytes[source < workers].sum()),
        float(nbytes[destination < workers].sum()),
        float(nbytes[destination >= workers].sum()),
        float(nbytes[source >= workers].sum()),
    )


def check_bounds(
    links: np.ndarray, capacity: Sequence[float], seconds: float, names: Links, latency: float, rounding: float = 0.0
) -> None:
    """Raise CapacityError where a link carried more than it can in that time, or bytes arrived sooner than the
    least latency allows.

    ``links``: (links,) bytes; ``capacity``: bytes/s; ``seconds``: from the first byte to the last, which may be up to
    ``rounding`` s too short; ``latency``: s.
    """
    seconds += rounding
    if seconds < latency * (1 - 1e-9):
        raise CapacityError(f"internal error: an exchange took {seconds:.9g} s, less than its latency, {latency:.9g} s")
    with np.errstate(invalid="ignore"):
        limit = np.asarray(capacity) * seconds
    over = links > limit * (1 + 1e-9) + 1e-6
    if over.any():
        link = int(np.argmax(over))
        source, destination = names.names[link]
        raise CapacityError(
            f"internal error: link {source} -> {destination} carried {links[link]:.9g} bytes in {seconds:.9g} s, "
            f"more than its {capacity[link]:.9g} bytes/s allow"
        )
