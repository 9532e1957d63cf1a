"""The command line: ``simgmc run | replay | why | utilisation | map | table | timeline | check | list | validate``.

Torch and matplotlib load only where they are needed.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

import simgmc
from simgmc.core import output
from simgmc.core.errors import SimgmcError
from simgmc.core.heartbeat import listening
from simgmc.core.imports import announced_to, described, own_places
from simgmc.core.outside.settings import Settings, read_settings, written
from simgmc.core.quantities import time_text
from simgmc.core.units import SIZE, Quantity, parse
from simgmc.results.directory.checkpoint import DEFAULT_EVERY

if TYPE_CHECKING:  # for annotations alone: --help does without it
    from simgmc.scenario import ScenarioFile


def _friendly(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        output.prepare()
        os.environ["MPLBACKEND"] = "agg"  # figures go to files alone, whatever windows are set up
        try:
            with announced_to(lambda code: _say(f"code     {code}")), listening(_Patience().tell):
                result = command(*args, **kwargs)
            sys.stdout.flush()
            return result
        except SimgmcError as error:
            raise SystemExit(_fail(str(error))) from None
        except KeyboardInterrupt as interrupt:
            number = interrupt.args[0] if interrupt.args else signal.SIGINT
            raise SystemExit(
                _fail("stopped; what was finished or saved is kept: the same command goes on from there", 128 + number)
            ) from None
        except OSError as error:
            reason = output.unwritable(error)
            if reason is None:
                raise
            raise SystemExit(
                1 if isinstance(error, BrokenPipeError) else _fail(f"cannot write to standard output: {reason}", 1)
            ) from None
        except Exception as error:
            if isinstance(error, (click.ClickException, click.exceptions.Exit)) or not own_places(error):
                raise
            raise SystemExit(_fail(f"in code of your own: {described(error)}")) from None

    return wrapped


class _Patience:
    """Says on standard error how far a simulation is that nothing else is heard of for ten seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def tell(self, seconds: float) -> None:
        if time.monotonic() - self._said >= 10:
            self._said = time.monotonic()
            click.echo(f"simulated {time_text(seconds)} so far", err=True)


def _say(text: str) -> None:
    click.echo(output.escaped(text, sys.stdout.encoding))


def _fail(message: str, status: int = 2) -> int:
    click.echo("\n".join(f"error: {line}" for line in message.splitlines()), err=True)
    return status


class _Command(click.Command):
    """A command that takes an option of one value once: of two, one would be lost without a word."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for option in dict.fromkeys(order):
            if isinstance(option, click.Option) and not (option.multiple or option.is_flag) and order.count(option) > 1:
                raise click.UsageError(
                    f"{option.opts[0]} is given {order.count(option)} times; it takes one value", ctx
                )
        return super().parse_args(ctx, args)


class _Group(click.Group):
    command_class = _Command


def _read(scenario: str, settings: Settings, seeds: tuple[int, ...], methods: tuple[str, ...] = ()) -> ScenarioFile:
    from simgmc.scenario import ScenarioFile  # --help does without it, as without all that commands import

    if seeds and any(key == "seeds" for key, _ in settings):
        raise click.UsageError("--seed and --set seeds=... say the same thing: give one of them")
    file = ScenarioFile.read(scenario, [*settings, *([("seeds", list(seeds))] if seeds else [])])
    return file.only(methods) if methods else file


class _Path(click.Path):
    """A path; an empty one, as an unset variable of the shell leaves, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("is empty: a path is needed", param, ctx)
        return super().convert(value, param, ctx)


_scenario = click.argument("scenario", type=_Path())
_set = click.option(
    "--set",
    "settings",
    multiple=True,
    callback=read_settings,
    metavar="KEY=VALUE",
    help="Change a key of the scenario, such as cluster.latency='20 ms' or methods.GMC.momentum=0.8. Repeatable.",
)
_seed = click.option(
    "--seed",
    "seeds",
    multiple=True,
    type=click.IntRange(min=0),
    help="Run with this seed instead of the scenario's. Repeatable.",
)
_method = click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="Only this method of the scenario; a report's stated baseline must be among those chosen. Repeatable.",
)
_data = click.option(
    "--data-dir", type=_Path(file_okay=False), help="Where datasets lie (else the environment variable SIMGMC_DATA)."
)

