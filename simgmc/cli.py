"""The command line. Each verb is in :mod:`simgmc.commands`; torch and matplotlib load only where they are needed."""

from __future__ import annotations

import sys

import click

import simgmc
from simgmc.commands.verbs import networks, parts, runs, scenarios
from simgmc.commands.verbs.group import Verbs

VERBS = (
    scenarios.run,
    scenarios.sweep,
    scenarios.check,
    scenarios.twin,
    runs.replay,
    runs.why,
    runs.utilisation,
    runs.map_,
    runs.table,
    runs.report,
    runs.timeline,
    networks.time_,
    networks.calibrate,
    networks.validate,
    parts.list_,
    parts.new,
)


@click.group(
    cls=Verbs,
    commands=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(simgmc.__version__, prog_name="simgmc")
def main() -> None:
    """Real gradients, real messages, simulated networks: training methods against simulated time."""


if __name__ == "__main__":
    sys.exit(main())
