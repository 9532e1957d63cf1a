"""Where a worker's time in a collective went: its critical chain, walked backwards."""

from __future__ import annotations

from simgmc.network.collectives.schedule import Execution

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
