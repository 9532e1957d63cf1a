"""``simgmc calibrate``: transport overheads fitted to measured exchanges."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from simgmc.commands.time import GOSSIP, seconds
from simgmc.core.errors import SimgmcError, reason
from simgmc.core.quantities import bandwidth_text, bytes_text, number, time_text
from simgmc.core.terminal import print_line, print_table
from simgmc.experiment.preflight.bare_cluster import bare_cluster
from simgmc.network.calibration.empty import Empty
from simgmc.network.calibration.fit import ASSUMED_NOISE, Estimate, Fit, fit
from simgmc.network.calibration.table import MeasuredExchange, read_table
from simgmc.network.collectives import COLLECTIVES
from simgmc.network.conditions.overheads import Overheads

LINKS = 2
"""Links of hosts on the way of a message, between which the measured latency is divided."""


def run(
    table: str, keys: dict[str, Any], settings: Sequence[tuple[str, Any]], out: str | None, console: Console
) -> Fit:
    """Fit the table's rows, print every row's error before and after, print and write the transport.

    Raises:
        SimgmcError: anything about the table or the network.
    """
    rows = read_table(table)
    fitted = fit_rows(rows, keys, settings)
    report(rows, fitted, console)
    if not has_latency(rows, keys, settings):
        print_line(console, MERGED)
    transport(fitted, f"{len(rows)} rows of {Path(table).name}", out, console)
    return fitted


def in_process_group() -> bool:
    """Whether this process is one of several that torchrun started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def measure(nodes: int | None, keys: dict[str, Any], out: str | None, table: str | None, console: Console) -> None:
    """Time exchanges here, in a laboratory or in the process group that this is one of, and fit them.

    ``nodes``: of the laboratory; of a group it may be left out.

    Raises:
        SimgmcError: there is no bandwidth to hold them against, or what a laboratory needs is missing.
    """
    from simgmc.distributed.twin import machine  # loads torch

    stated = bare_cluster({**keys, "collective": "ring"})
    if in_process_group():
        started = int(os.environ["WORLD_SIZE"])
        if nodes not in (None, started):
            raise SimgmcError(f"--measure {nodes}: torchrun started {started} processes; leave the number out")
        measured = machine.in_group(None if stated.bandwidth is None else float(stated.bandwidth))
        if measured is None:
            return
        where = f"{started} processes of a group"
    elif stated.bandwidth is None:
        raise SimgmcError("the bandwidth is not known: give --bandwidth, of each link")
    else:
        assert nodes is not None
        measured = machine.in_laboratory(nodes, float(stated.bandwidth))
        where = f"{nodes} processes in network namespaces, links of {stated.bandwidth}"
    rows, empty = measured
    keys = dict(keys)
    if stated.bandwidth is None:
        keys["bandwidth"] = f"{empty.rate!r} B/s"
    known = stated.latency is not None and float(stated.latency) > 0
    if not known and empty.network is not None:
        keys["latency"] = f"{empty.network / LINKS!r} s"
    print_line(console, f"measured: {where}; the median of {machine.REPETITIONS}")
    for line in _about(empty, keys, known, stated.bandwidth is None):
        print_line(console, line)
    # Sends of real processes are not sliced. Microseconds of latency do not tell what a start costs in latencies.
    fitted = fit_rows(rows, keys, [("collective_options.slices", 1)], startup=known)
    report(rows, fitted, console)
    rates = machine.throughputs()
    for what, rate in rates.items():
        print_line(console, f"{what}: {bytes_text(rate)}/s on one thread")
    if table is not None:
        lines = [f"{row.collective},{row.nodes},{row.nbytes:.0f},{row.seconds!r}" for row in rows]
        _write(table, "\n".join(["collective,nodes,bytes,seconds", *lines, ""]))
    transport(fitted, where, out, console)
    print_line(console, "beside it, under [cluster]:")
    names = ("compression", "compressing (top-k, 1 %)"), ("aggregation", "adding")
    stated_rates = ", ".join(f'{key} = "{rates[what] / 1e9:.3g} GB/s"' for key, what in names)
    if not known and empty.network is not None:
        print_line(console, f'latency = "{number(1e6 * empty.network / LINKS)} us"')
    if stated.bandwidth is None:
        print_line(console, f'bandwidth = "{number(8e-6 * empty.rate, 4)} Mbit/s"')
    print_line(console, f"compute = {{ {stated_rates}, gradient = ... }}")


