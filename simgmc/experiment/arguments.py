"""The arguments of a command line on a scenario: the options that ``simgmc`` and ``simgmc.distributed`` share.

A command line loads nothing that runs until it has been read: ``--help`` is quick.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from simgmc.core.interruption import SAVED_EVERY
from simgmc.core.outside.settings import Decorator, Settings, settings_option, together, written

if TYPE_CHECKING:  # for annotations alone: --help does without it
    from simgmc.scenario import ScenarioFile


@dataclass(frozen=True)
class ScenarioArguments:
    """A scenario, and what is to be different in it."""

    scenario: str
    """Its file."""
    settings: Settings
    seeds: tuple[int, ...]
    """Instead of the scenario's; none: those that it has."""
    methods: tuple[str, ...] = ()
    """Of the scenario; none: all that it has."""

    def read(self) -> ScenarioFile:
        """The scenario, checked.

        Raises:
            click.UsageError: seeds that are asked for twice.
            SimgmcError: what is wrong with the scenario.
        """
        from simgmc.scenario import ScenarioFile  # --help does without it, as without all that commands import

        if self.seeds and any(key == "seeds" for key, _ in self.settings):
            raise click.UsageError("--seed and --set seeds=... say the same thing: give one of them")
        seeds = [("seeds", list(self.seeds))] if self.seeds else []
        file = ScenarioFile.read(self.scenario, [*self.settings, *seeds])
        return file.only(self.methods) if self.methods else file

    def options(self) -> list[str]:
        """Everything but the scenario's file as a command line gives it again."""
        words = [("--set", f"{key}={written(value)}") for key, value in self.settings]
        words += [("--seed", str(seed)) for seed in self.seeds]
        words += [("--method", name) for name in self.methods]
        return [word for pair in words for word in pair]


class GivenPath(click.Path):
    """A path; an empty one, as an unset variable of the shell leaves, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("is empty: a path is needed", param, ctx)
        return super().convert(value, param, ctx)


scenario_settings = settings_option(
    "--set",
    "Change a key of the scenario, such as cluster.latency='20 ms' or methods.GMC.momentum=0.8; KEY=null takes it out, "
    "so that it is as by default. Repeatable.",
)
_SEEDS = click.option(
    "--seed",
    "seeds",
    multiple=True,
    type=click.IntRange(min=0),
    help="Run with this seed instead of the scenario's. Repeatable.",
)
_METHODS = click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="Only this method of the scenario; a report's stated baseline must be among those chosen. Repeatable.",
)


def takes_scenario(*, methods: bool = True) -> Decorator:
    """A command that takes SCENARIO and what to change in it, and gets them as its first argument."""

    options: list[Decorator] = [click.argument("scenario", type=GivenPath()), scenario_settings, _SEEDS]
    if methods:
        options.append(_METHODS)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def gathering(
            scenario: str, settings: Settings, seeds: tuple[int, ...], methods: tuple[str, ...] = (), **others: Any
        ) -> None:
            command(ScenarioArguments(scenario, settings, seeds, methods), **others)

        return together(*options)(gathering)

    return decorate


data_dir = click.option(
    "--data-dir",
    type=GivenPath(file_okay=False),
    help="Where datasets lie (else the environment variable SIMGMC_DATA).",
)
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where gradients are computed.",
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace another run in the run directory.")


def checkpoint_every(help: str) -> Decorator:
    """``--checkpoint-every``, with what it says there."""
    return click.option(
        "--checkpoint-every",
        type=click.FloatRange(min=0),
        default=SAVED_EVERY,
        show_default=True,
        metavar="SECONDS",
        help=help,
    )