_checkpoint_every = click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=DEFAULT_EVERY,
    show_default=True,
    metavar="SECONDS",
    help="How often a training under way is saved; 0: after every round.",
)

_refine = click.option(
    "--refine", is_flag=True, help="Find out where the answer flips, to 5 %, by replays between the grid's values."
)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(simgmc.__version__, prog_name="simgmc")
def main() -> None:
    """Real gradients, real messages, simulated networks: training methods against simulated time."""


@main.command(short_help="Train and simulate a scenario: tables and plots.")
@_scenario
@_set
@_seed
@_method
@_data
@click.option("--out", type=_Path(file_okay=False), help="Run directory.  [default: runs/NAME]")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where gradients are computed.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads; results do not depend on it.  [default: all cores]"
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Trainings at once, in processes that share the threads; results do not depend on it.  [default: as many as "
    "cores and memory allow, where that pays]",
)
@click.option("--dry-run", is_flag=True, help="Predict memory, bytes, simulated and real time; keep nothing.")
@click.option("--overwrite", is_flag=True, help="Replace another run in the run directory.")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped; an error if there is none.")
@_checkpoint_every
@click.option(
    "--log",
    multiple=True,
    type=click.Choice(["tensorboard", "wandb"]),
    help="Log evaluations there too, against simulated time, as trainings finish. Repeatable.",
)
@_refine
@_friendly
def run(
    scenario: str,
    settings: Settings,
    seeds: tuple[int, ...],
    methods: tuple[str, ...],
    data_dir: str | None,
    out: str | None,
    device: str,
    threads: int | None,
    jobs: int | None,
    dry_run: bool,
    overwrite: bool,
    resume: bool,
    checkpoint_every: float,
    log: tuple[str, ...],
    refine: bool,
) -> None:
    """Train and simulate a scenario; write tables and plots into a run directory.

    A run that was stopped or killed goes on when the same command is given again, with or
    without --resume, and ends with the numbers of one that never was.
    """
    if resume and overwrite:
        raise click.UsageError("--resume goes on with a run, --overwrite removes it: give one of them")
    file = _read(scenario, settings, seeds, methods)
    from simgmc.workloads.data.catalogue import require_files  # loaded with the scenario

    require_files({name for point in file.points for name in point.scenario.workload.datasets}, data_dir)
    from simgmc.core.terminal import plain_console  # loaded with it
    from simgmc.experiment.header import print_start  # loads the whole network

    print_start(plain_console(), file)
    if dry_run:
        from simgmc.commands.dry_run import dry_run as predict_run  # loads torch

        predict_run(file, device=device, data_dir=data_dir, threads=threads)
    else:
        from simgmc.experiment.run import run as run_file  # loads torch

        run_file(
            file,
            out=out or Path("runs") / file.points[0].scenario.name,
            device=device,
            data_dir=data_dir,
            threads=threads,
            jobs=jobs,
            overwrite=overwrite,
            resume=resume,
            checkpoint_every=checkpoint_every,
            log=log,
            refined=refine,
        )


@main.command(short_help="Search for each method's best settings, on this machine or a Ray cluster.")
@_scenario
@_set
@_seed
@_method
@_data
@click.option("--out", type=_Path(file_okay=False), help="Run directory.  [default: runs/NAME]")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Who trains: processes of this machine, or tasks of a Ray cluster (pip install 'simgmc[ray]').",
)
@click.option("--address", help="Of the Ray cluster, such as auto or HOST:6379.  [default: one of this machine alone]")
@click.option("--jobs", type=click.IntRange(min=1), help="Trainings at once.  [default: as cores and memory allow]")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where gradients are computed.",
)
@click.option(
    "--gpus",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="With --engine ray and CUDA: GPUs of each training; a share lets several have one.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads, shared by all.  [default: all cores]")
