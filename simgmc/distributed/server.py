"""Parameter servers in processes of their own: the ranks after the workers'.

A server runs no program: it adds the messages of all workers in rank order and sends the encoded mean to each, until
the workers say that training is over.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Sequence

from simgmc.compression.message import Message
from simgmc.core.errors import SimgmcError
from simgmc.distributed.carriers import Carried, Carrier, Task, largest
from simgmc.distributed.group import Group, RankLostError, Wire
from simgmc.distributed.parcels import Templates, agreed, can_be_cut, shards_of, united

_HEADER = struct.Struct("<3q16s")
"""What is wanted, lengths of template and payload, the template's name."""
OVER, MEAN, LARGEST = range(3)
"""What a worker may want."""
_SHARES = "shares"


class Servers(Carrier):
    """The workers' side: every message to the server, or its pieces to several, and the mean back from each."""

    words = "server processes: every payload to them, added in rank order, the encoded mean back"

    def __init__(self, group: Group, workers: int, servers: Sequence[int]):
        """``servers``: their ranks."""
        super().__init__(group, workers)
        self._servers, self._templates = servers, Templates()

    def begin(self, shares: Sequence[float] | None) -> None:
        """Tell the servers what workers weigh."""
        if self.rank == 0:
            self.group.tell(_SHARES, json.dumps(None if shares is None else list(shares)))

    def carry(self, wire: Wire, task: Task) -> Carried:
        if task.reply is not None:
            raise SimgmcError(
                "the method's server makes something of the mean before it sends it back, from what the program "
                "holds: start as many processes as workers, and rank 0 is the server"
            )
        message, several = task.message, len(self._servers) > 1
        cut = several and can_be_cut(message)
        pieces = shards_of(message, len(self._servers)) if cut else [message]
        servers = list(self._servers[: len(pieces)])
        headers, bodies = [], []
        for server, piece in zip(servers, pieces, strict=True):
            name, template = self._templates.to_send(server, piece, agreed(piece))
            payload = piece.encode()
            head = _HEADER.pack(MEAN if task.mean else LARGEST, len(template), len(payload), name)
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
        return Carried.of(united(message, found) if cut else found[0], began)

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
            answer = joined.mean(shares) if told[0][0] == MEAN else largest(joined)
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
