"""Bandwidth that wanders at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simgmc.core.declared import declared
from simgmc.core.randomness import generator
from simgmc.core.registry import Option
from simgmc.core.units import DURATION, QuantityOption
from simgmc.network.conditions.changing import ChangingNetwork, LinkChange
from simgmc.network.topology.routing import Links


@dataclass(frozen=True)
class Wandering(LinkChange):
    """Every ``interval`` each link's bandwidth gets a new factor: log-normal with median 1, a first-order process
    that remembers ``memory`` of its last logarithm."""

    interval: float = declared(
        QuantityOption("from one change to the next", units=DURATION, example="1 s", positive=True, least="1 ms")
    )
    sigma: float = declared(Option("standard deviation of the factor's logarithm", float, at_least=0, at_most=10))
    memory: float = declared(
        Option("0: every factor is drawn independently; towards 1: slow wandering", float, 0.0, at_least=0, below=1)
    )

    def events_per_second(self, links: Links, hosts: int) -> tuple[float, str]:
        chosen, interval = len(self.chosen_of_all(links)), float(self.interval)
        return chosen / interval, f"bandwidth that wanders every {interval:g} s"

    def widen(self, links: Links, bandwidth: list[float]) -> None:
        for link in self.chosen(links):
            bandwidth[link] *= float(np.exp(self.sigma**2 / 2))

    def begin(self, network: ChangingNetwork, number: int) -> None:
        factor = network.new_factor()
        for link in self.chosen(network.network.links):
            self._change(network, factor, link, 0, 0.0)

    def _change(self, network: ChangingNetwork, factor: int, link: int, number: int, level: float) -> None:
        """Plan change ``number`` of a link; ``level``: the logarithm of its factor before."""
        draw = float(generator(network.seed, "bandwidth", factor, link, number).standard_normal())
        fresh = self.sigma * draw
        level = fresh if number == 0 else self.memory * level + (1 - self.memory**2) ** 0.5 * fresh

        def change(_: object) -> None:
            network.set_factor(factor, [link], float(np.exp(level)))
            self._change(network, factor, link, number + 1, level)

        network.network.at(number * float(self.interval), change)
