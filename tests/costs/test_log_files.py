import dataclasses
from dataclasses import dataclass, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from simgmc.core.errors import SimgmcError
from simgmc.costs import log as stored_costs
from simgmc.costs import steps as costs
from simgmc.costs.steps import Average, Compress, Compute, Mix, Wait
from simgmc.results.directory.run_directory import create


def same(one, other) -> bool:
    """Equal in kinds of steps, types, dtypes and values."""
    if len(one) != len(other):
        return False
    for steps, others in zip(one, other, strict=True):
        if [type(step) for step in steps] != [type(step) for step in others]:
            return False
        for a, b in zip(steps, others, strict=True):
            for field in fields(a):
                x, y = getattr(a, field.name), getattr(b, field.name)
                if type(x) is not type(y):
                    return False
                if isinstance(x, np.ndarray):
                    if x.dtype != y.dtype or not np.array_equal(x, y):
                        return False
                elif x != y:
                    return False
    return True


counts = st.integers(0, 2**62)
vectors = hnp.arrays(np.int64, st.integers(1, 9), elements=counts)
averages = st.builds(Average, vectors, counts, st.booleans(), st.integers(1, 8), vectors, counts)
edges = hnp.arrays(np.int64, st.tuples(st.integers(0, 5), st.just(2)), elements=st.integers(0, 3))
mixes = st.builds(Mix, vectors, edges, vectors, st.booleans())
steps = st.one_of(st.builds(Compute, counts), st.builds(Compress, counts), averages, mixes)


@settings(deadline=None)
@given(st.lists(st.lists(steps, max_size=5).map(tuple), max_size=8))
def test_any_rounds_are_read_back_exactly(rounds):
    assert same(stored_costs.from_bytes(stored_costs.to_bytes(rounds)), rounds)


def test_a_round_may_have_any_number_of_steps():
    rounds = [costs.RoundCosts((Compute(1),) * 70_000), costs.RoundCosts((Compute(2),))]
    assert stored_costs.from_bytes(stored_costs.to_bytes(rounds)) == rounds


@settings(deadline=None)
@given(st.lists(st.lists(steps, max_size=3).map(tuple), max_size=4))
def test_the_same_rounds_give_the_same_bytes(rounds):
    assert stored_costs.to_bytes(rounds) == stored_costs.to_bytes(list(rounds))