@click.option("--overwrite", is_flag=True, help="Replace another run in the run directory.")
@_checkpoint_every
@_friendly
def sweep(
    scenario: str,
    settings: Settings,
    seeds: tuple[int, ...],
    methods: tuple[str, ...],
    data_dir: str | None,
    out: str | None,
    engine: Literal["local", "ray"],
    address: str | None,
    jobs: int | None,
    device: str,
    gpus: float,
    threads: int | None,
    overwrite: bool,
    checkpoint_every: float,
) -> None:
    """Train every combination of a scenario's [grid] and [sweep]; tell each method's best settings.

    A training that fails is reported, and the others go on. What is finished is never trained again: not after a stop,
    and not where the scenario has changed since (more values, methods or seeds) and it is the same in both. The result
    is a run directory as any other.
    """
    if address is not None and engine != "ray":
        raise click.UsageError("--address is that of a Ray cluster: give --engine ray too")
    file = _read(scenario, settings, seeds, methods)
    from simgmc.core.terminal import plain_console  # loaded with it
    from simgmc.experiment.header import print_start  # loads the whole network
    from simgmc.workloads.data.catalogue import require_files  # loaded with the scenario

    require_files({name for point in file.points for name in point.scenario.workload.datasets}, data_dir)
    print_start(plain_console(), file)
    from simgmc.experiment.engines.choice import Sweeping  # loads torch
    from simgmc.experiment.run import run as run_file

    run_file(
        file,
        out=out or Path("runs") / file.points[0].scenario.name,
        device=device,
        data_dir=data_dir,
        threads=threads,
        jobs=jobs,
        overwrite=overwrite,
        checkpoint_every=checkpoint_every,
        sweeping=Sweeping(engine, address, gpus),
    )


@main.command(short_help="Put a finished run on another network, without training.")
@click.argument("run", type=_Path(file_okay=False))
@_set
@click.option("--cluster", type=_Path(dir_okay=False), help="TOML file whose [cluster] table replaces the run's.")
@click.option("--out", type=_Path(file_okay=False), help="New run directory.  [default: RUN-replay]")
@click.option("--overwrite", is_flag=True, help="Replace another run in the new run directory.")
@_refine
@_friendly
def replay(run: str, settings: Settings, cluster: str | None, out: str | None, overwrite: bool, refine: bool) -> None:
    """Put a finished run on another network, topology or collective; train nothing.

    For instance: simgmc replay runs/quickstart --set cluster.bandwidth='10 Mbit/s'
    """
    if cluster and any(key == "cluster" for key, _ in settings):
        raise click.UsageError("--cluster and --set cluster=... both replace the whole table: give one of them")
    from simgmc.commands.replay import replay as replay_run  # loads the whole network

    replay_run(run, settings=settings, cluster=cluster, out=out, overwrite=overwrite, refined=refine)


@main.command(short_help="What bound each method of a run, and what would help.")
@click.argument("run", type=_Path(file_okay=False))
@_friendly
def why(run: str) -> None:
    """What bound each method of a run, and what twice the bandwidth or half the latency would change."""
    from simgmc.commands.why import why as explain_run  # loads the whole network
    from simgmc.core.terminal import plain_console

    explain_run(run, plain_console())


@main.command(short_help="Compute utilisation, and the bandwidth that it needs.")
@click.argument("run", type=_Path(file_okay=False))
@click.option(
    "--at",
    multiple=True,
    callback=read_settings,
    metavar="KEY=VALUE",
    help="Only networks of the grid with this value, such as cluster.collective=ring. Repeatable.",
)
@_friendly
def utilisation(run: str, at: Settings) -> None:
    """Compute utilisation of every method: taking gradients over all of a worker's time, as in the DiLoCo papers; and
    the bandwidths at which it is 50, 75, 90, 95 and 99 %, each found by replays to 1 %."""
    from simgmc.commands.utilisation import utilisation as tell  # loads the whole network

    tell(run, at=at)


