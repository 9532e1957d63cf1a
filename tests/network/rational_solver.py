"""A second, independent solver: exact rational arithmetic, everything recomputed at every event."""

from __future__ import annotations

from fractions import Fraction


def fair_rates(
    capacity: list[Fraction], routes: dict[int, tuple[int, ...]], caps: dict[int, Fraction]
) -> dict[int, Fraction]:
    """Progressive filling of all flows at once."""
    rates: dict[int, Fraction] = {}
    room = list(capacity)
    while len(rates) < len(routes):
        open_flows = [flow for flow in routes if flow not in rates]
        shares = []
        for link in {link for flow in open_flows for link in routes[flow]}:
            shares.append(room[link] / sum(link in routes[flow] for flow in open_flows))
        shares += [caps[flow] for flow in open_flows if flow in caps]
        level = min(shares)
        bottlenecks = {
            link
            for flow in open_flows
            for link in routes[flow]
            if room[link] / sum(link in routes[other] for other in open_flows) == level
        }
        for flow in open_flows:
            if bottlenecks & set(routes[flow]) or caps.get(flow) == level:
                rates[flow] = level
        for flow in open_flows:
            if flow in rates:
                for link in routes[flow]:
                    room[link] -= level
    return rates


def completion_times(links: list[tuple[float, float]], flows: list[dict], latency: str) -> list[Fraction]:
    """``links``: (bandwidth, latency); ``flows``: route, nbytes, start, after, delay, cap."""
    capacity = [Fraction(bandwidth) for bandwidth, _ in links]
    delay_of = [sum((Fraction(links[link][1]) for link in flow["route"]), Fraction(0)) for flow in flows]
    done: dict[int, Fraction] = {}
    ready: dict[int, Fraction] = {}
    active: dict[int, Fraction] = {}
    landing: dict[int, Fraction] = {}
    now = Fraction(0)
    while len(done) < len(flows):
        for index, flow in enumerate(flows):
            if index not in ready and all(other in done for other in flow["after"]):
                begin = max([Fraction(flow["start"]), *(done[other] for other in flow["after"])]) + Fraction(
                    flow["delay"]
                )
                ready[index] = begin + (delay_of[index] if latency == "first" else 0)
        rates = fair_rates(
            capacity,
            {index: flows[index]["route"] for index in active},
            {index: Fraction(flows[index]["cap"]) for index in active if flows[index]["cap"] is not None},
        )
        upcoming = [
            time for index, time in ready.items() if index not in active and index not in landing and index not in done
        ]
        upcoming += [now + active[index] / rates[index] for index in active]
        upcoming += landing.values()
        time = min(upcoming)
        for index in active:
            active[index] -= rates[index] * (time - now)
        now = time
        for index in [i for i, remaining in active.items() if remaining == 0]:
            del active[index]
            landing[index] = now + (delay_of[index] if latency == "last" else 0)
        for index, begin in ready.items():
            if begin == now and index not in active and index not in landing and index not in done:
                active[index] = Fraction(flows[index]["nbytes"])
        for index in [i for i, time in landing.items() if time == now]:
            done[index] = landing.pop(index)
    return [done[index] for index in range(len(flows))]
