"""The group of all verbs: errors are one line, and an option of one value is given once."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import click

from simgmc.core import output
from simgmc.core.errors import SimgmcError
from simgmc.core.heartbeat import listening
from simgmc.core.own_code.code import announced_to
from simgmc.core.own_code.errors import described, own_places
from simgmc.core.quantities import time_text


class Verb(click.Command):
    """A command that takes an option of one value once: of two, one would be lost without a word."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for option in dict.fromkeys(order):
            if isinstance(option, click.Option) and not (option.multiple or option.is_flag) and order.count(option) > 1:
                raise click.UsageError(
                    f"{option.opts[0]} is given {order.count(option)} times; it takes one value", ctx
                )
        return super().parse_args(ctx, args)


class Verbs(click.Group):
    """What fails in a verb is told in one line on standard error, with the exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        output.prepare()
        os.environ["MPLBACKEND"] = "agg"  # figures go to files alone, whatever windows are set up
        try:
            with announced_to(lambda code: say(f"code     {code}")), listening(_Patience().tell):
                result = super().invoke(ctx)
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


class _Patience:
    """Says on standard error how far a simulation is that nothing else is heard of for ten seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def tell(self, seconds: float) -> None:
        if time.monotonic() - self._said >= 10:
            self._said = time.monotonic()
            click.echo(f"simulated {time_text(seconds)} so far", err=True)


def say(text: str, end: str = "\n") -> None:
    """Print it, also where the terminal lacks some of its characters."""
    click.echo(output.escaped(text, sys.stdout.encoding) + end, nl=False)


def _fail(message: str, status: int = 2) -> int:
    click.echo("\n".join(f"error: {line}" for line in message.splitlines()), err=True)
    return status
