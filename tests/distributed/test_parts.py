"""What real processes are made of, without any: pieces of messages, templates, orders of events, accounts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.costs.steps import Average, Compute, RoundCosts
from simgmc.distributed import measured
from simgmc.distributed.account import Account
from simgmc.distributed.events.order import Event, from_array, in_order, to_array
from simgmc.distributed.events.post import COUNT, Letter, Post
from simgmc.distributed.measured import Step
from simgmc.distributed.parcels import Templates, agreed, can_be_cut, packed, shards_of, united
from simgmc.distributed.ranks import merged
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.series.read import time_of
from tests.compression.cases import CASES, compressor
from tests.compression.vectors import LAYOUT, gaussian, randomness

EVENTS = st.lists(
    st.builds(
        Event,
        clock=st.integers(0, 2**40), who=st.integers(-1, 9), asker=st.integers(-2, 9), known=st.integers(0, 2**40),
        messages=st.lists(st.integers(0, 2**50), max_size=3).map(tuple), many=st.booleans(),
    )
)  # fmt: skip

CAN_BE_CUT = [case for case in CASES if can_be_cut(compressor(case)(gaussian(1, LAYOUT.d), randomness(1)))]


@given(EVENTS)
def test_an_order_of_events_is_read_as_it_was_written(events):
    assert from_array(to_array(events)) == events
    assert [one.clock for one in in_order(events)] == sorted(one.clock for one in events)


@settings(max_examples=10)
@given(st.integers(1, 7))
@pytest.mark.parametrize("case", CAN_BE_CUT)
def test_the_pieces_of_a_message_are_all_of_it(case, count):
    message = compressor(case)(gaussian(1, LAYOUT.d), randomness(1))
    pieces = shards_of(message, count)
    assert len(pieces) == count and torch.equal(united(message, pieces).dense(), message.dense())


@pytest.mark.parametrize("case", ["identity", "top-k", "rbgs", "qsgd 8 bits", "low rank"])
def test_a_template_travels_once_and_without_what_the_receiver_has(case):
    """Equal ones are equal bytes, whatever the numbers are."""
    first, second = (compressor(case)(gaussian(1, LAYOUT.d, seed=seed), randomness(1)) for seed in (1, 2))
    sender, receiver = Templates(), Templates()
    for number, message in enumerate((first, second)):
        name, template = sender.to_send(1, message, agreed(message))
        assert bool(template) == (number == 0)
        found = receiver.received(name, template, agreed(message)).decode([message.encode()])
        assert torch.equal(found.dense(), message.dense())
    if case == "rbgs":
        assert len(packed(first, {})) - len(packed(first, agreed(first))) > 7 * len(first.indices)


def test_what_workers_spend_adds_up_to_their_time(tmp_path):
    """Two ranks, one of them late: the other waits for it, and both transfer and add."""
    steps = [
        Step(0, 0, 0, "compute", "", 0.0, 1.0, 0, 0, 0), Step(1, 0, 0, "compute", "", 0.0, 3.0, 0, 0, 0),
        Step(0, 0, 1, "average", "x", 1.0, 5.0, 8, 8, 8, 4.0, 0.5),
        Step(1, 0, 1, "average", "x", 3.0, 5.0, 8, 8, 8, 2.0, 0.5),
        Step(0, 0, -1, "round", "", 0.0, 5.5, 8, 8, 0), Step(1, 0, -1, "round", "", 0.0, 6.0, 8, 8, 0),
    ]  # fmt: skip
    account = Account(2)
    account.add(steps, lambda round, rank: [])
    assert account.come_to([5.5, 6.0]) == 6.0
    assert account.seconds.sum(axis=1).tolist() == [6.0, 6.0]
    assert account.seconds.tolist() == [[1.5, 0, 1.5, 0, 0.5, 2.5], [4.0, 0, 1.5, 0, 0.5, 0]]
    assert (account.sent, account.received, account.gradients.tolist()) == (16, 16, [1, 1])

    directory = RunDirectory(tmp_path, ())
    file = measured.file_of(directory, "M, seed 1")
    measured.append(file, steps)
    with file.open("a") as out:
        out.write("0,1,0,com")  # the run was killed as it wrote
    assert measured.read(directory, "M, seed 1") == steps


@pytest.mark.parametrize("error", [RuntimeError("lost"), ValueError("the group is gone")])
@pytest.mark.parametrize("way", ["_send", "_receive"])
def test_whatever_a_thread_of_the_post_fails_with_is_told_and_not_printed(way, error, monkeypatch):
    """A group that is given up because another rank is gone fails its threads with errors of other kinds."""
    failed = []
    letters = Post(SimpleNamespace(channel=object, rank=0, size=2, timeout=1.0), 2, print, failed.append)

    def fails(*arguments):
        raise error

    for name in ("send", "recv"):
        monkeypatch.setattr(f"simgmc.distributed.events.post.dist.{name}", fails)
    letters.send(1, Letter(COUNT, 0, 1, counts=[0, 0]))
    getattr(letters, way)(1)
    assert failed == [error]


def test_what_was_measured_is_not_called_simulated(tmp_path):
    assert time_of(RunDirectory(tmp_path, ())) == "simulated time"
    (tmp_path / "measured.json").write_text("{}")
    assert time_of(RunDirectory(tmp_path, ())) == "measured time"


def test_merged_costs_have_each_ranks_own_size():
    def known(rank):
        return RoundCosts([Compute(), Average(np.full(2, 10 + rank), 7, False, 8, np.full(2, 4 + rank), 3)])

    (_, average) = merged([known(0), known(1)])
    assert average.up.tolist() == [10, 11] and average.floats_up.tolist() == [4, 5] and average.down == 7
