"""What is to happen on a network, in order of time: actions that are planned, and flows whose last byte leaves.

When a flow ends changes with its rate, many times before it does. Its end is noted again only where it has become
earlier; an end that has become later is found out of date when its turn comes.
"""

from __future__ import annotations

import heapq
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

from simgmc.network.flows.sharing import Transfer

_INFINITY = float("inf")
_FEW = 16
"""Flows that are put in the order of their ends at once; of more, only the first are looked for."""
_noted = operator.attrgetter("noted")

Action = Callable[[Any], None]
_Entry = tuple[float, int, Action | None, Any]
"""Time, number, action, what it is called with; without an action :class:`_Ends`, of which the last byte of the next
one leaves then."""


class _Ends:
    """Flows whose ends were noted together."""

    __slots__ = "next", "later"

    def __init__(self, upcoming: list[Transfer], later: list[Transfer]):
        self.next = upcoming
        """The last of these ends next, at the time that the heap has."""
        self.later = later
        """What comes after these, in no order; some of these too, and what has another prediction by now."""


def _is_due(entry: _Entry) -> bool:
    """Whether an entry of the heap happens at its time, and is not out of date."""
    time, number, action, ends = entry
    if action is not None:
        return True
    if not ends.next:
        return False
    transfer = ends.next[-1]
    return transfer.prediction == number and transfer.end <= time


class Agenda:
    """The events to come. What happens at the same time happens in the order in which it was noted."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._order = 0

    @property
    def next_time(self) -> float:
        """Simulated seconds of the next event, infinity when nothing is planned."""
        heap = self._heap
        if heap and heap[0][2] is None:
            self._update(_INFINITY)
        return heap[0][0] if heap else _INFINITY

    def at(self, time: float, action: Action, payload: object) -> None:
        """``action(payload)`` is due at a time (s)."""
        self._order += 1
        heapq.heappush(self._heap, (time, self._order, action, payload))

    def ends(self, transfers: list[Transfer]) -> None:
        """Flows end sooner than noted. Only the first of them are looked for: most of the others change once more
        before their turn.
        """
        self._order = number = self._order + 1
        for transfer in transfers:
            transfer.noted = transfer.end
            transfer.prediction = number
        if len(transfers) < _FEW:
            ends = _Ends(sorted(transfers, key=_noted)[::-1], [])
        else:
            first = min([transfer.noted for transfer in transfers])
            ends = _Ends([transfer for transfer in reversed(transfers) if transfer.noted == first], transfers)
        heapq.heappush(self._heap, (ends.next[-1].noted, number, None, ends))

    def due(self, time: float) -> Iterator[tuple[Action | None, Any]]:
        """What happens at the next time, also what is added for then meanwhile: an action and what it is called with,
        or no action and a flow that ends."""
        heap = self._heap
        while heap and heap[0][0] == time:
            _, _, action, payload = entry = heap[0]
            if action is not None:
                heapq.heappop(heap)
                yield action, payload
            elif _is_due(entry):
                transfer = self._take(payload)
                transfer.prediction = -1
                yield None, transfer
            else:
                self._update(time)

    def _update(self, until: float) -> None:
        """Bring what comes next up to date, where that is noted for a time up to ``until`` (s)."""
        heap = self._heap
        while heap and heap[0][0] <= until and not _is_due(heap[0]):
            _, number, _, ends = heap[0]
            if not ends.next:
                self._go_on(ends)
                continue
            transfer = self._take(ends)
            if transfer.prediction == number:
                # It has become slower since its end was noted.
                transfer.prediction = -1
                if transfer.end < _INFINITY:
                    self.ends([transfer])

    def _take(self, ends: _Ends) -> Transfer:
        """Take the next of the flows at the heap's top; those that are left go back, but for what is out of date."""
        time, number, _, _ = self._heap[0]
        transfer, left = ends.next.pop(), ends.next
        while left and left[-1].prediction != number:
            left.pop()
        if left:
            heapq.heapreplace(self._heap, (left[-1].noted, number, None, ends))
        elif ends.later:
            heapq.heapreplace(self._heap, (math.nextafter(time, _INFINITY), number, None, ends))
        else:
            heapq.heappop(self._heap)
        return transfer

    def _go_on(self, ends: _Ends) -> None:
        """The first of the flows at the heap's top have left: put the others in order."""
        number = self._heap[0][1]
        ends.next = sorted((flow for flow in ends.later if flow.prediction == number), key=_noted)[::-1]
        ends.later = []
        if ends.next:
            heapq.heapreplace(self._heap, (ends.next[-1].noted, number, None, ends))
        else:
            heapq.heappop(self._heap)