def rounds_of_gmc(rounds: int, workers: int = 8) -> list[costs.RoundCosts]:
    random = np.random.default_rng(0)
    sent = random.integers(21_000, 22_500, (rounds, workers))
    return [
        (Compute(1), Compress(1_089_896), Average(row * 8, int(row.sum()), False, 8, row * 2, int(row.sum()) // 4))
        for row in sent
    ]


def test_ten_thousand_rounds_of_eight_workers_take_under_half_a_megabyte():
    rounds = rounds_of_gmc(10_000)
    content = stored_costs.to_bytes(rounds)
    assert len(content) < 500_000  # 80,000 random counts and what follows from them
    assert same(stored_costs.from_bytes(content), rounds)


def test_constant_costs_take_next_to_nothing():
    message = np.full(8, 1_089_896)
    rounds = [(Compute(1), Average(message, 1_089_896, True, 4, message // 4, 272_474))] * 10_000
    assert len(stored_costs.to_bytes(rounds)) < 10_000


def test_the_edges_of_ten_thousand_gossip_rounds_are_stored_once():
    ways = [np.array([(k, (k + hop) % 64) for k in range(64)]) for hop in (1, 2, 4, 8, 16, 32)]
    size = np.full(64, 1_000_000)
    rounds = [(Compute(1), Mix(size, ways[t % 6], size // 4)) for t in range(10_000)]
    content = stored_costs.to_bytes(rounds)
    assert len(content) < 20_000
    read = stored_costs.from_bytes(content)
    assert same(read, rounds) and read[0][1].edges is read[6][1].edges


def test_costs_that_were_read_cannot_be_changed_by_accident():
    (_, _, average), *_ = stored_costs.from_bytes(stored_costs.to_bytes(rounds_of_gmc(2)))
    with pytest.raises(ValueError, match="read-only"):
        average.up[0] = 1


def test_a_file_from_before_a_field_was_added_is_read_with_its_default(monkeypatch):
    content = stored_costs.to_bytes([(Compute(3),)])
    grown = dataclasses.make_dataclass("Compute", [("gradients", int, 1), ("batches", int, 7)], frozen=True)
    monkeypatch.setattr(costs, "Compute", grown)
    assert stored_costs.from_bytes(content) == [(grown(3, 7),)]


def test_unknown_values_and_texts_are_kept(monkeypatch):
    @dataclass(frozen=True)
    class Compute:
        union: np.ndarray | None
        kind: str

    monkeypatch.setattr(costs, "Compute", Compute)
    rounds = [(Compute(None, "a"), Compute(np.arange(6.0).reshape(2, 3), "b")), (Compute(np.zeros((1, 2)), ""),)]
    read = stored_costs.from_bytes(stored_costs.to_bytes(rounds))
    assert read[0][0].union is None and [step.kind for steps in read for step in steps] == ["a", "b", ""]
    assert np.array_equal(read[0][1].union, rounds[0][1].union) and np.array_equal(read[1][0].union, np.zeros((1, 2)))


def test_a_field_that_this_version_does_not_know_is_named(monkeypatch):
    grown = dataclasses.make_dataclass("Compute", [("gradients", int), ("batches", int)], frozen=True)
    with monkeypatch.context() as patch:
        patch.setattr(costs, "Compute", grown)
        content = stored_costs.to_bytes([(grown(1, 2),)])
    with pytest.raises(SimgmcError, match="Compute.batches"):
        stored_costs.from_bytes(content)


@settings(deadline=None)
@given(st.integers(0, 400))
def test_a_damaged_file_is_a_clear_error(cut):
    content = stored_costs.to_bytes(rounds_of_gmc(1))
    with pytest.raises(SimgmcError, match=r"costs/x\.npz"):
        stored_costs.from_bytes(content[:cut], "costs/x.npz")


def test_any_text_is_a_training_key(tmp_path):
    directory = create(tmp_path / "run", "")
    keys = ["GMC, seed 0", "DGC (1 %) / no masking", "../../odd", "µ"]
    for number, key in enumerate(keys):
        directory.write_costs(key, [(Compute(number),)])
    assert directory.training_keys() == sorted(keys)
    assert [directory.read_costs(key) for key in keys] == [[(Compute(number),)] for number in range(4)]
    assert {file.parent for file in (tmp_path / "run").rglob("*.npz")} == {tmp_path / "run" / "costs"}


def test_costs_that_are_not_there_are_a_clear_error(tmp_path):
    directory = create(tmp_path / "run", "")
    with pytest.raises(SimgmcError, match="no costs of 'GMC'; it has none"):
        directory.read_costs("GMC")
    assert not directory.has_costs("GMC")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_changed_bytes_are_a_clear_error_or_costs(data):
    content = bytearray(stored_costs.to_bytes(rounds_of_gmc(2)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        stored_costs.from_bytes(bytes(content), "costs/x.npz")
    except SimgmcError as error:
        assert "costs/x.npz" in str(error)


@pytest.mark.parametrize(
    "step", [Compute(-1), Compute(1.5), Compress(float("nan")), Average(np.array([1, -1]), 0, True, 4, np.zeros(2), 0)]
)
def test_costs_that_no_round_has_are_refused(step):
    with pytest.raises(SimgmcError, match="damaged"):
        stored_costs.from_bytes(stored_costs.to_bytes([(step,)]))


def test_files_call_every_kind_of_step_as_all_versions_do():
    """A file is read by its names: what is renamed here keeps its name there."""
    one = np.ones(2, np.int64)
    steps = (Compute(), Compress(1), Average(one, 1, True, 4, one, 1), Mix(one, np.zeros((0, 2), int), one), Wait(3))
    content = stored_costs.to_bytes([steps])
    names = {name.partition(".")[0] for name in stored_costs.arrays_of(content) if "." in name}
    assert names == {"Compute", "Compress", "Average", "Mix", "Join"}
    assert same(stored_costs.from_bytes(content), [steps])
