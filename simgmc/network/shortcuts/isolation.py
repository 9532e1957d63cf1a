"""When one exchange can be computed on its own: nothing else can use its links meanwhile.

Consecutive exchanges overlap in time, because a worker goes on as soon as it has its own
update. They still cannot meet on a link if every flow of the later one waits for the
readiness of workers whose finish in the earlier one implied that the earlier flows on that
link had left. Both facts follow from the dependency graphs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from simgmc.network.collectives.schedule import Structure

Routes = tuple[tuple[int, ...] | None, ...]
"""The links of every flow's route; None where there is none."""

MAX_STEPS = 4000
"""Flows up to which the proof is attempted; rings are proved by construction instead."""


class Ancestry:
    """What the start of each flow and the finish of each participant imply, as bit sets."""

    def __init__(self, structure: Structure, routes: Sequence[tuple[int, ...] | None]):
        self.gates = [0] * structure.flows
        """Per flow: participants that must have been ready when it starts."""
        gone = [0] * structure.flows
        for flow, (after, behind, gates) in enumerate(zip(structure.after, structure.behind, structure.gates)):
            for participant in gates:
                self.gates[flow] |= 1 << participant
            for other in (*after, *((behind,) if behind >= 0 else ())):
                self.gates[flow] |= self.gates[other]
                gone[flow] |= gone[other] | 1 << other
        self.finish_gates = []
        """Per participant: whose readiness its finish implies."""
        self.finish_gone = []
        """Per participant: the flows whose last byte has left when it finishes."""
        for participant, flows in enumerate(structure.finishes):
            ready, left = 1 << participant, 0
            for flow in flows:
                ready |= self.gates[flow]
                left |= gone[flow] | 1 << flow
            self.finish_gates.append(ready)
            self.finish_gone.append(left)
        self.on_link: dict[int, int] = {}
        """Per link: the flows that use it."""
        for flow, route in enumerate(routes):
            for link in route or ():  # a flow from a host to itself uses none
                self.on_link[link] = self.on_link.get(link, 0) | 1 << flow


@lru_cache(maxsize=64)
def always_alone(structure: Structure, routes: Routes) -> bool:
    """Whether exchanges of this structure, one after the other, can never meet on a link, and nobody finishes
    before everybody has been ready. False where the proof would take too long.
    """
    if structure.flows > MAX_STEPS or None in routes:
        return False
    ancestry = Ancestry(structure, routes)
    return needs_everybody(ancestry) and cannot_meet(ancestry, ancestry)


def needs_everybody(ancestry: Ancestry) -> bool:
    """Whether nobody can finish before everybody has been ready."""
    everybody = (1 << len(ancestry.finish_gates)) - 1
    return all(ready == everybody for ready in ancestry.finish_gates)


def cannot_meet(earlier: Ancestry, later: Ancestry) -> bool:
    """Whether no flow of the later exchange can share a link with one of the earlier."""
    left_by: dict[int, int] = {}
    for link, flows in later.on_link.items():
        previous = earlier.on_link.get(link, 0)
        if not previous:
            continue
        while flows:
            flow = (flows & -flows).bit_length() - 1
            flows &= flows - 1
            gates = later.gates[flow]
            if gates not in left_by:
                gone, rest = 0, gates
                while rest:
                    participant = (rest & -rest).bit_length() - 1
                    rest &= rest - 1
                    gone |= earlier.finish_gone[participant]
                left_by[gates] = gone
            if previous & ~left_by[gates]:
                return False
    return True
