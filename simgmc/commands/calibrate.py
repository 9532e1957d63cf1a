"""``simgmc calibrate``: transport overheads fitted to measured exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simgmc.commands.time import GOSSIP, seconds
from simgmc.core.errors import SimgmcError, reason
from simgmc.core.quantities import bandwidth_text, bytes_text, number, time_text
from simgmc.experiment.preflight.bare_cluster import bare_cluster
from simgmc.network.calibration.fit import ASSUMED_NOISE, Estimate, Fit, fit
from simgmc.network.calibration.table import MeasuredExchange, read_table
from simgmc.network.collectives import COLLECTIVES
from simgmc.network.conditions.overheads import Overheads


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
    text = written(fitted, f"{len(rows)} rows of {Path(table).name}")
    if out is not None:
        _write(out, text)
        console.print(f"written to {out}", markup=False, highlight=False)
    return fitted


def measure(nodes: int, keys: dict[str, Any], out: str | None, table: str | None, console: Console) -> None:
    """Time exchanges here, in a laboratory or in the process group that this is one of, and fit them.

    Raises:
        SimgmcError: there is no bandwidth to hold them against, or what a laboratory needs is missing.
    """
    from simgmc.distributed.twin import machine  # loads torch

    stated = bare_cluster({**keys, "collective": "ring"}).bandwidth
    if stated is None:
        raise SimgmcError("the bandwidth is not known: give --bandwidth, of each link")
    if machine.started_by_torchrun():
        rows = machine.in_group(float(stated))
        if not rows:
            return
        where = f"{rows[0].nodes} processes of a group"
    else:
        rows = machine.in_laboratory(nodes, float(stated))
        where = f"{nodes} processes in network namespaces, links of {stated}"
    console.print(f"measured: {where}; the median of {machine.REPETITIONS}", markup=False, highlight=False)
    # Sends of real processes are not sliced.
    fitted = fit_rows(rows, keys, [("collective_options.slices", 1)])
    report(rows, fitted, console)
    rates = machine.throughputs()
    for what, rate in rates.items():
        console.print(f"{what}: {bytes_text(rate)}/s on one thread", markup=False, highlight=False)
    names = ("compression", "compressing (top-k, 1 %)"), ("aggregation", "adding")
    stated_rates = ", ".join(f'{key} = "{rates[what] / 1e9:.3g} GB/s"' for key, what in names)
    console.print(f"compute = {{ {stated_rates}, gradient = ... }}", markup=False, highlight=False)
    if table is not None:
        lines = [f"{row.collective},{row.nodes},{row.nbytes:.0f},{row.seconds!r}" for row in rows]
        _write(table, "\n".join(["collective,nodes,bytes,seconds", *lines, ""]))
    if out is not None:
        _write(out, written(fitted, where))
        console.print(f"written to {out}", markup=False, highlight=False)


def fit_rows(rows: Sequence[MeasuredExchange], keys: dict[str, Any], settings: Sequence[tuple[str, Any]]) -> Fit:
    """The transport with which the simulated exchanges come nearest to the measured ones."""
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

    latencies = [one.latency for one in rows if one.latency is not None]
    stated = bare_cluster({**keys, "collective": "ring"}, bare).latency
    return fit(
        predict, [one.seconds for one in rows], latency=any(latencies) or bool(stated and float(stated)), rest=known
    )


def report(rows: Sequence[MeasuredExchange], fitted: Fit, console: Console) -> None:
    """The table of rows, what was fitted and how sure it is."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="measured exchanges", title_justify="left")
    with_network = any(one.bandwidth is not None for one in rows)
    for column in ("collective", "nodes", *(["bandwidth"] if with_network else []), "vector", "measured",
                   "before", "error before", "fitted", "error after"):  # fmt: skip
        table.add_column(column, justify="left" if column == "collective" else "right", no_wrap=True)
    for one, before, after in zip(rows, fitted.before, fitted.after):
        network = [bandwidth_text(one.bandwidth) if one.bandwidth else "-"] if with_network else []
        table.add_row(
            Text(one.collective), str(one.nodes), *network, bytes_text(one.nbytes), time_text(one.seconds),
            time_text(before), f"{before / one.seconds - 1:+.1%}", time_text(after), f"{after / one.seconds - 1:+.1%}",
        )  # fmt: skip
    console.print(table)
    for line in _said(rows, fitted):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


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
    return [*lines, "", transport_line(fitted.overheads), f"--set cluster.transport='{_inline(fitted.overheads)}'"]


def _estimate_words(name: str, one: Estimate) -> str:
    if not one.told:
        return "not told by these rows: it is left at what costs nothing"
    if name == "software":
        return f"{time_text(one.value)}   ({time_text(one.low)} to {time_text(one.high)})"
    return f"{number(one.value, 4)}   ({number(one.low, 4)} to {number(one.high, 4)})"


def _inline(overheads: Overheads) -> str:
    """The transport as an inline table of TOML."""
    stated = {"efficiency": f"{overheads.efficiency:.6g}", "software": f'"{overheads.software * 1e6:.6g} us"'}
    if overheads.startup:
        stated["startup"] = f"{overheads.startup:.6g}"
    for key, value in overheads.stated():
        if key not in ("efficiency", "software", "startup") and value != getattr(Overheads(), key):
            stated[key] = str(value) if isinstance(value, int) else f'"{value}"'
    return "{ " + ", ".join(f"{key} = {value}" for key, value in stated.items()) + " }"


def transport_line(overheads: Overheads) -> str:
    """The line that goes under ``[cluster]``."""
    return f"transport = {_inline(overheads)}"


def written(fitted: Fit, source: str) -> str:
    """The transport as a file: the line to put under a scenario's ``[cluster]``, and where it comes from."""
    noise = "assumed" if fitted.assumed else "left of the rows"
    return (
        f"# fitted to {source}; relative error of a row {fitted.noise:.4f} ({noise})\n"
        f"[cluster]\n{transport_line(fitted.overheads)}\n"
    )


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SimgmcError(f"{path!r}: cannot be written: {reason(error)}") from None
