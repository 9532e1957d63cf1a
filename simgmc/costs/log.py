"""The costs of all rounds of a training, kept so that they do not break the heap into holes.

A round allocates and frees vectors of megabytes. Where something small that stays, such as the data
of a numpy array of a few numbers, is put between them, glibc (before 2.38) cannot use the aligned
block beside it again: a vector's worth of memory is lost with every round. So arrays are kept
as bytes, which Python puts elsewhere, and equal ones once.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableSequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from simgmc.costs.steps import RoundCosts

_LARGE = 4096
"""Bytes from which an array is looked up by identity first: the edges of a graph come again in every round."""
_RECENT = 8


class _Packed(NamedTuple):
    content: bytes
    dtype: str
    shape: tuple[int, ...]


class RoundLog(MutableSequence[RoundCosts]):
    """A list of rounds; each is made anew, equal to what was put in (arrays are read-only), when it is asked for."""

    def __init__(self, rounds: Iterable[RoundCosts] = ()):
        self._rounds: list[tuple] = []
        self._contents: dict[Any, Any] = {}
        self._recent: dict[int, tuple[np.ndarray, _Packed]] = {}
        self.extend(rounds)

    def __len__(self) -> int:
        return len(self._rounds)

    def __getitem__(self, place):
        found = self._rounds[place]
        return [_unpacked(one) for one in found] if isinstance(place, slice) else _unpacked(found)

    def __setitem__(self, place, costs) -> None:
        self._rounds[place] = map(self._packed, costs) if isinstance(place, slice) else self._packed(costs)

    def __delitem__(self, place) -> None:
        del self._rounds[place]

    def insert(self, place: int, costs: RoundCosts) -> None:
        self._rounds.insert(place, self._packed(costs))

    def _packed(self, costs: RoundCosts) -> tuple:
        return self._once(
            tuple((type(step), *(self._value(getattr(step, field.name)) for field in fields(step))) for step in costs)
        )

    def _value(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        known, packed = self._recent.get(id(value), (None, None))
        if known is not value:
            packed = self._once(_Packed(value.tobytes(), value.dtype.str, value.shape))
            if value.nbytes > _LARGE:
                self._recent[id(value)] = value, packed
                if len(self._recent) > _RECENT:
                    del self._recent[next(iter(self._recent))]
        return packed

    def _once(self, packed: Any) -> Any:
        return self._contents.setdefault(packed, packed)


def _unpacked(costs: tuple) -> RoundCosts:
    return tuple(kind(*map(_array, values)) for kind, *values in costs)


def _array(value: Any) -> Any:
    return np.frombuffer(value.content, value.dtype).reshape(value.shape) if isinstance(value, _Packed) else value
