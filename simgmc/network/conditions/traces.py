"""Bandwidth that follows a recorded trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simgmc.core.declared import declared
from simgmc.core.errors import SimgmcError
from simgmc.core.files import shown
from simgmc.core.outside.bandwidth_traces import read_trace
from simgmc.core.registry import Option
from simgmc.network.conditions.changing import INFINITY, ChangingNetwork, LinkChange
from simgmc.network.topology.routing import Links


@dataclass(frozen=True)
class BandwidthSteps:
    """A link's bandwidth, or the factor of its nominal one, each from a time on."""

    times: tuple[float, ...]
    """Seconds, rising, from 0."""
    factors: tuple[float, ...]
    """From each time on: this many times the nominal bandwidth, or with ``absolute`` so many bytes/s."""
    period: float | None = None
    """Seconds after which the steps start again; None: the last factor stays."""
    absolute: bool = False
    file: str = field(default="", compare=False)
    """Where they were read from."""

    def __post_init__(self) -> None:
        if not self.times or len(self.times) != len(self.factors):
            raise SimgmcError("a bandwidth trace needs as many times as factors")
        if self.times[0] != 0:
            raise SimgmcError(
                f"a bandwidth trace begins at {self.times[0]:g} s: its first time must be 0, from when its first value "
                "holds"
            )
        if not all(a < b for a, b in zip(self.times, (*self.times[1:], INFINITY), strict=True)):
            raise SimgmcError("the times of a bandwidth trace must be finite and rise")
        if any(not 0 <= factor < INFINITY for factor in self.factors) or not any(self.factors):
            raise SimgmcError("the factors of a bandwidth trace must be finite, at least 0, and not all 0")
        if self.period is not None and not self.times[-1] < self.period < INFINITY:
            raise SimgmcError(
                f"period {self.period!r} s: must be finite and beyond the trace's last time, {self.times[-1]} s"
            )

    def __str__(self) -> str:
        return self.file

    @classmethod
    def from_file(cls, path: str | Path) -> BandwidthSteps:
        """Steps from a file, see :mod:`simgmc.core.outside.bandwidth_traces`. Raises SimgmcError, naming file and
        line.
        """
        times, values, period, absolute = read_trace(path)
        try:
            return cls(times, values, period, absolute, str(path))
        except SimgmcError as error:
            raise SimgmcError(f"{shown(path)}: {error}") from None

    def changes(self) -> Iterator[tuple[float, float]]:
        """(time, factor) for ever, or until the last."""
        start = 0.0
        while True:
            for time, factor in zip(self.times, self.factors, strict=True):
                yield start + time, factor
            if self.period is None:
                return
            start += self.period


@dataclass(frozen=True)
class _StepsOption(Option):
    """An option that names a file of steps."""

    kind: Any = Path

    def accepts(self, value: Any) -> bool:
        """Whether the file has been read."""
        return isinstance(value, BandwidthSteps)

    def read(self, value: Any) -> BandwidthSteps:
        """What the file says."""
        if not super().accepts(value):
            raise ValueError(f"must be {self.words}")
        try:
            return BandwidthSteps.from_file(value)
        except SimgmcError as error:
            raise ValueError(str(error)) from None


@dataclass(frozen=True)
class BandwidthTrace(LinkChange):
    """Bandwidth that follows the steps in a file."""

    file: BandwidthSteps = declared(
        _StepsOption(
            "a CSV file with columns time_s and factor (of the nominal value) or bandwidth_mbit_s, or a mahimahi trace"
        )
    )

    def events_per_second(self, links: Links, hosts: int) -> tuple[float, str]:
        steps = self.file
        on_and_off = not steps.absolute and set(steps.factors) <= {0.0, 1.0}
        chosen = self.chosen(links) if on_and_off else self.chosen_of_all(links)
        if not steps.absolute and all(links.bandwidth[link] == INFINITY for link in chosen):
            if not on_and_off:
                raise SimgmcError(
                    f"a trace of factors for {self.source} -> {self.destination}, which has no limit that they could "
                    "be of; give the link a bandwidth, or the trace a column bandwidth_mbit_s"
                )
        if steps.period is None:
            return 0.0, "a bandwidth trace"
        return len(chosen) * len(steps.times) / steps.period, f"a bandwidth trace of period {steps.period:g} s"

    def widen(self, links: Links, bandwidth: list[float]) -> None:
        most = max(self.file.factors)
        for link in self.chosen(links):
            bandwidth[link] = max(bandwidth[link], most) if self.file.absolute else bandwidth[link] * max(most, 1.0)

    def begin(self, network: ChangingNetwork, number: int) -> None:
        links, changes = self.chosen(network.network.links), self.file.changes()
        factor = None if self.file.absolute else network.new_factor()
        network.watch(links)

        def follow() -> None:
            upcoming = next(changes, None)
            if upcoming is not None:
                network.network.at(upcoming[0], change, upcoming[1])

        def change(value: float) -> None:
            if factor is None:
                network.set_bandwidth(links, value)
            else:
                network.set_factor(factor, links, value)
            follow()

        follow()
