"""How an average is formed between processes: by which collective, in which order of adding.

The mean is that of the simulation: every payload is decoded and added in rank order, bit for bit. Two carriers add on
the way. The group's own all-reduce and the one by sites add in an order of their own, so that their mean is the
simulation's to rounding.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.message import DenseMessage, Message, dense_message
from simgmc.compression.sparsification.message import SparseMessage
from simgmc.compression.wire.values import even_offsets
from simgmc.core.errors import SimgmcError
from simgmc.distributed.group import Group, Wire
from simgmc.distributed.parcels import (
    Templates,
    agreed,
    can_be_cut,
    float_values,
    shards_of,
    united,
    with_values,
)


@dataclass(frozen=True)
class Task:
    """An average that this rank's program waits for."""

    message: Message
    """This rank's, one row."""
    combine: Callable[[Message], Message]
    """All ranks' messages, a row each in rank order, as the one that answers them."""
    mean: bool
    """Whether that is their mean."""
    shares: Sequence[float] | None
    """What each row weighs in it, where they are not alike."""
    reply: Callable[[Message], Message] | None
    """What a server makes of it before it sends it back."""
    calls: Callable[[], int]
    """Draws of randomness in this round so far: a server's reply may make some."""
    skip: Callable[[int], None]
    """Go on as after so many further draws."""

    def replied(self, combined: Message) -> Message:
        """What the workers get."""
        return combined if self.reply is None else self.reply(combined)


@dataclass
class Carried:
    """What came of it."""

    answer: Message
    """One row: what everybody gets."""
    down: int = 0
    """Bytes of its encoding, as a server sends it."""
    floats_down: int = 0
    partial: np.ndarray | None = None
    """As of :class:`simgmc.costs.steps.Average`; where all messages were here."""
    aggregate_s: float = 0.0
    """Seconds of decoding and adding."""

    @classmethod
    def of(cls, answer: Message, began: float, partial: np.ndarray | None = None) -> Carried:
        """With the sizes of the answer; ``began``: when decoding and adding began."""
        return cls(answer, int(answer.nbytes[0]), int(answer.floats[0]), partial, time.perf_counter() - began)


class Carrier(ABC):
    """One way to form averages."""

    words: str
    """What it does, in a few words."""

    def __init__(self, group: Group, workers: int):
        self.group, self.workers = group, workers
        self.rank, self.ranks = group.rank, range(workers)

    @abstractmethod
    def carry(self, wire: Wire, task: Task) -> Carried:
        """Form an average; every rank calls this."""


def payload_lengths(wire: Wire, message: Message, payload: bytes, ranks: int) -> list[int]:
    """Of every rank's payload: told to all, where it depends on the numbers."""
    return [len(payload)] * ranks if message.same_length else wire.lengths(len(payload))


def round_a_ring(wire: Wire, rank: int, ranks: Sequence[int], payload: bytes, lengths: Sequence[int]) -> list[bytes]:
    """Everybody's payload: each goes round the ring of these ranks, a step at a time. ``lengths``: of each rank."""
    place, size = ranks.index(rank), len(ranks)
    held = [b""] * size
    held[place] = payload
    following, before = ranks[(place + 1) % size], ranks[place - 1]
    for step in range(size - 1):
        gives, takes = (place - step) % size, (place - step - 1) % size
        (held[takes],) = wire.exchange([(following, held[gives])], [(before, lengths[takes])])
    return held


class Gather(Carrier):
    """Every payload goes round a ring, and each rank adds them all in rank order."""

    words = "ring all-gather by send and receive, added in rank order on every rank"

    def carry(self, wire: Wire, task: Task) -> Carried:
        payload = task.message.encode()
        lengths = payload_lengths(wire, task.message, payload, self.workers)
        payloads = round_a_ring(wire, self.rank, self.ranks, payload, lengths)
        began = time.perf_counter()
        joined = task.message.decode(payloads)
        return Carried.of(task.replied(task.combine(joined)), began, joined.partial_sums())


class _OfNumbers(Carrier):
    """Adds the numbers of messages that are floats of the same coordinates on all ranks."""

    def carry(self, wire: Wire, task: Task) -> Carried:
        coded = float_values(task.message)
        numbers = torch.cat([one.flat for one in coded])
        total = self.sum(wire, numbers if task.shares is None else numbers * task.shares[self.rank])
        began = time.perf_counter()
        mean = total / self.workers if task.shares is None else total
        parts = mean.split([len(one.flat) for one in coded])
        found = [one.averaged(part, even_offsets(1, len(part))) for one, part in zip(coded, parts, strict=True)]
        return Carried.of(task.replied(with_values(task.message, found)), began)

    @abstractmethod
    def sum(self, wire: Wire, numbers: Tensor) -> Tensor:
        """The sum over ranks (n,)."""


class GroupSum(_OfNumbers):
    """The group's own all-reduce."""

    words = "all_reduce of the process group, added in its order"

    def sum(self, wire: Wire, numbers: Tensor) -> Tensor:
        return wire.sum(numbers)


