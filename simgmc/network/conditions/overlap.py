"""Overlap: messages sent in buckets while the backward pass still goes on."""

from __future__ import annotations

from dataclasses import dataclass

from simgmc.core.declared import declared
from simgmc.core.registry import Option
from simgmc.network.conditions.condition import Condition


@dataclass(frozen=True)
class Overlap(Condition):
    """The message is cut into buckets that become ready one after the other, the last layers' first.

    Applies where an exchange follows a gradient directly; a compressor in between needs the whole
    gradient first. A worker's buckets are exchanged one after the other (one stream).
    """

    key = "overlap"
    static = True

    buckets: int = declared(Option("buckets that a message is cut into", int, at_most=1000))
    backward: float = declared(
        Option(
            "share of a gradient's time that the backward pass takes; buckets become ready evenly spread over it",
            float, 2 / 3, at_least=0, at_most=1,
        )
    )  # fmt: skip

    @property
    def random(self) -> bool:
        return False

    def ready(self, bucket: int) -> float:
        """The share of the gradient's time after which a bucket (from 0) is ready."""
        return 1 - self.backward * (1 - (bucket + 1) / self.buckets)
