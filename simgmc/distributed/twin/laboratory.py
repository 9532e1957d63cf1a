"""A scenario's network in miniature: a namespace for each host, a bridge for each switch, every link shaped."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import networkx as nx

from simgmc.core.errors import SimgmcError
from simgmc.distributed.twin.namespaces import Namespace, Reaper, check_machine, spawned
from simgmc.distributed.twin.protocol import FRAME

_QUEUE = 1_000_000_000
"""Bytes that may wait before a link: more than there ever are. TCP loses nothing here, so that its windows grow to all
that is to be sent (some MB a connection), and where many send to one at once, as in the gather of an evaluation, all of
it waits before one link, whatever bandwidth and round trip are. A queue of that product would drop it."""
_BURST_SECONDS = 2e-4
PORT = 29500
MAX_HOSTS = 64


@dataclass(frozen=True)
class Shaped:
    """What one shaper counted: of one direction of a link."""

    source: str
    destination: str
    bytes: int
    packets: int
    drops: int
    """Packets that found no room in its queue."""


class Laboratory:
    """Hosts joined as in a network, each in a namespace of its own; as a context it ends with everything it made.

    Networks whose links form a tree are built as they are: hosts are namespaces, other nodes are bridges, and each
    direction of a link is shaped at its begin by a token bucket that holds a fifth of a millisecond, or a frame.
    """

    def __init__(self, graph: nx.DiGraph, hosts: Sequence[str]):
        """Raises SimgmcError for a network that cannot be built; NotHereError where this machine cannot."""
        check_shape(graph, hosts)
        self.latency_by = check_machine()
        """What makes the links' latency: "netem", or "" where the kernel has none and links have none of their own."""
        self.graph, self.hosts = graph, tuple(hosts)
        self._spaces: dict[str, Namespace] = {}
        self._reaper: Reaper | None = None
        self._switch: Namespace | None = None
        self._shapers: list[tuple[str, str, Namespace, str]] = []
        """Source and destination of each direction of a link that is shaped, and the interface at its begin."""
        self.congestion_control = ""
        """TCP's."""

    def __enter__(self) -> Self:
        try:
            self._reaper = Reaper()
            self._build()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def address(self, host: str) -> str:
        """Its address, known in these namespaces alone."""
        number = self.hosts.index(host) + 1
        return f"10.0.{number // 250}.{number % 250 + 1}"

    def run(
        self, commands: dict[str, Sequence[str]], environment: dict[str, str], limit: float, group: bool = True
    ) -> dict[str, tuple[int, str, str]]:
        """Run a process on each of these hosts until all are over.

        Args:
            commands: by host; rank k is on the k-th.
            environment: beside this process's own, and what tells a rank its place.
            limit: seconds after which those that still run are killed.
            group: end the others some seconds after one has failed.

        Returns:
            By host: exit status (negative: by that signal), standard output and standard error.
        """
        assert self._reaper is not None
        first, running = next(iter(commands)), {}
        for rank, (host, command) in enumerate(commands.items()):
            place = {
                "RANK": str(rank), "WORLD_SIZE": str(len(commands)), "LOCAL_RANK": str(rank),
                "LOCAL_WORLD_SIZE": str(len(commands)), "MASTER_ADDR": self.address(first), "MASTER_PORT": str(PORT),
                "GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1",
            }  # fmt: skip
            running[host] = spawned(command, self._spaces[host], {**os.environ, **place, **environment}, self._reaper)
        said: dict[str, tuple[str, str]] = {}

        def listen(host: str) -> None:
            said[host] = running[host].communicate()

        listeners = [threading.Thread(target=listen, args=(host,), daemon=True) for host in running]
        for one in listeners:
            one.start()
        begun, failed, going = time.monotonic(), math.inf, dict(running)
        while any(one.is_alive() for one in listeners):
            now = time.monotonic()
            for host, process in list(going.items()):
                if process.poll() is not None:
                    self._reaper.end(going.pop(host))  # what it began and left behind would hold its pipes open
                    if group and process.returncode and failed == math.inf:
                        failed = now
            if now - begun > limit or now - failed > 20:
                for process in going.values():
                    process.kill()
            time.sleep(0.05)
        for process in going.values():
            self._reaper.end(process)
        return {host: (process.returncode, *said.get(host, ("", ""))) for host, process in running.items()}

    def run_or_raise(self, command: Sequence[str], limit: float) -> None:
        """Run the same on every host. Raises SimgmcError with what those said that failed."""
        done = self.run(dict.fromkeys(self.hosts, command), {}, limit)
        failed = {host: (status, errors) for host, (status, _, errors) in done.items() if status}
        if failed:
            raise SimgmcError(_why(failed, limit))

    def round_trip(self) -> float:
        """Seconds there and back between the first two hosts, the least of several of one packet."""
        here, there = self.hosts[:2]
        server = (
            "import socket; s = socket.socket(2, 2); s.bind(('', 9)); s.settimeout(20)\n"
            "while (asked := s.recvfrom(9))[0] != b'over': s.sendto(*asked)"
        )
        client = (
            "import socket, time; s = socket.socket(2, 2); s.settimeout(1); best = 1\n"
            "for _ in range(20):\n"
            f"    t = time.perf_counter(); s.sendto(b'x', ('{self.address(here)}', 9))\n"
            "    try: s.recvfrom(9); best = min(best, time.perf_counter() - t)\n"
            "    except OSError: time.sleep(0.05)\n"
            f"s.sendto(b'over', ('{self.address(here)}', 9)); print(best)"
        )
        python = [sys.executable, "-S", "-E", "-c"]
        found = self.run({here: [*python, server], there: [*python, client]}, {}, 30.0, group=False)
        try:
            return float(found[there][1])
        except ValueError:
            raise SimgmcError(
                f"the hosts of the laboratory do not reach each other: {found[there][2][-300:]}"
            ) from None

    def shaped(self) -> list[Shaped]:
        """What every shaper counted so far."""
        found = []
        for source, destination, space, name in self._shapers:
            for one in json.loads(space.run("tc", "-s", "-j", "qdisc", "show", "dev", name)):
                if one["kind"] == "tbf":
                    found.append(Shaped(source, destination, one["bytes"], one["packets"], one["drops"]))
        return found

    def sent_again(self) -> dict[str, int]:
        """Segments that TCP has sent more than once so far, of every host."""
        return {host: _sent_again(space.run("cat", "/proc/net/snmp")) for host, space in self._spaces.items()}

    # building -------------------------------------------------------------------------------

    def _build(self) -> None:
        self._switch = Namespace()
        bridges = {node: f"br{number}" for number, node in enumerate(self.graph) if node not in self.hosts}
        for name in bridges.values():
            self._switch.run("ip", "link", "add", name, "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
            self._switch.run("ip", "link", "set", name, "up")
        for number, (one, other) in enumerate(wires(self.graph)):
            a, b = (f"p{number}a", f"p{number}b")
            if one in self.hosts:
                one, other = other, one
            if other in self.hosts:
                space = self._spaces[other] = Namespace()
                self._switch.run("ip", "link", "add", a, "type", "veth", "peer", "name", "eth0", "netns", space.path)
                space.run("ip", "addr", "add", f"{self.address(other)}/16", "dev", "eth0")
                space.run("ip", "link", "set", "lo", "up")
                b = "eth0"
                self._up(space, b)
            else:
                space = self._switch
                self._switch.run("ip", "link", "add", a, "type", "veth", "peer", "name", b)
                self._switch.run("ip", "link", "set", b, "master", bridges[other])
                self._up(space, b)
            self._switch.run("ip", "link", "set", a, "master", bridges[one])
            self._up(self._switch, a)
            self._shape(self._switch, a, one, other)
            self._shape(space, b, other, one)
        for host in self.hosts:
            self._spaces[host].within(self._choose_congestion_control).join()

    def _choose_congestion_control(self) -> None:
        """The first of these that the kernel lets a namespace have; BBR, which paces by round trips, would pace by how
        soon this machine's few cores come to an acknowledgement."""
        file = Path("/proc/sys/net/ipv4/tcp_congestion_control")
        for name in ("cubic", "reno"):
            with contextlib.suppress(OSError):
                file.write_text(name)
                break
        self.congestion_control = file.read_text().strip()

    @staticmethod
    def _up(space: Namespace, name: str) -> None:
        """One packet at a time: what is counted and shaped is what a wire would carry."""
        space.run("ip", "link", "set", name, "up", "gso_max_segs", "1")

    def _shape(self, space: Namespace, name: str, source: str, destination: str) -> None:
        bandwidth, latency = (self.graph.edges[source, destination][key] for key in ("bandwidth", "latency"))
        parent = "root"
        if bandwidth != math.inf:
            burst = max(FRAME + 86, round(bandwidth * _BURST_SECONDS))
            space.run(
                "tc", "qdisc", "add", "dev", name, "root", "handle", "1:", "tbf", "rate", f"{round(8 * bandwidth)}bit",
                "burst", burst, "limit", _QUEUE,
            )  # fmt: skip
            self._shapers.append((source, destination, space, name))
            parent = "parent 1:1"
        if latency and self.latency_by:
            space.run(
                "tc", "qdisc", "add", "dev", name, *parent.split(), "netem", "delay", f"{round(1e6 * latency)}us",
                "limit", 100_000,
            )  # fmt: skip

    def _close(self) -> None:
        if self._reaper is not None:
            self._reaper.close()
        for space in (*self._spaces.values(), *([self._switch] if self._switch else [])):
            space.close()


def wires(graph: nx.DiGraph) -> list[tuple[str, str]]:
    """The links, both directions of one taken together."""
    return list(dict.fromkeys(tuple(sorted(edge)) for edge in graph.edges))


def check_shape(graph: nx.DiGraph, hosts: Sequence[str]) -> None:
    """Raises SimgmcError for a network that namespaces and bridges do not give: one that is no tree of switches."""
    if len(hosts) > MAX_HOSTS:
        raise SimgmcError(f"{len(hosts)} hosts: a laboratory on one machine has at most {MAX_HOSTS}")
    if len(hosts) < 2:
        raise SimgmcError("a laboratory needs at least two hosts")
    single = [edge for edge in graph.edges if not graph.has_edge(*reversed(edge))]
    if single:
        raise SimgmcError(f"link {single[0][0]} -> {single[0][1]} has no way back: a laboratory has wires of two ways")
    if not nx.is_tree(graph.to_undirected()):
        raise SimgmcError(
            "the network is no tree: between two hosts there are several ways, or none; a laboratory joins bridges, "
            "which know one (star and two-tier are trees)"
        )
    for host in hosts:
        if graph.out_degree(host) != 1:
            raise SimgmcError(f"{host} has {graph.out_degree(host)} links: a host of a laboratory has one")
        if next(iter(graph.successors(host))) in hosts:
            raise SimgmcError(f"{host} is joined to another host: hosts of a laboratory are joined to switches")
    for one, other, data in graph.edges(data=True):
        if data.get("shares") is not None:
            raise SimgmcError(f"link {one} -> {other} is half-duplex, which a laboratory cannot shape")


def dropped(shaped: Sequence[Shaped]) -> str:
    """Which shapers have dropped packets, in words; empty where none has."""
    return ", ".join(
        f"{one.drops:,} of {one.drops + one.packets:,} on the link {one.source} -> {one.destination}"
        for one in shaped
        if one.drops
    )


def _sent_again(snmp: str) -> int:
    """TCP's count of retransmitted segments, of what the kernel says in ``/proc/net/snmp``."""
    names, numbers = (line.split() for line in snmp.splitlines() if line.startswith("Tcp:"))
    return int(dict(zip(names, numbers, strict=True))["RetransSegs"])


def _why(failed: dict[str, tuple[int, str]], limit: float) -> str:
    """What the processes said: those that say more than that another one is gone come first."""
    lines = []
    for host, (status, errors) in failed.items():
        told = [line.removeprefix("error: ") for line in errors.splitlines() if line.startswith("error: ")]
        rest = [line for line in errors.splitlines() if line.strip() and "[W" not in line[:3]]
        how = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
        lines += [(status != 2, f"{host}: {one}") for one in told or [*rest[-1:], how][:1]]
    lines.sort(key=lambda line: line[0])
    stopped = all(status < 0 for status, _ in failed.values())
    return "\n".join([text for _, text in lines[:4]] + ([f"all were stopped after {limit:g} s"] if stopped else []))