class SumBySites(_OfNumbers):
    """Reduce-scatter inside each site, all-reduce of each shard between the sites, all-gather inside.

    Sites of unequal size: to the site's first rank, all-reduce between the first ranks, and back.
    """

    words = "reduce-scatter in each site, all_reduce between sites, all-gather in each site, added site by site"

    def __init__(self, group: Group, workers: int, sites: tuple[tuple[int, ...], ...]):
        super().__init__(group, workers)
        self.sites = sites

    def sum(self, wire: Wire, numbers: Tensor) -> Tensor:
        site = next(site for site in self.sites if self.rank in site)
        if len({len(one) for one in self.sites}) > 1:
            return self._by_first_ranks(wire, numbers, site)
        place, size = site.index(self.rank), len(site)
        shards = numbers.tensor_split(size)
        others = [rank for rank in site if rank != self.rank]
        arrived = wire.exchange(
            [(rank, _bytes(shards[site.index(rank)])) for rank in others],
            [(rank, shards[place].numel() * numbers.element_size()) for rank in others],
        )
        total = _added(shards[place], arrived)
        across = self.group.some([[one[each] for one in self.sites] for each in range(size)])
        total = _through(wire, across, total)
        lengths = [shard.numel() * numbers.element_size() for shard in shards]
        gathered = round_a_ring(wire, self.rank, site, _bytes(total), lengths)
        return torch.cat([_numbers(one, numbers) for one in gathered])

    def _by_first_ranks(self, wire: Wire, numbers: Tensor, site: tuple[int, ...]) -> Tensor:
        first, length = site[0], numbers.numel() * numbers.element_size()
        firsts = tuple(one[0] for one in self.sites)
        across = self.group.some([firsts, *([rank] for one in self.sites for rank in one[1:])])
        if self.rank != first:
            wire.exchange([(first, _bytes(numbers))], [])
            return _numbers(wire.exchange([], [(first, length)])[0], numbers)
        arrived = wire.exchange([], [(rank, length) for rank in site[1:]])
        total = _through(wire, across, _added(numbers, arrived))
        wire.exchange([(rank, _bytes(total)) for rank in site[1:]], [])
        return total


class Shards(Carrier):
    """Every rank adds a shard of the coordinates, in rank order, and sends its mean to all.

    Of messages that are floats, dense, of shared coordinates or sparse. The payloads of a shard are in the wire format
    of the whole; a server's reply is made on every rank.
    """

    words = "a shard of the coordinates on every rank, added there in rank order"

    def carry(self, wire: Wire, task: Task) -> Carried:
        pieces, others = shards_of(task.message, self.workers), [rank for rank in self.ranks if rank != self.rank]
        payloads = [piece.encode() for piece in pieces]
        own = pieces[self.rank]
        if own.same_length:
            lengths = [len(payloads[self.rank])] * len(others)
        else:
            told = wire.exchange(
                [(rank, _length(len(payloads[rank]))) for rank in others], [(rank, 8) for rank in others], about=True
            )
            lengths = [int.from_bytes(one, "little") for one in told]
        arrived = wire.exchange([(rank, payloads[rank]) for rank in others], list(zip(others, lengths, strict=True)))
        began = time.perf_counter()
        arrived.insert(self.rank, payloads[self.rank])
        mean = task.combine(own.decode(arrived))
        added = time.perf_counter() - began
        payload = _one_byte(mean) + mean.encode()
        if own.same_length:
            sizes = [1 + len(one) for one in payloads]
        else:
            sizes = wire.lengths(len(payload))
        back = round_a_ring(wire, self.rank, self.ranks, payload, sizes)
        began = time.perf_counter()
        means = [_mean_from(one, piece) for one, piece in zip(back, pieces, strict=True)]
        carried = Carried.of(task.replied(united(task.message, means)), began)
        carried.aggregate_s += added
        return carried


