"""What a host's interface sends beside the payload: the protocols of Gloo and TCP, term by term.

Everything follows from the calls that a rank made (:class:`simgmc.distributed.measured.Call`) and from what the
protocols say. No number is fitted to counted bytes; that half of the acknowledgements ride on other segments where
two ranks send to each other is an assumption, made after seeing how many there were.

Gloo sends a message in three writes (``transport/tcp/pair.cc``): the sender says that it is ready, the receiver says
so too, and the message follows behind a preamble. Each of the three begins with the same six numbers. Its all-gather
sends every number in two halves round a ring (``allgather.cc``); its all-reduce cuts vectors into segments, at least
two for each rank, which go round the ring twice (``allreduce.cc``). A barrier is empty messages (``barrier.cc``).

TCP sends every write in segments of its own (Gloo asks for that by TCP_NODELAY), each with its headers, and
acknowledges every second segment (RFC 1122, 4.2.3.2), by a frame of its own unless a segment goes the other way before
that. The receiver's notice is one: which of the two notices goes first is a matter of microseconds, so that it has
half of the senders' to acknowledge. Where two ranks send to each other at once, what goes and what comes alternate at
random, and half of the acknowledgements ride.

A pause, in which ranks compute, costs acknowledgements of its own. Half of the time one segment is left over for which
no second one comes: after 40 ms a timer sends its acknowledgement (Linux's ``TCP_ATO_MIN``), half a frame more than by
the rule of every second segment. Linux then takes the connection for one of one way and acknowledges the first segment
after the pause alone (``tcp_delack_timer_handler``), half a frame more again: together half a frame, on average, for
every connection that messages come over. And one of two neighbours is first after the pause, either as often: its two
notices find the other still at work, with nothing to send that their acknowledgement could ride on: half a frame for
every neighbour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from simgmc.distributed.measured import Call

HEADERS = 66
"""Bytes of a frame without payload: 14 of Ethernet, 20 of IP, 32 of TCP with its timestamps."""
PAYLOAD = 1448
"""Bytes of payload in a full frame: Ethernet's 1,500 without the headers of IP and TCP."""
FRAME = HEADERS + PAYLOAD
PREAMBLE = 48
"""Bytes of six numbers of 64 bits: before each message, and all of a notice."""
_MOST_IN_A_SEGMENT = 1 << 20
"""Bytes of a segment of Gloo's all-reduce."""


@dataclass(frozen=True)
class Overhead:
    """Bytes that leave an interface beside the simulated payload."""

    told: float
    """Lengths of messages that the receiver cannot know, and how they are decoded."""
    gloo: float
    """Preambles, and the notices of senders and receivers."""
    headers: float
    """Of Ethernet, IP and TCP, on all frames with anything in them."""
    acknowledgements: float
    """Frames that say what has come, and nothing else."""

    @property
    def total(self) -> float:
        """All together."""
        return self.told + self.gloo + self.headers + self.acknowledgements


OVERHEADS = tuple(one.name for one in fields(Overhead))
"""The terms."""


DELAY = 0.04
"""Seconds for which an acknowledgement waits for something to ride on, at least."""


def overhead(calls: Mapping[Call, int], after_pauses: Sequence[Mapping[Call, int]] = ()) -> Overhead:
    """Of a host, from what its rank asked of the process group.

    ``after_pauses``: what of it each exchange asked that began :data:`DELAY` or more after the one before.
    """
    sent: Messages = Counter()
    received: Messages = Counter()
    told = 0
    for (what, nbytes, ranks, both), times in calls.items():
        match what:
            case "send" | "tell":
                sent[nbytes, bool(both)] += times
            case "receive" | "hear":
                received[nbytes, bool(both)] += times
            case "lengths" | "sum" | "barrier":
                for message, many in _TOGETHER[what](nbytes, ranks).items():
                    sent[message] += times * many
                    received[message] += times * many
        told += times * {"tell": nbytes, "lengths": (ranks - 1) * nbytes}.get(what, 0)
    there, back = sent.total(), received.total()
    frames = there + back + sum(many * _segments(length) for (length, _), many in sent.items())
    apart = sum(
        many * (_segments(length) / 4 if both else (0.5 + _segments(length)) / 2)
        for (length, both), many in received.items()
    )
    apart += sum(_after_pause(one) for one in after_pauses)
    return Overhead(told, PREAMBLE * (2 * there + back), HEADERS * frames, HEADERS * apart)


def _after_pause(calls: Mapping[Call, int]) -> float:
    """Acknowledgements of an exchange that there would not be without the pause before it."""
    rings = [min(2, one.ranks - 1) for one in calls if one.what in ("lengths", "sum") and one.ranks > 1]
    neighbours = max([*rings, calls.get(Call("with", 0), 0)])
    return (neighbours + len(rings) + calls.get(Call("from", 0), 0)) / 2


Messages = Counter[tuple[int, bool]]
"""How many messages of each length, and whether there is one from the receiver to the sender at the same time."""


def all_gather(nbytes: int, ranks: int) -> Messages:
    """What a rank sends in Gloo's all-gather of so many bytes from each."""
    first = nbytes // 2
    found = Counter([first, nbytes - first])
    return Counter({(length, ranks == 2): (ranks - 1) * many for length, many in found.items()})


def all_reduce(nbytes: int, ranks: int) -> Messages:
    """What a rank sends in Gloo's all-reduce; where shares differ, the last rank."""
    item = 4
    most = item * (_MOST_IN_A_SEGMENT // item)
    count = max(-(-nbytes // most), 2 * ranks)
    count = -(-count // ranks) * ranks
    segment = -(-nbytes // (count * item)) * item
    lengths = np.clip(nbytes - segment * np.arange(count), 0, segment).reshape(ranks, -1)[:-1]
    found = Counter(lengths[lengths > 0].tolist())
    return Counter({(length, ranks == 2): 2 * many for length, many in found.items()})


def barrier(nbytes: int, ranks: int) -> Messages:
    """Empty messages, to ranks at distances that double."""
    distances = [1 << step for step in range((ranks - 1).bit_length())]
    return Counter((nbytes, 2 * distance == ranks) for distance in distances)


_TOGETHER: dict[str, Callable[[int, int], Messages]] = {"lengths": all_gather, "sum": all_reduce, "barrier": barrier}


def _segments(length: int) -> int:
    """Of a message behind its preamble."""
    return -(-(PREAMBLE + length) // PAYLOAD)
