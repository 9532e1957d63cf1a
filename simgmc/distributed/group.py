"""Bytes and sums between the processes of a group, and what they took.

Everything here is a thin layer on ``torch.distributed``: nothing knows of methods or messages.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import pickle
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from simgmc.core.errors import SimgmcError
from simgmc.distributed.measured import Call

T = TypeVar("T")


class RankLostError(SimgmcError):
    """Another process is gone, or does not answer any more: the group is of no use."""


@dataclass(frozen=True)
class Place:
    """Where a process runs."""

    host: str
    pid: int

    @classmethod
    def here(cls) -> Place:
        """That of this process."""
        return cls(socket.gethostname(), os.getpid())

    def gone(self) -> bool:
        """Whether it is known to have ended: a process of this machine that is not there any more."""
        if self.host != socket.gethostname():
            return False
        try:
            status = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return Path("/proc/self/stat").exists()
        return status.rpartition(")")[2].split()[0] in ("Z", "X")


class Wire:
    """One process group: exchanges one after the other, in the same order on every rank."""

    def __init__(self, group: Any, device: torch.device, lost: Lost, everybody: Any = None):
        """``everybody``: the group that exchanges go over, where it has ranks that take part in nothing else."""
        self._group, self._device, self._lost = group, device, lost
        self._everybody = group if everybody is None else everybody
        self.sent = self.received = 0
        """Bytes of payload that this rank gave to others and took from them so far."""
        self.seconds = 0.0
        """Spent in the group's calls so far."""
        self.calls: Counter[Call] = Counter()
        """What this rank asked of the group since :meth:`taken_calls`."""
        self._with: set[int] = set()
        self._from: set[int] = set()
        """Ranks that it has exchanged messages with since then, and those that it got some from."""

    def taken_calls(self) -> Counter[Call]:
        """What was asked of the group since this was called last."""
        calls, self.calls = self.calls, Counter()
        for what, ranks in (("with", self._with), ("from", self._from)):
            if ranks:
                calls[Call(what, 0)] = len(ranks)
                ranks.clear()
        return calls

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            with self._lost.told():
                yield
        finally:
            self.seconds += time.perf_counter() - start

    def exchange(
        self, outgoing: Sequence[tuple[int, bytes]], incoming: Sequence[tuple[int, int]], about: bool = False
    ) -> list[bytes]:
        """Send to and receive from others at the same time.

        Args:
            outgoing: ``(rank, payload)``; empty payloads are not sent.
            incoming: ``(rank, length)`` of what comes, which its receiver has to know.
            about: these are no messages, but say something about them (lengths, how they are decoded).

        Returns:
            What came, in the order of ``incoming``.
        """
        arrived = [torch.empty(length, dtype=torch.uint8, device=self._device) for _, length in incoming]
        operations = [
            dist.P2POp(dist.irecv, into, rank, self._everybody)
            for (rank, _), into in zip(incoming, arrived, strict=True)
            if len(into)
        ]
        operations += [
            dist.P2POp(dist.isend, self._tensor(payload), rank, self._everybody)
            for rank, payload in outgoing
            if payload
        ]
        if operations:
            with self._used():
                for work in dist.batch_isend_irecv(operations):
                    work.wait()
                self._finish()
        self.sent += sum(len(payload) for _, payload in outgoing)
        self.received += sum(length for _, length in incoming)
        send, receive = ("tell", "hear") if about else ("send", "receive")
        to, of = {rank for rank, payload in outgoing if payload}, {rank for rank, length in incoming if length}
        self._with |= to | of
        self._from |= of
        self.calls.update(Call(send, len(payload), 2, int(rank in of)) for rank, payload in outgoing if payload)
        self.calls.update(Call(receive, length, 2, int(rank in to)) for rank, length in incoming if length)
        return [into.cpu().numpy().tobytes() for into in arrived]

    def lengths(self, own: int) -> list[int]:
        """Every rank's number."""
        mine = torch.tensor([own], dtype=torch.int64, device=self._device)
        every = [torch.zeros_like(mine) for _ in range(dist.get_world_size(self._group))]
        with self._used():
            dist.all_gather(every, mine, self._group)
            self._finish()
        self.calls[Call("lengths", mine.element_size(), len(every))] += 1
        return [int(one) for one in every]

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over ranks ``(n,)``, added by the group's own all-reduce, in its own order."""
        total = numbers.detach().clone(memory_format=torch.contiguous_format).to(self._device)
        with self._used():
            dist.all_reduce(total, group=self._group)
            self._finish()
        size = dist.get_world_size(self._group)
        moved = 2 * (size - 1) * total.numel() * total.element_size() // size  # of a ring, which is the least
        self.sent += moved
        self.received += moved
        self.calls[Call("sum", total.numel() * total.element_size(), size)] += 1
        return total.to(numbers.device)

    def _tensor(self, payload: bytes) -> Tensor:
        return torch.from_numpy(np.frombuffer(payload, np.uint8).copy()).to(self._device)

    def _finish(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def calls_of_gathering(objects: Sequence[Any]) -> Counter[Call]:
    """What :meth:`Group.gathered` everywhere asks of the group: their lengths, and all as long as the longest."""
    longest = max(len(pickle.dumps(one)) for one in objects)
    return Counter([Call("lengths", 8, len(objects)), Call("lengths", longest, len(objects))])


class Lost:
    """Tells in one line which rank is gone, where a call of the group fails."""

    def __init__(self, rank: int):
        self.rank = rank
        self.places: list[Place] = []
        """Of every rank, once they are known."""

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """An error of the group becomes a :class:`RankLostError`."""
        try:
            yield
        except RuntimeError as error:
            raise RankLostError(self.words(error)) from None

    @property
    def gone(self) -> str:
        """Which ranks are known to have ended, in words; empty where none is."""
        found = [
            f"rank {rank} (process {place.pid} on {place.host})"
            for rank, place in enumerate(self.places)
            if rank != self.rank and place.gone()
        ]
        return ", ".join(found)

    def words(self, error: BaseException) -> str:
        """What has happened, as far as it can be known here."""
        time.sleep(0.2)  # a process that was killed stands in the list of processes for a moment
        first = str(error).strip().splitlines()
        # Gloo says in which of its own files, and what that may mean.
        reason = re.sub(r"^\[[^]]*\] |\. This is typically.*$", "", first[0]) if first else type(error).__name__
        what = f"{self.gone} ended" if self.gone else f"another rank ended or does not answer ({reason})"
        return f"rank {self.rank}: {what}, and none can go on without the others; what was finished or saved is kept"


class Group:
    """All processes of one training: the wire, another one for what travels in the background, and objects."""

    def __init__(self, backend: str, device: torch.device, timeout: float, name: str, together: int | None = None):
        """Joins it. ``name``: tells the groups of one run apart. ``together``: so many of the ranks, the first ones,
        take part in what all do together; the others only send and receive. By default all do.

        Raises SimgmcError where the group cannot be made.
        """
        self.rank, self.processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.size = self.processes if together is None else together
        self.device, self.backend = device, backend
        self.timeout = timeout
        """Seconds that a rank waits for another."""
        limit = datetime.timedelta(seconds=timeout)
        self._lost = Lost(self.rank)
        _JOINED.append(self._lost)
        self._store = dist.PrefixStore(name, _store(self.rank, self.processes, limit))
        first = list(range(self.size))
        try:
            dist.init_process_group(
                backend, store=self._store, rank=self.rank, world_size=self.processes, timeout=limit
            )
            everybody, behind = dist.new_group(timeout=limit), dist.new_group(timeout=limit)
            self.objects = dist.new_group(first, backend="gloo", timeout=limit)
            together_group, together_behind = (dist.new_group(first, timeout=limit) for _ in range(2))
        except RuntimeError as error:
            raise SimgmcError(f"rank {self.rank}: cannot join the group: {str(error).splitlines()[0]}") from None
        self.wire = self._wire(together_group, everybody)
        self.background = self._wire(together_behind, behind)
        self._subgroups: dict[tuple[int, ...], Wire] = {}
        if self.rank < self.size:
            self._lost.places = self.gathered(Place.here(), everywhere=True)
        self._connect()

    @property
    def sent(self) -> int:
        """Bytes of payload that this rank gave to others so far."""
        return self.wire.sent + self.background.sent

    @property
    def received(self) -> int:
        """Bytes of payload that it took from them."""
        return self.wire.received + self.background.received

    def _connect(self) -> None:
        """Every connection is made before time is measured: the first exchange between two ranks makes one."""
        others = [rank for rank in range(self.processes) if rank != self.rank]
        for wire in (self.wire, self.background):
            wire.exchange([(rank, b"1") for rank in others], [(rank, 1) for rank in others])
            if self.rank < self.size:
                wire.lengths(0)
                wire.sum(torch.zeros(self.size))
            wire.sent = wire.received = 0
            wire.seconds = 0.0
            wire.taken_calls()

    def _wire(self, group: Any, everybody: Any = None) -> Wire:
        return Wire(group, self.device if self.backend == "nccl" else torch.device("cpu"), self._lost, everybody)

    def some(self, groups: Sequence[Sequence[int]]) -> Wire:
        """The wire of that one of these groups of ranks which this rank is in."""
        (mine,) = (tuple(ranks) for ranks in groups if self.rank in ranks)
        if mine not in self._subgroups:
            made = self._wire(dist.new_group(list(mine), use_local_synchronization=True))
            made.sum(torch.zeros(len(mine)))
            made.sent = made.received = 0
            made.seconds = 0.0
            made.taken_calls()
            self._subgroups[mine] = made
        return self._subgroups[mine]

    def gathered(self, own: T, everywhere: bool = False) -> list[T]:
        """Every rank's object, in rank order, on rank 0 (or everywhere); elsewhere an empty list."""
        found: list[Any] = [None] * self.size
        with self._lost.told():
            if everywhere:
                dist.all_gather_object(found, own, group=self.objects)
            else:
                dist.gather_object(own, found if self.rank == 0 else None, group=self.objects)
        return found if everywhere or self.rank == 0 else []

    def told(self, own: T | None) -> T:
        """What rank 0 says to all."""
        said: list[Any] = [own]
        with self._lost.told():
            dist.broadcast_object_list(said, 0, group=self.objects)
        return said[0]

    def channel(self) -> Any:
        """A process group by itself for letters, which come from several threads."""
        with self._lost.told():
            return dist.new_group(backend="gloo", timeout=datetime.timedelta(seconds=self.timeout))

    def words(self, error: BaseException) -> str:
        """What has happened where a call has failed."""
        return self._lost.words(error)

    def lost(self) -> contextlib.AbstractContextManager[None]:
        """An error of the group in here becomes a :class:`RankLostError`."""
        return self._lost.told()

    def say(self, name: str, text: str) -> None:
        """Leave word for ranks that lose this one."""
        with contextlib.suppress(RuntimeError):
            self._store.set(name, text)
        self.leave()

    def tell(self, name: str, text: str) -> None:
        """Say something to whoever asks for it by name."""
        with self._lost.told():
            self._store.set(name, text)

    def asked(self, name: str) -> str:
        """What another rank tells under this name, as soon as it does."""
        with self._lost.told():
            return self._store.get(name).decode()

    def heard(self, name: str) -> str | None:
        """What another rank has left word of, None where none has."""
        try:
            return self._store.get(name).decode() if self._store.check([name]) else None
        except RuntimeError:
            return None

    def wait_for_all(self) -> None:
        """Until every rank is here."""
        with self._lost.told():
            dist.barrier(group=self.objects)

    def leave(self) -> None:
        """Let go of it."""
        with contextlib.suppress(RuntimeError, ValueError):
            dist.destroy_process_group()


def gone_by_now() -> str:
    """Which ranks of the groups that this process has joined are known to have ended, in words."""
    return _JOINED[-1].gone if _JOINED else ""


_JOINED: list[Lost] = []
"""Of each group that this process has joined."""
_STORES: list[Any] = []
"""The store that this process has made or joined: one for all groups of a run."""


def _store(rank: int, size: int, limit: datetime.timedelta) -> Any:
    if not _STORES:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # torchrun has a store of its own at that address; without it rank 0 makes one.
        served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        try:
            _STORES.append(dist.TCPStore(host, port, size, is_master=rank == 0 and not served, timeout=limit))
        except RuntimeError as error:
            raise SimgmcError(f"rank {rank}: no rendezvous at {host}:{port}: {str(error).splitlines()[0]}") from None
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"simgmc/{restart}", _STORES[0])
