"""Bits and integer codes: round trips, code lengths of the literature, sizes known beforehand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgmc.compression.wire import bits
from simgmc.compression.wire.codes import EliasDelta, EliasGamma, EliasOmega, GolombRice, read_fields, write_fields

CODERS = {
    "gamma": EliasGamma(),
    "delta": EliasDelta(),
    "omega": EliasOmega(),
    "rice 0": GolombRice(0),
    "rice 9": GolombRice(9),
}
SMALL = st.lists(st.integers(1, 3000), max_size=200).map(lambda n: np.array(n, np.int64))
LARGE = st.lists(st.integers(1, 2**48), max_size=60).map(lambda n: np.array(n, np.int64))


def omega_bits(n: int) -> int:
    """Length of the code word by its recursive definition."""
    length = 1
    while n > 1:
        length += n.bit_length()
        n = n.bit_length() - 1
    return length


@given(SMALL)
@pytest.mark.parametrize("name", CODERS)
def test_codes_round_trip_and_know_their_size(name, numbers):
    coder = CODERS[name]
    payload = coder.encode(numbers)
    assert len(payload) == coder.size(numbers)
    decoded, used = coder.decode(memoryview(payload + b"\xff\xff"), len(numbers))
    assert used == len(payload) and np.array_equal(decoded, numbers)


@given(LARGE)
@pytest.mark.parametrize("name", ["gamma", "delta", "omega"])
def test_elias_codes_hold_for_large_numbers(name, numbers):
    coder = CODERS[name]
    payload = coder.encode(numbers)
    assert len(payload) == coder.size(numbers)
    assert np.array_equal(coder.decode(memoryview(payload), len(numbers))[0], numbers)


@given(SMALL)
def test_code_lengths_are_those_of_the_literature_up_to_padding(numbers):
    log = np.array([int(n).bit_length() - 1 for n in numbers], np.int64)
    loglog = np.array([(int(one) + 1).bit_length() - 1 for one in log], np.int64)
    exact = {
        "gamma": (2 * log + 1).sum(),
        "delta": (log + 2 * loglog + 1).sum(),
        "omega": sum(omega_bits(int(n)) for n in numbers),
        "rice 0": numbers.sum(),
        "rice 9": (((numbers - 1) >> 9) + 1 + 9).sum(),
    }
    for name, total in exact.items():
        padding = 8 * CODERS[name].size(numbers) - total
        assert 0 <= padding <= {"gamma": 14, "delta": 21, "omega": 70, "rice 0": 7, "rice 9": 14}[name]


def test_omega_lengths_of_small_numbers():
    assert [omega_bits(n) for n in (1, 2, 3, 4, 7, 8, 15, 16, 100, 1000)] == [1, 3, 3, 6, 6, 7, 7, 11, 13, 17]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.integers(0, 2**32))
def test_the_size_of_a_histogram_is_the_size_of_the_numbers(values, seed):
    numbers = np.unique(np.array(values, np.int64))
    times = np.random.default_rng(seed).integers(0, 5, len(numbers))
    assert EliasOmega().size(numbers, times) == EliasOmega().size(np.repeat(numbers, times))


@given(st.integers(1, 32), st.lists(st.integers(0, 2**32 - 1), max_size=100))
def test_fixed_width_numbers_take_exactly_their_bits(width, numbers):
    numbers = np.array(numbers, np.uint64).astype(np.uint32) & np.uint32(2**width - 1)
    payload = bits.pack(numbers, width)
    assert len(payload) == -(-len(numbers) * width // 8) == bits.packed_size(len(numbers), width)
    assert np.array_equal(bits.unpack(payload + b"\xff", len(numbers), width), numbers)


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 2**63 - 1)), max_size=80))
def test_fields_of_mixed_widths_round_trip(fields):
    widths = np.array([width for width, _ in fields], np.int64)
    numbers = np.array([number & ((1 << width) - 1) for width, number in fields], np.int64)
    payload = write_fields(numbers, widths)
    assert len(payload) == -(-int(widths.sum()) // 8)
    decoded, used = read_fields(memoryview(payload + b"\xff"), widths)
    assert used == len(payload) and np.array_equal(decoded, numbers)


@given(st.lists(st.integers(0, 2), max_size=60))
def test_five_trits_fit_a_byte(trits):
    trits = np.array(trits, np.uint8)
    payload = bits.pack_trits(trits)
    assert len(payload) == -(-len(trits) // 5)
    assert np.array_equal(bits.unpack_trits(payload, len(trits)), trits)


@given(st.integers(0, 2**40))
def test_counts_round_trip(count):
    payload = bits.encode_count(count)
    assert bits.decode_count(memoryview(payload + b"\x05")) == (count, len(payload))
