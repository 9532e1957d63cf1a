"""Letters between ranks that nobody waits for: a thread for each rank that they go to, and for each they come from."""

from __future__ import annotations

import queue
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from simgmc.distributed.group import Group

_FIXED = struct.Struct("<8q16s")
"""kind, number, clock, round, who, to, lengths of payload and template; the template's name."""
_HEAD, _BODY = 1, 2
"""Tags."""

REQUEST, REPLY, SEND, SWAP, WANT, MATCH, COUNT, DIVERGED, LOOK, PAUSE, MARK, HERE, END = range(13)
"""Kinds of letters. From WANT on they carry no message; MARK: all before it have arrived; HERE: the rank is there."""


@dataclass
class Letter:
    """What travels."""

    kind: int
    who: int
    """Whose it is: a worker's rank, or the server."""
    to: int
    number: int = 0
    """Of the message in it; of other letters what they say."""
    clock: int = 0
    """Lamport's."""
    round: int = 0
    """The sender's rounds so far."""
    counts: Sequence[int] = field(default_factory=list)
    """Gradients of every worker, as far as the sender has heard."""
    payload: bytes = b""
    template: bytes = b""
    name: bytes = b""
    """The template's."""


class Post:
    """Sends and receives letters; ``arrived(letter)`` is called in threads of its own, one for each sender."""

    def __init__(self, group: Group, workers: int, arrived: Callable[[Letter], None], failed: Callable[[Any], None]):
        """``failed(error)`` hears of a letter that could not be sent or received."""
        self._group, self._workers, self._arrived, self._failed = group, workers, arrived, failed
        # A receiver tells a sender, over the same connection, when a message may come. It would tell so behind a whole
        # message of its own, were that on its way to the sender: the two would cross one after the other.
        self._upwards, self._downwards = group.channel(), group.channel()
        self._others = [rank for rank in range(group.size) if rank != group.rank]
        self._out: dict[int, queue.SimpleQueue[Letter]] = {rank: queue.SimpleQueue() for rank in self._others}
        self._threads = [threading.Thread(target=self._send, args=(rank,), daemon=True) for rank in self._others]
        self._threads += [threading.Thread(target=self._receive, args=(rank,), daemon=True) for rank in self._others]

    def open(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def send(self, rank: int, letter: Letter) -> None:
        """Letters to a rank arrive in the order in which they were given."""
        self._out[rank].put(letter)

    def close(self) -> None:
        """Say that no more will come, and wait until nobody else's will."""
        for rank in self._others:
            self.send(rank, Letter(END, self._group.rank, rank, counts=[0] * self._workers))
        for thread in self._threads:
            thread.join()

    def _send(self, rank: int) -> None:
        try:
            while True:
                letter = self._next(rank)
                self._put(_head(letter), rank, _HEAD)
                if body := letter.template + letter.payload:
                    self._put(body, rank, _BODY)
                if letter.kind == END:
                    return
        except BaseException as error:  # whatever it is, the main thread is to end with it
            self._failed(error)

    def _next(self, rank: int) -> Letter:
        """What is to be sent; that this rank is there, before the other has waited too long for anything."""
        try:
            return self._out[rank].get(timeout=self._group.timeout / 4)
        except queue.Empty:
            return Letter(HERE, self._group.rank, rank, counts=[0] * self._workers)

    def _put(self, content: bytes, rank: int, tag: int) -> None:
        dist.send(
            torch.from_numpy(np.frombuffer(content, np.uint8).copy()), rank, self._between(self._group.rank, rank), tag
        )

    def _receive(self, rank: int) -> None:
        try:
            while True:
                letter, template, payload = _read(self._take(_FIXED.size + 8 * self._workers, rank, _HEAD))
                if template + payload:
                    body = self._take(template + payload, rank, _BODY)
                    letter.template, letter.payload = body[:template], body[template:]
                if letter.kind == END:
                    return
                if letter.kind != HERE:
                    self._arrived(letter)
        except BaseException as error:  # likewise
            self._failed(error)

    def _take(self, length: int, rank: int, tag: int) -> bytes:
        into = torch.empty(length, dtype=torch.uint8)
        dist.recv(into, rank, self._between(rank, self._group.rank), tag)
        return into.numpy().tobytes()

    def _between(self, sender: int, receiver: int) -> Any:
        """The process group for one way: there and back have connections of their own."""
        return self._upwards if sender < receiver else self._downwards


def _head(letter: Letter) -> bytes:
    sizes = len(letter.payload), len(letter.template)
    fixed = _FIXED.pack(
        letter.kind, letter.number, letter.clock, letter.round, letter.who, letter.to, *sizes, letter.name
    )
    return fixed + np.asarray(letter.counts, np.int64).tobytes()


def _read(head: bytes) -> tuple[Letter, int, int]:
    kind, number, clock, round, who, to, payload, template, name = _FIXED.unpack_from(head)
    counts = np.frombuffer(head, np.int64, offset=_FIXED.size).tolist()
    return Letter(kind, who, to, number, clock, round, counts, name=name), template, payload


def to_array(letter: Letter) -> np.ndarray:
    """(n,) uint8: what :func:`from_array` reads."""
    head = np.array([_FIXED.size + 8 * len(letter.counts)], np.int64).tobytes()
    return np.frombuffer(head + _head(letter) + letter.template + letter.payload, np.uint8)


def from_array(array: np.ndarray) -> Letter:
    """The letter that :func:`to_array` wrote."""
    content = array.tobytes()
    end = 8 + int.from_bytes(content[:8], "little")
    letter, template, _ = _read(content[8:end])
    letter.template, letter.payload = content[end : end + template], content[end + template :]
    return letter
