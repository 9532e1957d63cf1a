"""What the attributes of a SimGrid platform say: names, quantities with SimGrid's units, hosts by number."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simgmc.core.errors import SimgmcError, show_value, suggestion
from simgmc.core.outside.tables import check_name
from simgmc.core.outside.xml_tree import Element

_NUMBER = r"((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_BANDWIDTH = re.compile(_NUMBER + r"\s*([kKMGTPE]i?)?([bB])ps")
_TIME = re.compile(_NUMBER + r"\s*(ps|ns|us|ms|s|m|h|d|w)")
_NOTHING = re.compile(r"0+(\.0*)?")
"""The only number that needs no unit."""
_PREFIXES = {
    None: 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "ki": 2**10, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip
_SECONDS = {
    "ps": 1e-12, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0,
}  # fmt: skip
_POLICIES = ("SHARED", "SPLITDUPLEX", "FATPIPE")
_IGNORED = ("prop", "disk", "storage", "storage_type", "config", "random", "actor", "process")
"""What says nothing of the network."""
_MEMBERS = "id prefix suffix radical speed bw lat"
_ROUTE, _GATEWAYS = "src dst symmetrical", "gw_src gw_dst"
_ATTRIBUTES = {
    "platform": "version",
    "zone": "id routing",
    "host": "id speed core speed_file availability_file state_file coordinates pstate",
    "router": "id coordinates",
    "link": "id bandwidth bandwidth_file latency latency_file state_file sharing_policy",
    "host_link": "id up down",
    "backbone": "id bandwidth latency",
    "cabinet": _MEMBERS,
    "cluster": f"{_MEMBERS} core sharing_policy topology topo_parameters bb_bw bb_lat bb_sharing_policy router_id "
    "limiter_link loopback_bw loopback_lat",
    "route": _ROUTE,
    "zoneRoute": f"{_ROUTE} {_GATEWAYS}",
    "bypassRoute": "src dst",
    "bypassZoneRoute": f"src dst {_GATEWAYS}",
    "link_ctn": "id direction",
}
"""Those of every element, as SimGrid's DTD has them."""
OLD_NAMES = {"AS": "zone", "ASroute": "zoneRoute", "bypassASroute": "bypassZoneRoute"}
_MAX_MEMBERS = 100_000


