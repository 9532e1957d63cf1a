"""The bandwidths that compute utilisations need: the table on the console, and what is written of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from simgmc.core.quantities import bandwidth_text, number, percent_text
from simgmc.core.terminal import TextTable
from simgmc.results.series.utilisation import PRECISION, SHARES, Utilisation
from simgmc.results.tables.tables import print_sections

DEFINITION = (
    "compute utilisation: taking gradients over all of a worker's time (of all workers and seeds); at most: were "
    "bandwidth unlimited, with latency, compression and waiting as they are."
)
PRECISE = f"bandwidth: the least that has it, by replays, to {100 * (PRECISION - 1):.0f} %; all links scaled alike."


def print_utilisation(console: Console, found: Sequence[Utilisation]) -> None:
    """A section for each network, a row for each method."""
    columns: dict[str, Callable[[Utilisation], str]] = {
        "at the run's bandwidth": lambda one: percent_text(one.needs.now),
    }
    for share in SHARES:
        columns[f"bandwidth for {100 * share:g} %"] = lambda one, share=share: needed_text(one, share)
    columns["at most"] = lambda one: percent_text(one.needs.limit)
    sections = {name: [one for one in found if one.network == name] for name in dict.fromkeys(o.network for o in found)}
    notes = {list(sections)[-1]: [DEFINITION, PRECISE]}
    print_sections(console, "Compute utilisation, and the bandwidth that it needs", sections, columns, notes=notes)


def utilisation_table(found: Sequence[Utilisation], called: str = "") -> TextTable:
    """The same for a page; ``called``: what its heading begins with."""
    several = len({one.network for one in found}) > 1
    header = ["method", *(["network"] if several else []), "at the run's bandwidth"]
    header += [f"bandwidth for {100 * share:g} %" for share in SHARES] + ["at most"]
    rows = (
        (
            one.method, *([one.network] if several else []), percent_text(one.needs.now),
            *(needed_text(one, share) for share in SHARES), percent_text(one.needs.limit),
        )
        for one in found
    )  # fmt: skip
    heading = f"{called}Compute utilisation, and the bandwidth that it needs"
    return TextTable(heading, tuple(header), tuple(rows), 1 + several)


def needed_text(one: Utilisation, share: float) -> str:
    """``12.3 Mbit/s``; ``6.2 × as much`` where the cluster states no bandwidth of its own."""
    factor = one.needs.needed[share]
    if factor is None:
        return "never"
    if one.bandwidth is None:
        return f"{number(factor)} × as much"
    return bandwidth_text(one.bandwidth * factor, 3)


def needed_columns(found: Sequence[Utilisation]) -> dict[str, list[object]]:
    """``utilisation.csv``: a row per method, network and utilisation; of bandwidths that there are not, nothing."""
    rows = [(one, share, factor) for one in found for share, factor in one.needs.needed.items()]
    return _columns([one for one, _, _ in rows]) | {
        "utilisation": [share for _, share, _ in rows],
        "times_the_bandwidth": [factor for _, _, factor in rows],
        "bandwidth_mbit_s": [None if f is None else _mbit_s(one, f) for one, _, f in rows],
        "utilisation_now": [one.needs.now for one, _, _ in rows],
        "utilisation_at_most": [one.needs.limit for one, _, _ in rows],
    }


def curve_columns(found: Sequence[Utilisation]) -> dict[str, list[object]]:
    """``utilisation_curve.csv``: a row per method, network and bandwidth of the sweep."""
    pairs = [(one, *pair) for one in found for pair in zip(one.needs.factors, one.needs.utilisation, strict=True)]
    return _columns([one for one, _, _ in pairs]) | {
        "times_the_bandwidth": [float(factor) for _, factor, _ in pairs],
        "bandwidth_mbit_s": [_mbit_s(one, factor) for one, factor, _ in pairs],
        "utilisation": [float(value) for _, _, value in pairs],
    }


def _columns(of: Sequence[Utilisation]) -> dict[str, list[object]]:
    return {
        "method": [one.method for one in of],
        "collective": [str(one.transport) for one in of],
        "network": [one.network for one in of],
    }


def _mbit_s(one: Utilisation, factor: float) -> float | None:
    return None if one.bandwidth is None else float(8e-6 * one.bandwidth * factor)
