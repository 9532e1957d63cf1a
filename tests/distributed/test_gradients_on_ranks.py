"""What one rank of real processes knows of the others, and what it refuses because it does not."""

from types import SimpleNamespace

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.distributed.ranks import RankRound
from simgmc.training.absent import Absent

LAYOUT = Layout(("body", "head", "spare"), ((2,), (3,), (1,)))


def absent(*numbers):
    return Absent(LAYOUT, (frozenset(numbers),))


def round_of(*others):
    """A round of the first rank; in the first pass the other ranks had no gradient of these parameters."""
    round, asked = RankRound.__new__(RankRound), []
    group = SimpleNamespace(gathered=lambda own, everywhere: asked.append(own) or [own, *others])
    clock, noted = SimpleNamespace(now=lambda: 0.0), lambda step, kind, begin, calls: None
    round._stack = SimpleNamespace(usually_absent=None, group=group, name="DMSGD", clock=clock, note=noted)
    round.steps = []
    return round, asked


def test_a_parameter_that_no_rank_ever_has_a_gradient_of_is_left_alone_and_asked_for_once():
    round, asked = round_of([1, 2], [2, 1])
    for _ in range(3):
        assert round._without_gradient_everywhere(absent(1, 2)) == absent(1, 2)
    assert asked == [[1, 2]]


@pytest.mark.parametrize(
    ("others", "first", "then", "name"),
    [
        ([], absent(), absent(1), "head"),  # it had a gradient, and has none now
        ([], absent(1, 2), absent(2), "head"),  # it had none, and has one now
        ([[2]], absent(0, 2), None, "body"),  # others have one in the very first pass
    ],
)
def test_gradients_that_come_and_go_are_refused_where_a_step_is_along_a_mean(others, first, then, name):
    round, _ = round_of(*others)
    if then is not None:
        round._without_gradient_everywhere(first)
    with pytest.raises(SimgmcError, match=f"{name} has a gradient on some minibatches alone: DMSGD") as refusal:
        round._without_gradient_everywhere(then or first)
    assert "\n" not in str(refusal.value)
