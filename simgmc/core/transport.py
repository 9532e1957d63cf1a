"""What carries a method's messages: a collective of the cluster, a gossip graph, or a server that answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["collective", "gossip", "pairwise", "asynchronous gossip", "asynchronous server"]
"""A collective that averages; messages to neighbours in every round; models exchanged in pairs; models
sent to neighbours without waiting; a server that is asked by one worker at a time."""


@dataclass(frozen=True)
class Transport:
    """What carries the messages of one method."""

    kind: Kind
    name: str = ""
    """Of the collective, or of the graph; empty for a server."""

    @property
    def is_collective(self) -> bool:
        """Whether it is the cluster's collective: other transports are the same whichever the cluster has."""
        return self.kind == "collective"

    @property
    def asynchronous(self) -> bool:
        """Whether no worker waits for all others, so that rounds are counted in gradients."""
        return self.kind not in ("collective", "gossip")

    def __str__(self) -> str:
        """``ring`` (a collective), ``gossip torus``, ``pairwise ring``, ``asynchronous server``."""
        return self.name if self.is_collective else f"{self.kind} {self.name}".rstrip()

    @classmethod
    def read(cls, text: str) -> Transport:
        """What :meth:`__str__` wrote. Names of collectives hold no spaces, so nothing is read in two ways."""
        for kind in get_args(Kind):
            if text == kind or text.startswith(f"{kind} "):
                return cls(kind, text[len(kind) + 1 :])
        return cls("collective", text)
