"""``simgmc list``: every kind, every entry, every option."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from simgmc.cli import main
from simgmc.commands.list import KINDS, entries
from simgmc.core.registry import REQUIRED

EVERY = [(kind, name) for kind in KINDS for name in entries(kind)]


def call(*arguments):
    return CliRunner().invoke(main, ["list", *arguments])


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_of_a_kind_has_a_line_of_what_it_is_and_a_source(kind):
    result = call(kind)
    assert result.exit_code == 0
    for name, entry in entries(kind).items():
        assert name in result.output and entry.name == name and entry.summary and entry.source


def test_without_a_kind_all_are_listed():
    result = call()
    assert result.exit_code == 0 and all(f"\n{kind}" in f"\n{result.output}" for kind in KINDS)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_option_is_shown_with_its_meaning_values_and_default(kind, name):
    options = entries(kind)[name].options
    result = call(kind, name)
    assert result.exit_code == 0 and ("no options" in result.output) == (not options)
    shown = "".join(result.output.split())
    for key, option in options.items():
        assert key in shown and option.summary and option.words and option.words.split()[0] in shown
        assert option.default is not REQUIRED or "required" in shown
        for choice in option.choices:
            assert choice in shown


@pytest.mark.parametrize(("kind", "name"), [one for one in EVERY if one[0] != "keys"])  # those pydantic checks
def test_every_default_is_a_value_that_the_option_accepts(kind, name):
    for option in entries(kind)[name].options.values():
        if option.default is not REQUIRED and option.default is not None:
            option.read(option.default)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["algorithm"], 'unknown kind of part "algorithm"; did you mean "algorithms"?'),
        (["algorithms", "gmcc"], 'unknown algorithm "gmcc"; did you mean "gmc"?'),
        (["topologies", "two-teer"], 'did you mean "two-tier"?'),
        (["weights", "metropolis"], 'did you mean "metropolis-hastings"?'),
    ],
)
def test_an_unknown_kind_or_entry_is_refused_with_the_nearest(arguments, says):
    result = call(*arguments)
    assert result.exit_code == 2 and says in result.output