class Server(Carrier):
    """Rank 0 gets every payload, adds them in rank order, and sends the encoded mean (or its reply) to all."""

    words = "a server on rank 0: every payload to it, added in rank order, the encoded mean or reply back"

    def __init__(self, group: Group, workers: int):
        super().__init__(group, workers)
        self.templates = Templates()

    def carry(self, wire: Wire, task: Task) -> Carried:
        payload = task.message.encode()
        plain = task.mean and task.reply is None and float_values(task.message) != []
        lengths = payload_lengths(wire, task.message, payload, self.workers)
        if self.rank:
            wire.exchange([(0, payload)], [])
            return self._received(wire, task, len(payload) if plain else None)
        others = self.ranks[1:]
        arrived = wire.exchange([], [(rank, lengths[rank]) for rank in others])
        began = time.perf_counter()
        joined = task.message.decode([payload, *arrived])
        before = task.calls()
        carried = Carried.of(task.replied(task.combine(joined)), began, joined.partial_sums())
        self._send(wire, others, task, carried.answer, task.calls() - before, plain)
        return carried

    def _send(self, wire: Wire, others: Sequence[int], task: Task, answer: Message, calls: int, plain: bool) -> None:
        payload = answer.encode()
        if not plain:
            headers, templates = [], []
            for rank in others:
                name, template = self.templates.to_send(rank, answer, agreed(task.message))
                sizes = b"".join(_length(n) for n in (len(payload), len(template), calls))
                headers.append((rank, name + sizes))
                templates.append((rank, template))
            wire.exchange(headers, [], about=True)
            wire.exchange(templates, [], about=True)
        wire.exchange([(rank, payload) for rank in others], [])

    def _received(self, wire: Wire, task: Task, length: int | None) -> Carried:
        if length is not None:
            kind = with_values(
                task.message, [one.averaged(one.flat, one.offsets) for one in float_values(task.message)]
            )
        else:
            (header,) = wire.exchange([], [(0, 40)], about=True)
            length, template_length, calls = (int.from_bytes(header[at : at + 8], "little") for at in (16, 24, 32))
            (template,) = wire.exchange([], [(0, template_length)], about=True)
            kind = self.templates.received(header[:16], template, agreed(task.message))
            task.skip(calls)
        (payload,) = wire.exchange([], [(0, length)])
        began = time.perf_counter()
        return Carried.of(kind.decode([payload]), began)


def largest(joined: Message) -> Message:
    """The largest number of all rows at every coordinate, dense."""
    return dense_message(joined.dense().amax(dim=0, keepdim=True), (1,))


def _one_byte(mean: Message) -> bytes:
    return b"S" if isinstance(mean, SparseMessage) else b"D"


def _mean_from(payload: bytes, piece: Message) -> Message:
    """The mean of a shard: sparse, or dense where that was shorter."""
    kind: Message = piece
    if payload[:1] == b"D" and isinstance(piece, SparseMessage):
        kind = DenseMessage((1, piece.d), piece.values.averaged(piece.values.flat.new_zeros(0), even_offsets(0, 0)))
    return kind.decode([payload[1:]])


def _length(number: int) -> bytes:
    return number.to_bytes(8, "little")


def _bytes(numbers: Tensor) -> bytes:
    return numbers.detach().cpu().numpy().tobytes()


def _numbers(payload: bytes, like: Tensor) -> Tensor:
    if not payload:
        return like.new_empty(0)
    array = np.frombuffer(payload, like.detach().cpu().numpy().dtype)
    return torch.from_numpy(array.copy()).to(like.device)


def _added(own: Tensor, arrived: Sequence[bytes]) -> Tensor:
    total = own.clone()
    for one in arrived:
        total += _numbers(one, own)
    return total


def _through(wire: Wire, across: Wire, numbers: Tensor) -> Tensor:
    """The sum over another wire, counted on this one."""
    sent, seconds = across.sent, across.seconds
    total = across.sum(numbers)
    wire.sent += across.sent - sent
    wire.received += across.sent - sent
    wire.seconds += across.seconds - seconds
    wire.calls += across.taken_calls()
    return total


# which one ----------------------------------------------------------------------------------

_GATHERS = ("ring-all-gather", "lock-step-ring-all-gather", "doubling-all-gather")
_SERVERS = ("parameter-server", "first-k-parameter-server")
_SHARDS = ("sharded-parameter-server", "colocated-parameter-server")


class Carriers:
    """Who carries what in a training, by the scenario's collective and the message's kind."""

    def __init__(
        self,
        group: Group,
        workers: int,
        collective: str,
        in_rank_order: bool,
        sites: tuple[tuple[int, ...], ...],
        servers: Carrier | None = None,
    ):
        """
        Args:
            collective: the scenario's.
            in_rank_order: whether everything is added in rank order, bit for bit as in the simulation.
            sites: the ranks of each site, for ``two-level``.
            servers: where processes of their own serve: who carries messages to them.
        """
        self._collective, self._in_rank_order = collective, in_rank_order
        self._gather, self._sum = Gather(group, workers), GroupSum(group, workers)
        self._shards, self._server, self._servers = Shards(group, workers), Server(group, workers), servers
        self._sites: SumBySites | None = None
        if collective == "two-level" and not in_rank_order:
            if sorted(rank for site in sites for rank in site) != list(range(workers)):
                raise SimgmcError("two-level needs groups of workers: the network has no sites, racks or pods")
            self._sites = SumBySites(group, workers, sites)

    def of(self, task: Task) -> Carrier:
        """The carrier of one average."""
        floats = float_values(task.message)
        if self._servers is not None:
            return self._servers
        if self._collective in _SERVERS:
            return self._server
        if self._collective in _GATHERS or not task.mean:
            return self._gather
        if self._collective in _SHARDS:
            return self._shards if can_be_cut(task.message) else self._gather
        if not floats or any(one.format != "fp32" for one in floats):
            return self._gather
        if self._in_rank_order:
            return self._shards if can_be_cut(task.message) else self._gather
        return self._sites or self._sum
