"""The verbs that take a scenario: ``run``, ``sweep``, ``check``, ``twin``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

import click

from simgmc.commands.verbs.group import Verb, say
from simgmc.core.outside.settings import together
from simgmc.core.own_code.code import announced_to
from simgmc.experiment.arguments import (
    GivenPath,
    ScenarioArguments,
    checkpoint_every,
    data_dir,
    device,
    overwrite,
    takes_scenario,
)

if TYPE_CHECKING:  # for annotations alone: --help does without it
    from simgmc.scenario import ScenarioFile

refine = click.option(
    "--refine", is_flag=True, help="Find out where the answer flips, to 5 %, by replays between the grid's values."
)


class HowToTrain(TypedDict):
    """What ``run`` and ``sweep`` take alike, as :func:`simgmc.experiment.run.run` does."""

    data_dir: str | None
    device: str
    threads: int | None
    jobs: int | None
    overwrite: bool
    checkpoint_every: float
    log: tuple[str, ...]


_how_to_train = together(
    data_dir,
    click.option("--out", type=GivenPath(file_okay=False), help="Run directory.  [default: runs/NAME]"),
    device,
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="CPU threads; results do not depend on it. On Ray those of each training.  [default: all cores; on Ray 1]",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        help="Trainings at once, which share the threads; results do not depend on it.  [default: as many as cores "
        "and memory allow, where that pays]",
    ),
    overwrite,
    checkpoint_every("How often a training under way is saved; 0: after every round."),
    click.option(
        "--log",
        multiple=True,
        type=click.Choice(["tensorboard", "wandb"]),
        help="Log evaluations there too, as they come, against simulated time. Repeatable.",
    ),
)


def _begin(chosen: ScenarioArguments, out: str | None, data_dir: str | None) -> tuple[ScenarioFile, str | Path]:
    """The scenario, whose data are there, and its run directory; prints what will run."""
    file = chosen.read()
    from simgmc.core.terminal import plain_console  # loaded with the scenario
    from simgmc.experiment.header import print_start  # loads the whole network
    from simgmc.workloads.data.catalogue import require_files  # loaded with the scenario

    require_files({name for point in file.points for name in point.scenario.workload.datasets}, data_dir)
    print_start(plain_console(), file)
    return file, out or Path("runs") / file.points[0].scenario.name


@click.command(cls=Verb, short_help="Train and simulate a scenario: tables and plots.")
@takes_scenario()
@_how_to_train
@click.option("--dry-run", is_flag=True, help="Predict memory, bytes, simulated and real time; keep nothing.")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped; an error if there is none.")
@refine
def run(
    chosen: ScenarioArguments,
    out: str | None,
    dry_run: bool,
    resume: bool,
    refine: bool,
    **how: Unpack[HowToTrain],
) -> None:
    """Train and simulate a scenario; write tables and plots into a run directory.

    A run that was stopped or killed goes on when the same command is given again, with or
    without --resume, and ends with the numbers of one that never was.
    """
    if resume and how["overwrite"]:
        raise click.UsageError("--resume goes on with a run, --overwrite removes it: give one of them")
    file, place = _begin(chosen, out, how["data_dir"])
    if dry_run:
        from simgmc.commands.dry_run import dry_run as predict_run  # loads torch

        predict_run(file, device=how["device"], data_dir=how["data_dir"], threads=how["threads"])
    else:
        from simgmc.experiment.run import run as run_file  # loads torch

        run_file(file, out=place, resume=resume, refined=refine, **how)


@click.command(cls=Verb, short_help="Search for each method's best settings, on this machine or a Ray cluster.")
@takes_scenario()
@_how_to_train
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Who trains: processes of this machine, or tasks of a Ray cluster (pip install 'simgmc[ray]').",
)
@click.option("--address", help="Of the Ray cluster, such as auto or HOST:6379.  [default: one of this machine alone]")
@click.option(
    "--gpus",
    type=click.FloatRange(min=0, min_open=True, max=1),
    help="With --engine ray: the share of a GPU that each training has, so that several can have one.  [default: 1 "
    "where the cluster has GPUs, unless --device cpu]",
)
def sweep(
    chosen: ScenarioArguments,
    out: str | None,
    engine: Literal["local", "ray"],
    address: str | None,
    gpus: float | None,
    **how: Unpack[HowToTrain],
) -> None:
    """Train every combination of a scenario's [grid] and [sweep]; tell each method's best settings.

    A training that fails is reported, and the others go on. What is finished is never trained again: not after a stop,
    and not where the scenario has changed since (more values, methods or seeds) and it is the same in both. The result
    is a run directory as any other.
    """
    for option, value in (("--address", address), ("--gpus", gpus)):
        if value is not None and engine != "ray":
            raise click.UsageError(f"{option} is about a Ray cluster: give --engine ray too")
    file, place = _begin(chosen, out, how["data_dir"])
    from simgmc.experiment.engines.choice import Sweeping  # loads torch
    from simgmc.experiment.run import run as run_file

    run_file(file, out=place, sweeping=Sweeping(engine, address, gpus), **how)


@click.command(cls=Verb, short_help="Validate a scenario and print every default.")
@takes_scenario(methods=False)
def check(chosen: ScenarioArguments) -> None:
    """Validate a scenario and print it with every default written out; run nothing."""
    with announced_to(lambda code: say(f"# code: {code}")):
        file = chosen.read()
    from simgmc.experiment.header import gossip_lines, skipped_lines  # loads the whole network
    from simgmc.experiment.preflight.checks import check_counts, notes
    from simgmc.experiment.preflight.many_events import events_before_run

    check_counts(file)
    frequent = events_before_run(file)
    say(file.resolved(), end="")
    say(
        f"# valid: {len(file.points)} grid point(s), {len(file.points[0].scenario.methods)} method(s), "
        f"{len(file.points[0].scenario.seeds)} seed(s)"
    )
    for gossip in gossip_lines(file.points[0].scenario, spectral_gap=False):
        say(f"# gossip: {gossip}")
    for skipped in skipped_lines(file):
        say(f"# skipped: {skipped}")
    for note in [*notes(file), *frequent]:
        say(f"# note: {note}")


@click.command(cls=Verb, short_help="A scenario by real processes on a shaped network of this machine, and simulated.")
@takes_scenario()
@data_dir
@click.option("--out", type=GivenPath(file_okay=False), help="Where everything goes.  [default: runs/NAME-twin]")
@click.option("--overwrite", is_flag=True, help="Replace another twin there.")
@click.option(
    "--limit",
    type=click.FloatRange(min=1),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="After how long the processes are stopped.",
)
def twin(chosen: ScenarioArguments, data_dir: str | None, out: str | None, overwrite: bool, limit: float) -> None:
    """Run a scenario by real processes in network namespaces, shaped as its network, then simulate it (Linux, root).

    Measured and simulated time of every round and exchange, as a table, a file and a picture.
    """
    file = chosen.read()
    from simgmc.commands import twin as twins  # loads torch
    from simgmc.core.terminal import plain_console

    twins.run(file, chosen.scenario, chosen.options(), data_dir, out, overwrite, limit, plain_console())
