"""Rounds come out of a log as they went in, and what a training keeps of a round costs no more than its numbers."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.costs import log as stored_costs
from simgmc.costs.log import RoundLog
from simgmc.costs.steps import Average, Compress, Compute, Mix, Wait

counts = st.integers(0, 2**40)
arrays = st.lists(counts, min_size=3, max_size=3).map(lambda numbers: np.array(numbers, np.int64))
edges = st.integers(0, 600).map(
    lambda n: np.arange(2 * n, dtype=np.int64).reshape(n, 2) % 3
)  # up to more than 4096 bytes
steps = st.one_of(
    st.builds(Compute, st.integers(1, 4)),
    st.builds(Compress, counts),
    st.builds(Wait, st.integers(0, 3)),
    st.builds(Mix, arrays, edges, arrays, st.booleans()),
    st.builds(
        Average, arrays, counts, st.booleans(), st.integers(1, 8), arrays, counts,
        st.none() | st.lists(arrays, min_size=3, max_size=3).map(np.stack), st.booleans(),
        st.none() | st.lists(st.booleans(), min_size=3, max_size=3).map(np.array), st.none() | st.integers(0, 3),
    ),
)  # fmt: skip
rounds = st.lists(st.lists(steps, max_size=4).map(tuple), max_size=6)


def stored(log):
    return [stored_costs.to_bytes([costs]) for costs in log]


@given(rounds, rounds, st.integers(0, 6))
def test_a_log_is_the_list_of_what_was_put_in(first, second, cut):
    log, expected = RoundLog(first), list(first)
    for costs in second:
        log.append(costs)
        expected.append(costs)
    assert stored(log) == stored(expected) and len(log) == len(expected)
    assert stored(log[1:cut]) == stored(expected[1:cut])
    del log[cut:], expected[cut:]
    log[1:] = second
    expected[1:] = second
    assert stored(log) == stored(expected)
    assert stored(copy.deepcopy(log)) == stored(expected)


def test_arrays_come_out_with_their_types_and_read_only():
    ((step,),) = RoundLog([(Mix(np.array([1, 2], np.int64), np.zeros((0, 2), np.int64), np.array([3, 4], np.int64)),)])
    assert step.nbytes.dtype == np.int64 and step.edges.shape == (0, 2) and not step.nbytes.flags.writeable


def test_changing_an_array_afterwards_changes_nothing_in_the_log():
    array = np.array([1, 2])
    log = RoundLog([(Mix(array, array.reshape(1, 2), array),)])
    array[:] = 9
    assert log[0][0].nbytes.tolist() == [1, 2]


@pytest.mark.parametrize("workers", [8, 600])  # 600: edges beyond 4096 bytes
def test_equal_rounds_are_kept_once(workers):
    edges = np.array([(rank, (rank + 1) % workers) for rank in range(workers)])
    log = RoundLog((Compute(), Mix(np.full(workers, 7), edges, np.full(workers, 9))) for _ in range(50))
    assert len(log) == 50 and len({id(one) for one in log._rounds}) == 1


@settings(deadline=None)
@given(rounds, st.lists(steps, max_size=2).map(tuple), st.integers(1, 4))
def test_the_pieces_of_a_log_are_its_rounds_whatever_was_changed_in_between(given_rounds, last, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_costs, "_PIECE", size)
        log, expected = RoundLog(given_rounds), list(given_rounds)
        for change in (lambda one: None, lambda one: one.append(last), lambda one: one.insert(0, last),
                       lambda one: one.__delitem__(slice(2, None)), lambda one: one.extend([last] * 3)):  # fmt: skip
            change(log), change(expected)
            pieces = [stored_costs.from_bytes(piece) for piece in log.pieces()]
            assert [len(piece) for piece in pieces[:-1]] == [size] * (len(expected) // size)
            assert stored([costs for piece in pieces for costs in piece]) == stored(expected)
