"""Jobs in processes side by side: their results in order, their errors in turn, and what cannot be sent."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from simgmc.core.errors import SimgmcError
from simgmc.core.processes import side_by_side as pool
from simgmc.network import simulate_many
from tests.network.random_clusters import clusters, rounds_of


class Square:
    """A job that the other process does not know how to load where it is ``local``."""

    def __init__(self, number, local=False):
        self.number, self.local = number, local

    def __reduce__(self):
        return (Square, (self.number,)) if not self.local else (eval, ("no_such_name",))


def squared(job):
    if job.number < 0:
        raise SimgmcError("a negative number")
    return job.number**2, os.getpid()


def test_results_come_in_order_errors_in_turn_and_what_cannot_be_sent_is_done_here():
    jobs = [Square(0), Square(1), Square(2, local=True), *map(Square, range(3, 9)), Square(-1)]
    found = pool.side_by_side(squared, jobs, processes=2)
    values, processes = zip(*(next(found) for _ in range(9)))
    assert values == tuple(n**2 for n in range(9))
    assert processes[0] == processes[2] == os.getpid() != processes[1]
    with pytest.raises(SimgmcError, match="a negative number"):
        next(found)


def test_networks_simulated_side_by_side_have_the_bits_of_those_simulated_here(monkeypatch):
    rng = np.random.default_rng(1)
    networks = clusters(rng, 4, 5, "double-binary-tree", shape="star", sigma=0.4)
    rounds = rounds_of(rng, 5, "double-binary-tree", 8, mixes=0.0)
    here = list(simulate_many(networks, rounds))
    monkeypatch.setattr("simgmc.network.cluster.many.side_by_side", lambda work, jobs: pool.side_by_side(work, jobs, 2))
    there = list(simulate_many(networks, rounds))
    assert all(one.by_events is not None for one in here), "messages meet, so that there is something to be done"
    assert [one.round_end.tobytes() for one in here] == [one.round_end.tobytes() for one in there]


def test_what_is_done_beside_goes_on_meanwhile_and_is_given_up_at_the_end(monkeypatch, tmp_path):
    monkeypatch.setattr(pool, "usable_cores", lambda: 2)
    begun = tmp_path / "begun"
    with pool.Beside() as beside:
        (value, process), here = beside.call(squared, Square(3))(), beside.call(lambda: os.getpid())
        assert value == 9 and process != os.getpid() == here()
        with pytest.raises(SimgmcError, match="a negative number"):
            beside.call(squared, Square(-1))()
        unheard = beside.call(squared, Square(2, local=True))
        assert unheard() == (4, os.getpid())
        beside.call(touched_then_asleep, begun)
        while not begun.exists():  # at its end the process is in the middle of it
            pass
    monkeypatch.setattr(pool, "usable_cores", lambda: 1)
    with pool.Beside() as beside:
        assert beside.call(squared, Square(4))() == (16, os.getpid())


def touched_then_asleep(file):
    file.touch()
    time.sleep(3600)