@main.command("map", short_help="A page with sliders: curves and verdict on any network.")
@click.argument("run", type=_Path(file_okay=False))
@click.option("--out", "-o", type=_Path(dir_okay=False), help="Where to write.  [default: RUN/map.html]")
@_friendly
def map_(run: str, out: str | None) -> None:
    """Write one page of HTML, which asks nothing of a network, with sliders for bandwidth, latency and compute time.

    Of a run over a grid of networks it shows that grid; any other is put on one around its network, by replays.
    """
    from simgmc.commands.map import map_networks  # loads the whole network

    _say(str(map_networks(run, out)))


@main.command(short_help="A run's table as Markdown, LaTeX or CSV; of several runs side by side.")
@click.argument("runs", nargs=-1, required=True, type=_Path(file_okay=False))
@click.option("--markdown", "form", flag_value="markdown", default=True, help="The default.")
@click.option("--latex", "form", flag_value="latex", help="A tabular with booktabs' rules.")
@click.option("--csv", "form", flag_value="csv", help="Exact numbers, their units in the columns' names.")
@click.option("--rounds", "kind", flag_value="rounds", default="results", help="Where each method's time went instead.")
@_friendly
def table(runs: tuple[str, ...], form: str, kind: str) -> None:
    """Print what a run found as a table to put elsewhere; several runs are compared side by side."""
    from simgmc.experiment.reading import readable  # loads what reads runs

    text = readable(runs[0] if len(runs) == 1 else runs).table(kind, form)
    click.echo(output.escaped(text, sys.stdout.encoding), nl=False)


@main.command(short_help="A run as one page of HTML; several side by side.")
@click.argument("runs", nargs=-1, required=True, type=_Path())
@click.option(
    "--out", type=_Path(dir_okay=False), help="Where to write.  [default: report.html in RUN, of several here]"
)
@_friendly
def report(runs: tuple[str, ...], out: str | None) -> None:
    """Write all that a run found on one page that needs nothing else; several runs are compared side by side."""
    from simgmc.commands.report import report as write  # loads the whole network

    _say(f"report: {write(runs, out)}")


@main.command(short_help="Watch a window of a run: trace, Gantt picture, links.")
@click.argument("run", type=_Path(file_okay=False))
@click.option(
    "--method", "methods", multiple=True, metavar="NAME", help="Only this method. Repeatable.  [default: each]"
)
@click.option("--seed", type=click.IntRange(min=0), help="This seed.  [default: the first]")
@click.option(
    "--at",
    multiple=True,
    callback=read_settings,
    metavar="KEY=VALUE",
    help="Choose the grid point, such as cluster.collective=ring. Repeatable.  [default: the first]",
)
@click.option("--rounds", metavar="FIRST:LAST", help="Window of rounds.  [default: 0:4]")
@click.option("--out", type=_Path(file_okay=False), help="Where to write.  [default: RUN/timeline]")
@_friendly
def timeline(
    run: str, methods: tuple[str, ...], seed: int | None, at: Settings, rounds: str | None, out: str | None
) -> None:
    """Watch a window of a run's rounds: Chrome trace (Perfetto), Gantt picture, links, topology."""
    from simgmc.commands.timeline import timeline as watch  # loads the whole network

    watch(run, methods=methods, seed=seed, at=at, rounds=rounds, out=out)