@dataclass(frozen=True)
class Reader:
    """Reads elements of one file; every method raises SimgmcError with the file, the line and what would be right."""

    name: str

    def place(self, element: Element) -> str:
        """Where an element is."""
        return f"{self.name}, line {element.line}"

    def refusal(self, element: Element, problem: str) -> SimgmcError:
        """What to raise about an element."""
        return SimgmcError(f"{self.place(element)}: <{element.tag}>: {problem}")

    def check(self, element: Element, known: Sequence[str] = ()) -> None:
        """Refuse attributes that there are not, and elements within it that are not among those known here."""
        attributes = _ATTRIBUTES[OLD_NAMES.get(element.tag, element.tag)].split()
        for key in element.attributes:
            if key not in attributes:
                raise self.refusal(element, f"attribute {show_value(key)} is not read; {suggestion(key, attributes)}")
        for child in element.children:
            if OLD_NAMES.get(child.tag, child.tag) not in known and child.tag not in _IGNORED:
                raise self.refusal(child, "is not read here")

    def text(self, element: Element, key: str) -> str:
        """An attribute that must be there."""
        if not element.attributes.get(key):
            raise self.refusal(element, f"has no {key}")
        check_name(element.attributes[key], f"{self.place(element)}: {key}")
        return element.attributes[key]

    def rate(self, element: Element, key: str) -> float:
        """A bandwidth in bytes/s."""
        text = self.text(element, key)
        found = _BANDWIDTH.fullmatch(text.strip())
        if found is None or not 0 <= float(found[1]) * _PREFIXES[found[2]] <= 1e18:
            raise self.refusal(element, f'{key} = {show_value(text)}: must be such as "125MBps" or "1Gbps"')
        return float(found[1]) * _PREFIXES[found[2]] / (8 if found[3] == "b" else 1)

    def time(self, element: Element, key: str, default: str | None = None) -> float:
        """A duration in s."""
        text = element.attributes.get(key, default) or self.text(element, key)
        if _NOTHING.fullmatch(text.strip()):
            return 0.0
        found = _TIME.fullmatch(text.strip())
        if found is None or not 0 <= float(found[1]) * _SECONDS[found[2]] <= 1e9:
            raise self.refusal(element, f'{key} = {show_value(text)}: must be such as "50us"')
        return float(found[1]) * _SECONDS[found[2]]

    def choice(self, element: Element, key: str, choices: Sequence[str], default: str) -> str:
        """One of a few words, in capitals or not."""
        text = element.attributes.get(key) or default
        if text.upper() not in choices:
            raise self.refusal(
                element, f"{key} {show_value(text)} is not read; {', '.join(choices[:-1])} and {choices[-1]} are"
            )
        return text.upper()

    def policy(self, element: Element, key: str, default: str, choices: Sequence[str] = _POLICIES) -> str:
        """How flows share a link."""
        if element.attributes.get(key) == "FULLDUPLEX":  # its old name
            return "SPLITDUPLEX"
        return self.choice(element, key, choices, default)

    def symmetric(self, element: Element) -> bool:
        """Whether a route is also the way back."""
        return self.choice(element, "symmetrical", ("YES", "NO"), "YES") == "YES"

    def members(self, element: Element) -> list[str]:
        """The hosts of a cluster or a cabinet."""
        text = self.text(element, "radical")
        numbers: list[int] = []
        for part in re.split("[,;]", text):
            found = re.fullmatch(r"\s*(\d{1,7})(?:-(\d{1,7}))?\s*", part)
            if found is None or int(found[2] or found[1]) < int(found[1]):
                raise self.refusal(element, f"radical = {show_value(text)}: must be numbers and ranges, such as 0-3,8")
            more = range(int(found[1]), int(found[2] or found[1]) + 1)
            if len(numbers) + len(more) > _MAX_MEMBERS:
                raise self.refusal(element, f"radical = {show_value(text)}: more than {_MAX_MEMBERS:,} hosts")
            numbers += more
        prefix, suffix = element.attributes.get("prefix", ""), element.attributes.get("suffix", "")
        return [f"{prefix}{number}{suffix}" for number in numbers]

    def parameters(
        self, element: Element, right: Callable[[list[int]], bool], example: str, levels: bool = False
    ) -> list[list[int]]:
        """``topo_parameters``: lists of numbers of at least 1.

        Args:
            right: whether the lists may have these lengths; with ``levels`` the first is the one number that it holds.
        """
        text = self.text(element, "topo_parameters")
        parts = text.split(";")
        if not all(re.fullmatch(r"\s*\d{1,6}\s*(,\s*\d{1,6}\s*)*", part) for part in parts):
            raise self.refusal(element, f"topo_parameters = {show_value(text)}: must be such as {example}")
        lists = [[int(one) for one in part.split(",")] for part in parts]
        sizes = [len(one) for one in lists]
        if levels and sizes[0] == 1:
            sizes[0] = lists[0][0]
        if not right(sizes):
            raise self.refusal(element, f"topo_parameters = {show_value(text)}: must be such as {example}")
        if any(one < 1 for part in lists for one in part):
            raise self.refusal(element, f"topo_parameters = {show_value(text)}: every number must be at least 1")
        return lists

    def count(self, element: Element, hosts: int) -> None:
        """Refuse a cluster whose shape has other than its number of hosts."""
        members = len(self.members(element))
        if hosts != members:
            text = show_value(element.attributes["topo_parameters"])
            raise self.refusal(
                element, f"topo_parameters = {text}: are {hosts:,} hosts, and its radical names {members:,}"
            )
