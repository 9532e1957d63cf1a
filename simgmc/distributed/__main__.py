"""``torchrun --nproc-per-node K -m simgmc.distributed SCENARIO``."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.errors import described, own_places
from simgmc.distributed.group import RankLostError, gone_by_now
from simgmc.distributed.run import Choices, NotPreparedError, run
from simgmc.distributed.synchronous import Manner
from simgmc.experiment.arguments import (
    GivenPath,
    ScenarioArguments,
    checkpoint_every,
    data_dir,
    device,
    overwrite,
    takes_scenario,
)

LOST = 1
"""Exit status where another rank is gone."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@takes_scenario()
@data_dir
@click.option("-o", "--out", type=GivenPath(file_okay=False), help="Run directory.  [default: runs/NAME-real]")
@device
@click.option("--backend", type=click.Choice(["auto", "gloo", "nccl"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of a rank.  [default: its share of the cores]")
@click.option(
    "--sums",
    type=click.Choice(["group", "ranks"]),
    default="group",
    show_default=True,
    help="Who adds float32 vectors that all send: the group's own all_reduce, or each rank a shard in rank order, bit "
    "for bit as in the simulation.",
)
@click.option(
    "--pace",
    type=click.Choice(["real", "scenario"]),
    default="real",
    show_default=True,
    help="scenario: a gradient lasts as long as on the scenario's cluster.",
)
@checkpoint_every("How often a training is saved, at an evaluation.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a rank waits for another.",
)
@overwrite
@click.option("--no-plots", is_flag=True, help="Draw no plots.")
def main(
    chosen: ScenarioArguments,
    data_dir: str | None,
    out: str | None,
    device: str,
    backend: str,
    threads: int | None,
    sums: str,
    pace: str,
    checkpoint_every: float,
    timeout: float,
    overwrite: bool,
    no_plots: bool,
) -> None:
    """Run a scenario by real processes, one a worker; start it with torchrun.

    The same programs, with real messages between the processes. Tables and plots are those of simgmc run, with
    measured time.
    """
    rank = os.environ.get("RANK")
    if rank is None or "WORLD_SIZE" not in os.environ:
        raise click.UsageError(
            "starts as one process of a group: torchrun --nproc-per-node K -m simgmc.distributed ..."
        )
    _end_with_the_launcher()
    os.environ["MPLBACKEND"] = "agg"
    try:
        file = chosen.read()
        place = Path(out) if out else Path("runs") / f"{file.points[0].scenario.name}-real"
        # A run that torchrun starts again goes on, also where it was to replace another.
        fresh = overwrite and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        manner = Manner(sums == "ranks", pace == "scenario", checkpoint_every)
        run(file, Choices(place, manner, device, backend, data_dir, threads, fresh, timeout, not no_plots))
    except NotPreparedError:
        _exit(2)
    except RankLostError as error:
        _fail(str(error), LOST)
    except SimgmcError as error:
        _fail(f"rank {rank}: {error}" if rank != "0" else str(error), 2)
    except Exception as error:
        if not own_places(error):
            raise
        _fail(f"rank {rank}: in code of your own: {described(error)}", 2)


def _fail(message: str, status: int) -> None:
    click.echo("\n".join(f"error: {line}" for line in message.splitlines()), err=True)
    _exit(status)


def _exit(status: int) -> None:
    """End at once: threads of a broken group may wait for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _end_with_the_launcher() -> None:
    """Ended by its launcher, a rank says so; it ends too where the launcher is killed (on Linux)."""

    def ended(number: int, frame: Any) -> None:
        because = f"as {gone} ended" if (gone := gone_by_now()) else "as it was stopped or another rank has ended"
        name = signal.Signals(number).name
        _fail(
            f"rank {os.environ['RANK']}: ended by its launcher ({name}), {because}; what was finished or saved is kept",
            LOST,
        )

    signal.signal(signal.SIGTERM, ended)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


main(prog_name="simgmc.distributed")
