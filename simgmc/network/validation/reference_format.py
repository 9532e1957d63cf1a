"""What reference files may hold: every value is checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from simgmc.core.errors import SimgmcError

MAX_FLOWS = 2_000_000
"""Flows of one case: more would take minutes."""


class Record:
    """One table of a reference file, with its place for messages."""

    def __init__(self, value: object, place: str):
        if not isinstance(value, dict):
            raise SimgmcError(f"{place} = {_shown(value)}: must be a table of keys and values")
        self._value = value
        self.place = place

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self._value.get(key) is not None

    def get(self, key: str) -> Any:
        """The value of a key that must be there."""
        if key not in self._value:
            raise SimgmcError(f"{self.place} has no {key!r}")
        return self._value[key]

    def refuse(self, key: str, what: str) -> SimgmcError:
        """The error that a key's value is not what it must be."""
        return SimgmcError(f"{self.place}: {key} = {_shown(self._value.get(key))}: must be {what}")

    def text(self, key: str, choices: Iterable[str] = ()) -> str:
        """A text, one of the choices where there are any."""
        value, choices = self.get(key), tuple(choices)
        if not isinstance(value, str) or (choices and value not in choices):
            raise self.refuse(key, "one of " + ", ".join(choices) if choices else "text")
        return value

    def whole(self, key: str, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self.get(key)
        if type(value) is not int or not least <= value <= most:
            raise self.refuse(key, f"a whole number from {least} to {most:,}")
        return value

    def number(self, key: str, least: float = 0.0, most: float = 1e18) -> float:
        """A number within bounds."""
        value = self.get(key)
        if not _within(value, least, most):
            raise self.refuse(key, f"a number from {least:g} to {most:g}")
        return value

    def numbers(self, key: str, count: int, least: float = 0.0, most: float = 1e18) -> None:
        """A list of so many numbers within bounds."""
        value = self.get(key)
        if not isinstance(value, list) or len(value) != count or not all(_within(one, least, most) for one in value):
            raise self.refuse(key, f"a list of {count} numbers from {least:g} to {most:g}")

    def names(self, key: str, known: Iterable[str]) -> None:
        """A list of known names."""
        value, known = self.get(key), set(known)
        if not isinstance(value, list) or not all(isinstance(one, str) and one in known for one in value):
            raise self.refuse(key, "a list of names that the case defines")

    def records(self, key: str) -> list[Record]:
        """A list of tables."""
        value = self.get(key)
        if not isinstance(value, list):
            raise self.refuse(key, "a list of tables")
        return [Record(one, f"{self.place}: {key}[{number}]") for number, one in enumerate(value)]

    def expected(self, key: str, check: Callable[[object], bool], what: str) -> None:
        """An expected value, where there is one; it may be anything that compares, NaN included."""
        if self.has(key) and not check(self.get(key)):
            raise self.refuse(key, what)


def check_document(document: dict, kind: str, file: str, modelled: Mapping[str, Iterable[str]]) -> None:
    """Refuse a reference file with a value that its kind cannot have.

    ``modelled``: measured collectives of which there is a model, and by which libraries.

    Raises:
        SimgmcError: naming the file, the case, the key and what would be right.
    """
    key = "rows" if kind in ("measured", "utilisation") else "cases"
    records = Record(document, file).records(key)
    if not records:
        raise SimgmcError(f"{file}: {key} is empty: there is nothing to check")
    if kind == "max-min":
        names = [record.text("name") for record in records]
        for index, record in enumerate(records):
            if names[index] in names[:index]:
                raise record.refuse("name", "a name of its own: another case has it")
            _check_max_min(record)
    for record in records:
        if kind == "rings":
            _check_ring(record)
        elif kind == "measured":
            _check_measured(record, modelled)
        elif kind == "utilisation":
            _check_run(record)


def _check_max_min(case: Record) -> None:
    links, flows = _ids(case, "links"), _ids(case, "flows")
    for link in case.records("links"):
        link.number("bandwidth")
        link.number("latency", most=1e9)
    for flow in case.records("flows"):
        flow.names("route", links)
        flow.number("bytes")
        for key in ("start", "delay"):
            if flow.has(key):
                flow.number(key, most=1e9)
        if flow.has("rate_cap"):
            flow.number("rate_cap")
        if flow.has("after"):
            flow.names("after", flows)
    if case.has("events"):
        for event in case.records("events"):
            event.number("time", most=1e9)
            event.text("link", links)
            event.number("bandwidth")
    for key in ("expected", "expected_latency_last"):
        case.expected(
            key,
            lambda value: (
                isinstance(value, dict)
                and all(flow in flows and (one is None or _real(one)) for flow, one in value.items())
            ),
            "a table of flows and their seconds (null: never)",
        )


def _ids(case: Record, key: str) -> list[str]:
    ids = [record.text("id") for record in case.records(key)]
    if len(set(ids)) < len(ids):
        raise case.refuse(key, "a list in which every id appears once")
    return ids


def _check_ring(case: Record) -> None:
    nodes = case.whole("nodes", 2, 10_000)
    slices = case.whole("slices", 1, 4096)
    steps = case.whole("steps", 1, 2 * (nodes - 1))
    if nodes * slices * steps > MAX_FLOWS:
        raise case.refuse("nodes", f"small enough that nodes x slices x steps is at most {MAX_FLOWS:,}")
    case.numbers("chunk_bytes", nodes)
    for key in ("up", "down"):
        case.numbers(key, nodes, least=1e-3)
    case.numbers("ready", nodes, most=1e9)
    case.number("latency", most=1e9)
    case.expected("makespan", _real, "a number of seconds")


def _check_measured(row: Record, modelled: Mapping[str, Iterable[str]]) -> None:
    collective = row.text("collective")
    for key, least, most in (("latency_s", 0.0, 1e6), ("bandwidth_Bps", 1.0, 1e15)):
        if row.get(key) is not None:
            row.number(key, least, most)
    if row.has("measured_s"):
        row.number("measured_s", 1e-12, 1e9)
    if row.has("setting"):
        row.text("setting")
    row.text("lib", modelled.get(collective, ()))
    if collective not in modelled:
        return
    nodes = row.whole("nodes", 2, 256)
    nbytes = row.number("bytes", 1.0, 1e15)
    _check_devices(row)
    if nodes * nbytes / 2**22 > MAX_FLOWS:
        raise row.refuse("bytes", f"at most {MAX_FLOWS * 2**22 / nodes:.3g} with {nodes} nodes")


def _check_run(row: Record) -> None:
    row.text("algorithm")
    row.whole("H", 1, 10**6)
    nodes = row.whole("nodes", 2, 256)
    if nodes * row.number("bytes", 1.0, 1e15) / 2**22 > MAX_FLOWS:
        raise row.refuse("bytes", f"at most {MAX_FLOWS * 2**22 / nodes:.3g} with {nodes} nodes")
    for key in ("compute_s", "sync_s"):
        row.number(key, 1e-12, 1e9)
    for key in ("iperf_bit_s", "nominal_bit_s"):
        if row.has(key):
            row.number(key, 1.0, 1e16)


def _check_devices(row: Record) -> None:
    """What only rows of nodes with several devices have."""
    if row.has("calibrated"):
        row.text("calibrated")
    if not row.has("devices"):
        for key in ("algorithm", "cards", "inside_Bps"):
            if row.has(key):
                raise row.refuse(key, "left out where the row does not say how many devices a node has")
        return
    row.text("collective", ("allreduce",))
    row.text("lib", ("nccl",))
    row.text("algorithm", ("ring", "tree"))
    row.whole("devices", 1, 64)
    row.whole("cards", 1, 64)
    row.number("inside_Bps", 1.0, 1e15)
    row.number("latency_s", 0.0, 1e6)
    row.number("bandwidth_Bps", 1.0, 1e15)


def _real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and (value != value or abs(value) <= 1e300)


def _within(value: object, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _shown(value: object) -> str:
    """A value in a few characters, whatever it is."""
    if isinstance(value, (dict, list)):
        return f"a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**40:
        return f"a whole number of {value.bit_length()} bits"
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