DOUBTFUL = 0.15
"""Relative error of a row from which on it is said that the model does not fit."""
MERGED = (
    "latency: neither the table nor --latency states any, and from times of whole exchanges it cannot be told apart "
    "from software: software, above, has the latency of a message's way in it (state no latency beside it)"
)


def has_latency(
    rows: Sequence[MeasuredExchange], keys: dict[str, Any], settings: Sequence[tuple[str, Any]] = ()
) -> bool:
    """Whether rows were measured on a network whose latency is known."""
    bare = [(key, value) for key, value in settings if "collective_options" not in key]
    stated = bare_cluster({**keys, "collective": "ring"}, bare).latency
    return any(one.latency for one in rows) or bool(stated and float(stated))


def _about(empty: Empty, keys: dict[str, Any], known: bool, rate_taken: bool) -> list[str]:
    """What was measured of messages one by one."""
    lines = []
    message = f"an empty message takes {time_text(empty.message)} one way"
    if empty.network is None or empty.software is None:
        merged = "the latency that was stated is taken" if known else "software, below, has both in it"
        lines.append(f"latency: this kernel does not tell what a packet takes, and {message}: {merged}")
    else:
        taken = (
            f"a link was stated to have {keys['latency']}, which is taken"
            if known
            else f"{time_text(empty.network / LINKS)} for each of the {LINKS} links on its way"
        )
        lines.append(
            f"latency: a packet takes {time_text(empty.network)} one way (half of the least that TCP saw there and "
            f"back): {taken}"
        )
        lines.append(f"{message}: beside the network {time_text(empty.software)} of software and waking up")
    lines.append(f"further ones that are sent right behind it take {time_text(empty.each)} each")
    taken = ", which is taken for the bandwidth: efficiency is what is left of that" if rate_taken else ""
    return [*lines, f"a large message goes at {bandwidth_text(empty.rate)}{taken}"]


def fit_rows(
    rows: Sequence[MeasuredExchange],
    keys: dict[str, Any],
    settings: Sequence[tuple[str, Any]],
    startup: bool | None = None,
) -> Fit:
    """The transport with which the simulated exchanges come nearest to the measured ones.

    ``startup``: whether it is fitted; by default where there is a latency.
    """
    bare = [(key, value) for key, value in settings if "collective_options" not in key]
    known = bare_cluster({**keys, "collective": "ring"}, bare).transport
    for key in ("efficiency", "software", "startup"):
        if getattr(known, key) != getattr(Overheads(), key):
            raise SimgmcError(f"transport.{key} = {getattr(known, key)}: is what is fitted; leave it out")
    settings = [(key, value) for key, value in settings if not key.removeprefix("cluster.").startswith("transport")]
    for row in rows:
        if row.collective != GOSSIP and not COLLECTIVES.knows(row.collective):
            raise SimgmcError(
                f"{row.place}: collective = {row.collective!r}: unknown; {COLLECTIVES.others(row.collective)}, "
                f"or {GOSSIP}"
            )
        if row.bandwidth is None and keys.get("bandwidth") is None and keys.get("topology", "star") == "star":
            raise SimgmcError(f"{row.place}: the bandwidth is not known: give --bandwidth, or a column bandwidth")

    def predict(row: int, overheads: Overheads) -> float:
        one = rows[row]
        there = dict(keys)
        if one.bandwidth is not None:
            there["bandwidth"] = f"{one.bandwidth!r} B/s"
        if one.latency is not None:
            there["latency"] = f"{one.latency!r} s"
        own = [*settings, ("transport", overheads)]
        if one.collective == GOSSIP:  # no collective of which anything could be chosen
            own = [(key, value) for key, value in own if "collective_options" not in key]
        try:
            return seconds(one.collective, one.nodes, one.nbytes, there, own)
        except SimgmcError as error:
            raise SimgmcError(f"{one.place}: {error}") from None

    startup = has_latency(rows, keys, settings) if startup is None else startup
    return fit(predict, [one.seconds for one in rows], latency=startup, rest=known)


