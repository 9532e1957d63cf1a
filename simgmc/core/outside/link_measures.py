"""What files say of links: bandwidth, latency, round trip; each with its unit."""

from __future__ import annotations

from collections.abc import Mapping

from simgmc.core.errors import SimgmcError
from simgmc.core.outside.tables import Measure

BANDWIDTH_OF_LINK = Measure("bandwidth", "bandwidth", others={"LinkSpeedRaw": 1 / 8})
"""``LinkSpeedRaw`` is the Internet Topology Zoo's, in bit/s."""
ONE_WAY = Measure("latency", "duration")
ROUND_TRIP = Measure("round_trip", "duration", scale=0.5, others={"rtt_us": 1e-6, "rtt_ms": 1e-3, "rtt_s": 1.0})
LATENCY_OF_LINK = (ONE_WAY, ROUND_TRIP)
OF_LINK = (BANDWIDTH_OF_LINK, *LATENCY_OF_LINK)


def latency_of(row: Mapping[str, str], place: str) -> float | None:
    """Seconds one way that a row gives, as such or as half of a round trip; None where it gives neither. Raises
    SimgmcError.
    """
    one_way, half = (measure.among(row, place) for measure in LATENCY_OF_LINK)
    if one_way is not None and half is not None:
        raise SimgmcError(f"{place}: gives both a latency and a round trip; one of them is enough")
    return half if one_way is None else one_way
