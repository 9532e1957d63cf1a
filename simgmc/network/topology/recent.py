"""What was made lately, kept as long as there is not too much of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key; those that nobody asked for the longest go first."""

    def __init__(self, most: int):
        """``most``: the sizes of all that is kept, the latest aside."""
        self._most, self._sizes = most, 0
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K, size: int, make: Callable[[], V]) -> V:
        """The value of a key, made where it is not kept, of that size."""
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            self._kept[key] = make(), size
            self._sizes += size
            while self._sizes > self._most and len(self._kept) > 1:
                self._sizes -= self._kept.popitem(last=False)[1][1]
        return self._kept[key][0]
