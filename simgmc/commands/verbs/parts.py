"""The verbs on the parts that scenarios name: ``list``, ``new``."""

from __future__ import annotations

import click

from simgmc.commands.verbs.group import Verb, say
from simgmc.experiment.arguments import GivenPath


@click.command("list", cls=Verb, short_help="What scenarios can name, and the options of each.")
@click.argument("kind", required=False)
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="As a page: every entry with its options.")
def list_(kind: str | None, name: str | None, markdown: bool) -> None:
    """What scenarios can say: one line on each entry, and its source; with NAME, an entry's options.

    KIND: keys (the tables and keys of a scenario), algorithms, compressors, collectives and so on.
    """
    if markdown:
        from simgmc.commands.reference import markdown as page  # loads what it lists

        say(page(kind, name), end="")
        return
    from simgmc.commands.list import show  # loads what it lists

    show(kind, name)


@click.command(cls=Verb, short_help="Begin a method, compressor, collective or topology of your own.")
@click.argument("kind")
@click.argument("file", type=GivenPath(dir_okay=False))
def new(kind: str, file: str) -> None:
    """Write a start for a part of your own into FILE, which works as it is, with its test.

    KIND: algorithm, compressor, collective or topology. For instance: simgmc new algorithm my_method.py
    """
    from simgmc.commands.new import new as begin  # --help does without it

    click.echo(begin(kind, file))
