"""The verbs on the simulated network alone: ``validate``, ``time``, ``calibrate``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from simgmc.commands.verbs.group import Verb
from simgmc.core.outside.settings import Settings, settings_option, together
from simgmc.core.units import SIZE, Quantity, parse
from simgmc.experiment.arguments import GivenPath


@click.command(cls=Verb, short_help="Check the network simulation against reference files.")
@click.argument("files", nargs=-1, type=GivenPath(dir_okay=False))
@click.option("--json", "json_out", type=GivenPath(dir_okay=False), help="Write every computed value there.")
@click.option("--picture", type=GivenPath(dir_okay=False), help="Draw measured against simulated there (PNG, PDF).")
def validate(files: tuple[str, ...], json_out: str | None, picture: str | None) -> None:
    """Check the network simulation against reference files (those shipped, if none is named).

    Exact cases (max-min flows, sliced rings) must hold to 1e-9, or the exit status is 1;
    measured collectives are tabulated beside what is simulated; what could not be compared is named.
    """
    from simgmc.commands import validate as validating  # loads the whole network

    if not validating.run(files, json_out=json_out, picture=picture):
        raise SystemExit(1)


def _sizes(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[Quantity]:
    sizes = []
    for text in values:
        try:
            sizes.append(parse(text, SIZE, "100 MB", positive=True))
        except ValueError as error:
            raise click.BadParameter(f"{text!r}: {error}") from None
    return sizes


def _network(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say how hosts are joined; the command gets them as its argument ``keys``, of ``[cluster]``."""

    @functools.wraps(command)
    def gathering(bandwidth: str | None, latency: str | None, topology: str, **others: Any) -> None:
        command(keys={"topology": topology, "bandwidth": bandwidth, "latency": latency or "0 s"}, **others)

    return together(
        click.option("--bandwidth", help="Of each host's link, each direction, such as '100 Mbit/s'."),
        click.option("--latency", help="Of each host's link, one way, such as '1 ms'.  [default: 0 s]"),
        click.option("--topology", default="star", show_default=True, help="How hosts are joined."),
    )(gathering)


@click.command("time", cls=Verb, short_help="How long one collective takes on a network, without a model.")
@click.argument("collectives", nargs=-1, required=True, metavar="COLLECTIVE...")
@click.option("--nodes", type=click.IntRange(min=1), required=True, help="How many workers take part.")
@click.option(
    "--bytes", "sizes", multiple=True, required=True, callback=_sizes, help="Of the dense vector, '100MB'. Repeatable."
)
@click.option(
    "--density",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="The share of its entries that each worker sends, with indices.  [default: dense]",
)
@_network
@click.option("--graph", default="ring", show_default=True, help="Who sends to whom, of gossip.")
@click.option("--csv", "as_csv", is_flag=True, help="Exact numbers, as `simgmc calibrate` reads them.")
@settings_option("--set", "Any other key of [cluster], such as transport.efficiency=0.95. Repeatable.")
def time_(
    collectives: tuple[str, ...],
    nodes: int,
    sizes: list[Quantity],
    density: float | None,
    keys: dict[str, Any],
    graph: str,
    as_csv: bool,
    settings: Settings,
) -> None:
    """Time exchanges on a network: one or several COLLECTIVEs, `gossip`, or `all` of them.

    For instance: simgmc time ring parameter-server --nodes 8 --bytes 100MB --bandwidth '1 Gbit/s' --latency '1 ms'
    """
    from simgmc.commands import time as timing  # loads the whole network
    from simgmc.core.terminal import plain_console

    asked = timing.Asked(collectives, nodes, sizes, density, graph, keys, settings)
    timing.run(asked, plain_console(), as_csv)


@click.command(cls=Verb, short_help="Fit the transport's overheads to measured exchanges.")
@click.argument("table", required=False, type=GivenPath(dir_okay=False))
@_network
@settings_option("--set", "Any other key of [cluster], such as collective_options.slices=4. Repeatable.")
@click.option(
    "--measure",
    type=click.IntRange(min=2, max=64),
    metavar="NODES",
    help="Measure here in place of a table: so many processes in shaped network namespaces (Linux, root). A table that "
    "is named is written. Under torchrun its process group is measured, with this option or without a table.",
)
@click.option("--out", type=GivenPath(dir_okay=False), help="Write the transport there, as TOML for scenarios.")
def calibrate(
    table: str | None, keys: dict[str, Any], settings: Settings, measure: int | None, out: str | None
) -> None:
    """Fit the transport to TABLE, a CSV file of collective, nodes, bytes, seconds (and bandwidth, latency of a row).

    Or measure one here. Two rows are enough. Prints the line transport = { ... } for a scenario, with every row's error
    before and after; a file that --out names is taken in by transport = "FILE".
    """
    from simgmc.commands import calibrate as calibrating  # loads the whole network
    from simgmc.core.terminal import plain_console

    if measure is not None or (table is None and calibrating.in_process_group()):
        if settings:
            raise click.UsageError("--measure has a network of its own: give --bandwidth alone")
        calibrating.measure(measure, keys, out, table, plain_console())
        return
    if table is None:
        raise click.UsageError("name a TABLE of measured exchanges, or give --measure NODES")
    calibrating.run(table, keys, settings, out, plain_console())
