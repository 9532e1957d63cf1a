"""Parameter servers in processes of their own: the ranks after the workers'.

A server runs no program: it adds the messages of all workers in rank order and sends the encoded mean to each, until
the workers say that training is over. What a method's server makes of the mean follows from what its program holds: of
one server rank 0 makes it, and the server passes it on to the others; of several, which have a piece each, every rank.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Sequence

from simgmc.compression.message import Message
from simgmc.distributed.carriers import Carried, Carrier, Task, largest
from simgmc.distributed.group import Group, RankLostError, Wire
from simgmc.distributed.parcels import Templates, agreed, can_be_cut, shards_of, united

_HEADER = struct.Struct("<3q16s")
"""What is wanted, lengths of template and payload, the template's name."""
OVER, MEAN, LARGEST, REPLY = range(4)
"""What a worker may want. REPLY: the mean for rank 0, and for the others what that makes of it."""
_SHARES = "shares"


class Servers(Carrier):
    """The workers' side: every message to the server, or its pieces to several, and the mean back from each."""

    words = "server processes: every payload to them, added in rank order, the encoded mean back"

    def __init__(self, group: Group, workers: int, servers: Sequence[int]):
        """``servers``: their ranks."""
        super().__init__(group, workers)
        self._servers, self._templates = servers, Templates()
        self._passed_on = Templates()
        """Those of rank 0's replies, which go to the others."""

    def begin(self, shares: Sequence[float] | None) -> None:
        """Tell the servers what workers weigh."""
        if self.rank == 0:
            self.group.tell(_SHARES, json.dumps(None if shares is None else list(shares)))

    def carry(self, wire: Wire, task: Task) -> Carried:
        message, several = task.message, len(self._servers) > 1
        cut = several and can_be_cut(message)
        pieces = shards_of(message, len(self._servers)) if cut else [message]
        servers = list(self._servers[: len(pieces)])
        wanted = MEAN if task.mean else LARGEST
        if task.reply is not None and not several:
            wanted = REPLY
        headers, bodies = [], []
        for server, piece in zip(servers, pieces, strict=True):
            name, template = self._templates.to_send(server, piece, agreed(piece))
            payload = piece.encode()
            head = _HEADER.pack(wanted, len(template), len(payload), name)
            headers.append((server, head))
            bodies.append((server, template + payload))
        wire.exchange(headers, [], about=True)
        wire.exchange(bodies, [])
        answers = wire.exchange([], [(server, _HEADER.size) for server in servers], about=True)
        heads = [_HEADER.unpack(one) for one in answers]
        lengths = [(server, template + length) for server, (_, template, length, _) in zip(servers, heads, strict=True)]
        arrived = wire.exchange([], lengths)
        began = time.perf_counter()
        found = []
        for piece, (_, length, _, name), body in zip(pieces, heads, arrived, strict=True):
            kind = self._templates.received(name, body[:length], agreed(piece))
            found.append(kind.decode([body[length:]]))
        mean = united(message, found) if cut else found[0]
        if wanted != REPLY:
            return Carried.of(task.replied(mean), began)
        if self.rank:
            task.skip(heads[0][0])
            return Carried.of(mean, began)
        before = task.calls()
        carried = Carried.of(task.replied(mean), began)
        self._give(wire, servers[0], task, carried.answer, task.calls() - before)
        return carried

    def _give(self, wire: Wire, server: int, task: Task, reply: Message, calls: int) -> None:
        """Rank 0's reply, for the server to pass on; it says how many draws were made for it."""
        name, template = self._passed_on.to_send(server, reply, agreed(task.message))
        payload = reply.encode()
        wire.exchange([(server, _HEADER.pack(calls, len(template), len(payload), name))], [], about=True)
        wire.exchange([(server, template + payload)], [])

    def over(self) -> None:
        """Let the servers go."""
        if self.rank == 0:
            self.group.wire.exchange([(one, _HEADER.pack(OVER, 0, 0, b"")) for one in self._servers], [])


def serve(group: Group, workers: int) -> None:
    """A server's life, in one training. Raises RankLostError."""
    shares = json.loads(group.asked(_SHARES))
    templates, wire, ranks = Templates(), group.wire, range(workers)
    try:
        while True:
            (first,) = wire.exchange([], [(0, _HEADER.size)], about=True)
            if _HEADER.unpack(first)[0] == OVER:
                return
            heads = [first, *wire.exchange([], [(rank, _HEADER.size) for rank in ranks[1:]], about=True)]
            told = [_HEADER.unpack(one) for one in heads]
            bodies = wire.exchange([], [(rank, told[rank][1] + told[rank][2]) for rank in ranks])
            # All workers send the same template, once.
            like = [templates.received(one[3], body[: one[1]], {}) for one, body in zip(told, bodies, strict=True)]
            joined = like[0].decode([body[one[1] :] for one, body in zip(told, bodies, strict=True)])
            answer = largest(joined) if told[0][0] == LARGEST else joined.mean(shares)
            if told[0][0] == REPLY:
                _answer(wire, ranks[:1], templates, answer)
                _pass_on(wire, ranks)
            else:
                _answer(wire, ranks, templates, answer)
    except RankLostError:
        if group.heard("diverged") is None:
            raise


def _answer(wire: Wire, ranks: Sequence[int], templates: Templates, answer: Message) -> None:
    payload, headers, bodies = answer.encode(), [], []
    for rank in ranks:
        name, template = templates.to_send(rank, answer, agreed(answer))
        headers.append((rank, _HEADER.pack(MEAN, len(template), len(payload), name)))
        bodies.append((rank, template + payload))
    wire.exchange(headers, [], about=True)
    wire.exchange(bodies, [])


def _pass_on(wire: Wire, ranks: Sequence[int]) -> None:
    """Rank 0's reply to the others."""
    (head,) = wire.exchange([], [(0, _HEADER.size)], about=True)
    _, template, payload, _ = _HEADER.unpack(head)
    (body,) = wire.exchange([], [(0, template + payload)])
    wire.exchange([(rank, head) for rank in ranks[1:]], [], about=True)
    wire.exchange([(rank, body) for rank in ranks[1:]], [])