@main.command(short_help="Validate a scenario and print every default.")
@_scenario
@_set
@_seed
@_friendly
def check(scenario: str, settings: Settings, seeds: tuple[int, ...]) -> None:
    """Validate a scenario and print it with every default written out; run nothing."""
    with announced_to(lambda code: _say(f"# code: {code}")):
        file = _read(scenario, settings, seeds)
    from simgmc.experiment.header import gossip_lines, skipped_lines  # loads the whole network
    from simgmc.experiment.preflight.checks import check_counts, notes
    from simgmc.experiment.preflight.many_events import events_before_run

    check_counts(file)
    frequent = events_before_run(file)
    click.echo(output.escaped(file.resolved(), sys.stdout.encoding), nl=False)
    click.echo(
        f"# valid: {len(file.points)} grid point(s), {len(file.points[0].scenario.methods)} method(s), "
        f"{len(file.points[0].scenario.seeds)} seed(s)"
    )
    for gossip in gossip_lines(file.points[0].scenario, spectral_gap=False):
        _say(f"# gossip: {gossip}")
    for skipped in skipped_lines(file):
        _say(f"# skipped: {skipped}")
    for note in [*notes(file), *frequent]:
        _say(f"# note: {note}")


@main.command(short_help="Check the network simulation against reference files.")
@click.argument("files", nargs=-1, type=_Path(dir_okay=False))
@click.option("--json", "json_out", type=_Path(dir_okay=False), help="Write every computed value there.")
@click.option("--picture", type=_Path(dir_okay=False), help="Draw measured against simulated there (PNG, PDF).")
@_friendly
def validate(files: tuple[str, ...], json_out: str | None, picture: str | None) -> None:
    """Check the network simulation against reference files (those shipped, if none is named).

    Exact cases (max-min flows, sliced rings) must hold to 1e-9, or the exit status is 1;
    measured collectives are tabulated beside what is simulated; what could not be compared is named.
    """
    from simgmc.commands import validate as validating  # loads the whole network

    if not validating.run(files, json_out=json_out, picture=picture):
        raise SystemExit(1)


def _sizes(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[Quantity]:
    return [_quantity(value, SIZE, "100 MB", positive=True) for value in values]


def _quantity(text: str, units: Mapping[str, float], example: str, *, positive: bool = False) -> Quantity:
    try:
        return parse(text, units, example, positive=positive)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}") from None


_bandwidth = click.option("--bandwidth", help="Of each host's link, each direction, such as '100 Mbit/s'.")
_latency = click.option("--latency", help="Of each host's link, one way, such as '1 ms'.  [default: 0 s]")
_topology = click.option("--topology", default="star", show_default=True, help="How hosts are joined.")


@main.command("time", short_help="How long one collective takes on a network, without a model.")
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
@_bandwidth
@_latency
@_topology
@click.option("--graph", default="ring", show_default=True, help="Who sends to whom, of gossip.")
@click.option("--csv", "as_csv", is_flag=True, help="Exact numbers, as `simgmc calibrate` reads them.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=read_settings,
    metavar="KEY=VALUE",
    help="Any other key of [cluster], such as transport.efficiency=0.95. Repeatable.",
)
@_friendly
def time_(
    collectives: tuple[str, ...],
    nodes: int,
    sizes: list[Quantity],
    density: float | None,
    bandwidth: str | None,
    latency: str | None,
    topology: str,
    graph: str,
    as_csv: bool,
    settings: Settings,
) -> None:
    """Time exchanges on a network: one or several COLLECTIVEs, `gossip`, or `all` of them.

    For instance: simgmc time ring parameter-server --nodes 8 --bytes 100MB --bandwidth '1 Gbit/s' --latency '1 ms'
    """
    from simgmc.commands import time as timing  # loads the whole network
    from simgmc.core.terminal import plain_console

    keys = {"topology": topology, "bandwidth": bandwidth, "latency": latency or "0 s"}
    asked = timing.Asked(collectives, nodes, sizes, density, graph, keys, settings)
    timing.run(asked, plain_console(), as_csv)