def report(rows: Sequence[MeasuredExchange], fitted: Fit, console: Console) -> None:
    """The table of rows, what was fitted and how sure it is."""
    with_network = any(one.bandwidth is not None for one in rows)
    header = ("collective", "nodes", *(["bandwidth"] if with_network else []), "vector", "measured", "before",
              "error before", "fitted", "error after")  # fmt: skip
    cells = []
    for one, before, after in zip(rows, fitted.before, fitted.after):
        network = [bandwidth_text(one.bandwidth) if one.bandwidth else "-"] if with_network else []
        cells.append((
            one.collective, str(one.nodes), *network, bytes_text(one.nbytes), time_text(one.seconds),
            time_text(before), f"{before / one.seconds - 1:+.1%}", time_text(after), f"{after / one.seconds - 1:+.1%}",
        ))  # fmt: skip
    print_table(console, "measured exchanges", header, {"": cells})
    for line in _said(rows, fitted):
        print_line(console, line)


def _said(rows: Sequence[MeasuredExchange], fitted: Fit) -> list[str]:
    lines = ["fitted, with 95 % intervals:"]
    for name, one in fitted.estimates.items():
        lines.append(f"  {name:<10} {_estimate_words(name, one)}")
    if fitted.assumed:
        lines.append(
            f"{len(rows)} rows give these numbers and leave nothing over to show how exact they are: the intervals "
            f"assume that a measurement is off by {ASSUMED_NOISE:.0%}; more rows would tell"
        )
    else:
        lines.append(f"what is left of the rows is off by {fitted.noise:.2%} each (standard deviation)")
        if fitted.noise > DOUBTFUL:
            lines.append(
                "that is much: the rows are not those of a network of equal links (processes on one machine share its "
                "cores, and no link is between them), or something else was going on"
            )
    return lines


def _estimate_words(name: str, one: Estimate) -> str:
    if not one.told:
        return "not told by these rows: it is left at what costs nothing"
    if name == "software":
        return f"{time_text(one.value)}   ({time_text(one.low)} to {time_text(one.high)})"
    return f"{number(one.value, 4)}   ({number(one.low, 4)} to {number(one.high, 4)})"


def stated_keys(overheads: Overheads) -> dict[str, str]:
    """The keys of the transport that are not as by default, as TOML has their values."""
    stated = {"efficiency": f"{overheads.efficiency:.6g}", "software": f'"{overheads.software * 1e6:.6g} us"'}
    if overheads.startup:
        stated["startup"] = f"{overheads.startup:.6g}"
    for key, value in overheads.stated():
        if key not in ("efficiency", "software", "startup") and value != getattr(Overheads(), key):
            stated[key] = str(value) if isinstance(value, int) else f'"{value}"'
    return stated


def transport(fitted: Fit, source: str, out: str | None, console: Console) -> None:
    """Print the transport as a line under ``[cluster]``, or write it to a file that a scenario includes."""
    keys = stated_keys(fitted.overheads)
    line = "transport = { " + ", ".join(f"{key} = {value}" for key, value in keys.items()) + " }"
    console.print(f"\n{line}", markup=False, highlight=False, soft_wrap=True)  # to be copied: no end of a line in it
    if out is None:
        return
    noise = "assumed" if fitted.assumed else "left of the rows"
    head = f"# fitted to {source}; relative error of a row {fitted.noise:.4f} ({noise})\n[transport]\n"
    _write(out, head + "".join(f"{key} = {value}\n" for key, value in keys.items()))
    print_line(
        console,
        f'written to {out}, which a scenario beside it takes in: transport = "{Path(out).name}"',
    )  # fmt: skip


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SimgmcError(f"{path!r}: cannot be written: {reason(error)}") from None
