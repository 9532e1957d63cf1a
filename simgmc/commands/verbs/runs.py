"""The verbs that take runs: ``replay``, ``why``, ``utilisation``, ``map``, ``table``, ``report``, ``timeline``."""

from __future__ import annotations

import click

from simgmc.commands.verbs.group import Verb, say
from simgmc.commands.verbs.scenarios import refine
from simgmc.core.outside.settings import Settings, settings_option
from simgmc.experiment.arguments import GivenPath, scenario_settings

_run = click.argument("run", type=GivenPath(file_okay=False))
_target = click.option(
    "--target", type=float, metavar="VALUE",
    help="The value to reach, such as 0.8 of an accuracy.  [default: the scenarios' own]",
)  # fmt: skip


@click.command(cls=Verb, short_help="Put a finished run on another network, without training.")
@_run
@scenario_settings
@click.option("--cluster", type=GivenPath(dir_okay=False), help="TOML file whose [cluster] table replaces the run's.")
@click.option("--out", type=GivenPath(file_okay=False), help="New run directory.  [default: RUN-replay]")
@click.option("--overwrite", is_flag=True, help="Replace another run in the new run directory.")
@refine
def replay(run: str, settings: Settings, cluster: str | None, out: str | None, overwrite: bool, refine: bool) -> None:
    """Put a finished run on another network, topology or collective; train nothing.

    For instance: simgmc replay runs/quickstart --set cluster.bandwidth='10 Mbit/s'
    """
    if cluster and any(key == "cluster" for key, _ in settings):
        raise click.UsageError("--cluster and --set cluster=... both replace the whole table: give one of them")
    from simgmc.commands.replay import replay as replay_run  # loads the whole network

    replay_run(run, settings=settings, cluster=cluster, out=out, overwrite=overwrite, refined=refine)


@click.command(cls=Verb, short_help="What bound each method of a run, and what would help.")
@_run
def why(run: str) -> None:
    """What bound each method of a run, and what twice the bandwidth or half the latency would change."""
    from simgmc.commands.why import why as explain_run  # loads the whole network
    from simgmc.core.terminal import plain_console

    explain_run(run, plain_console())


@click.command(cls=Verb, short_help="Compute utilisation, and the bandwidth that it needs.")
@_run
@settings_option("--at", "Only networks of the grid with this value, such as cluster.collective=ring. Repeatable.")
def utilisation(run: str, settings: Settings) -> None:
    """Compute utilisation of every method: taking gradients over all of a worker's time, as in the DiLoCo papers; and
    the bandwidths at which it is 50, 75, 90, 95 and 99 %, each found by replays to 1 %."""
    from simgmc.commands.utilisation import utilisation as tell  # loads the whole network

    tell(run, at=settings)


@click.command("map", cls=Verb, short_help="A page with sliders: curves and verdict on any network.")
@_run
@click.option("--out", "-o", type=GivenPath(dir_okay=False), help="Where to write.  [default: RUN/map.html]")
def map_(run: str, out: str | None) -> None:
    """Write one page of HTML, which asks nothing of a network, with sliders for bandwidth, latency and compute time.

    Of a run over a grid of networks it shows that grid; any other is put on one around its network, by replays.
    """
    from simgmc.commands.map import map_networks  # loads the whole network

    say(str(map_networks(run, out)))


@click.command(cls=Verb, short_help="A run's table as Markdown, LaTeX or CSV; of several runs side by side.")
@click.argument("runs", nargs=-1, required=True, type=GivenPath(file_okay=False))
@click.option("--markdown", "form", flag_value="markdown", default=True, help="The default.")
@click.option("--latex", "form", flag_value="latex", help="A tabular with booktabs' rules.")
@click.option("--csv", "form", flag_value="csv", help="Exact numbers, their units in the columns' names.")
@click.option("--rounds", "kind", flag_value="rounds", default="results", help="Where each method's time went instead.")
@_target
def table(runs: tuple[str, ...], form: str, kind: str, target: float | None) -> None:
    """Print what a run found as a table to put elsewhere; several runs are compared side by side."""
    from simgmc.experiment.reading import readable_all  # loads what reads runs

    say(readable_all(runs, target).table(kind, form), end="")


@click.command(cls=Verb, short_help="A run as one page of HTML; several side by side.")
@click.argument("runs", nargs=-1, required=True, type=GivenPath())
@click.option(
    "--out", type=GivenPath(dir_okay=False), help="Where to write.  [default: report.html in RUN, of several here]"
)
@_target
def report(runs: tuple[str, ...], out: str | None, target: float | None) -> None:
    """Write all that a run found on one page that needs nothing else; several runs are compared side by side."""
    from simgmc.commands.report import report as write  # loads the whole network

    say(f"report: {write(runs, out, target)}")


@click.command(cls=Verb, short_help="Watch a window of a run: trace, Gantt picture, links.")
@_run
@click.option(
    "--method", "methods", multiple=True, metavar="NAME", help="Only this method. Repeatable.  [default: each]"
)
@click.option("--seed", type=click.IntRange(min=0), help="This seed.  [default: the first]")
@settings_option("--at", "Choose the grid point, such as cluster.collective=ring. Repeatable.  [default: the first]")
@click.option("--rounds", metavar="FIRST:LAST", help="Window of rounds.  [default: 0:4]")
@click.option("--out", type=GivenPath(file_okay=False), help="Where to write.  [default: RUN/timeline]")
def timeline(
    run: str, methods: tuple[str, ...], seed: int | None, settings: Settings, rounds: str | None, out: str | None
) -> None:
    """Watch a window of a run's rounds: Chrome trace (Perfetto), Gantt picture, links, topology."""
    from simgmc.commands.timeline import timeline as watch  # loads the whole network

    watch(run, methods=methods, seed=seed, at=settings, rounds=rounds, out=out)