@main.command(short_help="Fit the transport's overheads to measured exchanges.")
@click.argument("table", required=False, type=_Path(dir_okay=False))
@_bandwidth
@_latency
@_topology
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=read_settings,
    metavar="KEY=VALUE",
    help="Any other key of [cluster], such as collective_options.slices=4. Repeatable.",
)
@click.option(
    "--measure",
    type=click.IntRange(min=2, max=64),
    metavar="NODES",
    help="Measure here in place of a table: so many processes in shaped network namespaces (Linux, root), or the "
    "process group of a torchrun. A table that is named is written.",
)
@click.option("--out", type=_Path(dir_okay=False), help="Write the transport there, as TOML.")
@_friendly
def calibrate(
    table: str | None,
    bandwidth: str | None,
    latency: str | None,
    topology: str,
    settings: Settings,
    measure: int | None,
    out: str | None,
) -> None:
    """Fit the transport to TABLE, a CSV file of collective, nodes, bytes, seconds (and bandwidth, latency of a row).

    Or measure one here. Two rows are enough. Prints the line transport = { ... } for a scenario, with every row's error
    before and after.
    """
    from simgmc.commands import calibrate as calibrating  # loads the whole network
    from simgmc.core.terminal import plain_console

    keys = {"topology": topology, "bandwidth": bandwidth, "latency": latency or "0 s"}
    if measure is not None:
        if settings:
            raise click.UsageError("--measure has a network of its own: give --bandwidth alone")
        calibrating.measure(measure, keys, out, table, plain_console())
        return
    if table is None:
        raise click.UsageError("name a TABLE of measured exchanges, or give --measure NODES")
    calibrating.run(table, keys, settings, out, plain_console())


@main.command(short_help="A scenario by real processes on a shaped network of this machine, and simulated.")
@_scenario
@_set
@_seed
@_method
@_data
@click.option("--out", type=_Path(file_okay=False), help="Where everything goes.  [default: runs/NAME-twin]")
@click.option("--overwrite", is_flag=True, help="Replace another twin there.")
@click.option(
    "--limit",
    type=click.FloatRange(min=1),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="After how long the processes are stopped.",
)
@_friendly
def twin(
    scenario: str,
    settings: Settings,
    seeds: tuple[int, ...],
    methods: tuple[str, ...],
    data_dir: str | None,
    out: str | None,
    overwrite: bool,
    limit: float,
) -> None:
    """Run a scenario by real processes in network namespaces, shaped as its network, then simulate it (Linux, root).

    Measured and simulated time of every round and exchange, as a table, a file and a picture.
    """
    file = _read(scenario, settings, seeds, methods)
    from simgmc.commands import twin as twins  # loads torch
    from simgmc.core.terminal import plain_console

    given = [
        text for key, value in (("--seed", seeds), ("--method", methods)) for one in value for text in (key, str(one))
    ]
    given += ["--data-dir", data_dir] if data_dir else []
    stated = [f"{key}={written(value)}" for key, value in settings]
    twins.run(file, scenario, stated, given, out, overwrite, limit, plain_console())


@main.command("list", short_help="What scenarios can name, and the options of each.")
@click.argument("kind", required=False)
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="As a page: every entry with its options.")
@_friendly
def list_(kind: str | None, name: str | None, markdown: bool) -> None:
    """What scenarios can say: one line on each entry, and its source; with NAME, an entry's options.

    KIND: keys (the tables and keys of a scenario), algorithms, compressors, collectives and so on.
    """
    if markdown:
        from simgmc.commands.reference import markdown as page  # loads what it lists

        click.echo(output.escaped(page(kind, name), sys.stdout.encoding), nl=False)
        return
    from simgmc.commands import list as listing  # loads what it lists

    listing.show(kind, name)


@main.command(short_help="Begin a method, compressor, collective or topology of your own.")
@click.argument("kind")
@click.argument("file", type=_Path(dir_okay=False))
@_friendly
def new(kind: str, file: str) -> None:
    """Write a start for a part of your own into FILE, which works as it is, with its test.

    KIND: algorithm, compressor, collective or topology. For instance: simgmc new algorithm my_method.py
    """
    from simgmc.commands.new import new as begin  # --help does without it

    click.echo(begin(kind, file))


if __name__ == "__main__":
    sys.exit(main())
