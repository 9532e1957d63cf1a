"""Where a worker's time in a collective went: its critical chain, walked backwards."""

from __future__ import annotations

from simgmc.network.schedule import Execution

CATEGORIES = ("compute", "compress", "transfer", "latency", "aggregate", "wait")
"""Where time goes. transfer: bytes leaving their sender (on the chain of flows that the
worker waited for); latency: bytes on their way and fixed costs of messages; aggregate: adding messages; wait: another
worker on that chain was not ready yet."""


def exchange_breakdown(execution: Execution, participant: int, ready: float, finished: float) -> tuple[float, float, float, float]:
    """(transfer, latency, aggregate, wait) seconds of one participant's part of a collective.

    They add up to ``finished - ready``: the chain of flows is followed from the one that
    finished the participant back through whatever released each, down to a participant's
    readiness; what lies before this participant's own readiness is not its time.
    """
    transfer = latency = aggregate = wait = 0.0
    flows = execution.schedule.structure.flows
    begun, departed, landed = execution.begun, execution.departed, execution.landed
    released, cause = execution.released, execution.cause
    extra = execution.placement.extra
    end = finished
    flow = execution.finisher[participant]
    arrived = True
    while flow >= 0 and end > ready:
        if arrived:
            latency += end - max(departed[flow], ready)
            end = max(departed[flow], ready)
        start = max(begun[flow], ready)
        if start < end:
            transfer += end - start
            end = start
        if extra is not None and end > ready:
            held = min(extra[flow], end - ready)
            latency += held
            end -= held
        start = max(released[flow], ready)
        if start < end:
            aggregate += end - start
            end = start
        before = cause[flow]
        arrived = before < flows
        flow = before - flows if not arrived else before
    if end > ready:
        wait = end - ready
    return transfer, latency, aggregate, wait
