import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.quantities import axis_unit, bytes_text, number, percent_text, time_text
from simgmc.core.units import grid_number


@pytest.mark.parametrize(
    "seconds, std, text",
    [
        (412.0, 18.0, "6.87 ± 0.30 min"),
        (97.3, 1.26, "97.3 ± 1.3 s"),
        (0.0331, None, "33.1 ms"),
        (5e-6, None, "5.00 µs"),
        (7200.0, None, "2.00 h"),
        (450_000.0, None, "5.21 d"),
        (0.0, None, "0 s"),
    ],
)
def test_times_are_shown_in_the_unit_that_reads_well(seconds, std, text):
    assert time_text(seconds, std) == text


@pytest.mark.parametrize(
    "nbytes, text", [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (32_000_000, "32.0 MB"), (3.2e9, "3.20 GB")]
)
def test_sizes_are_shown_in_powers_of_1000(nbytes, text):
    assert bytes_text(nbytes) == text


@pytest.mark.parametrize("fraction, text", [(1.0, "100 %"), (0.01968, "1.97 %"), (0.0062, "0.620 %"), (0.0, "0 %")])
def test_shares_are_shown_in_percent(fraction, text):
    assert percent_text(fraction) == text


@settings(deadline=None)
@given(st.floats(1e-4, 9.9e5))
def test_a_shown_number_is_right_to_three_digits(value):
    assert float(number(value)) == pytest.approx(value, rel=5e-3)


@pytest.mark.parametrize(
    "text, quantity",
    [
        ("10 Mbit/s", (1e7, "bit/s")),
        ("2.5 MiB", (2.5 * 2**20, "B")),
        ("25 GB/s", (25e9, "B/s")),
        ("5 ms", (5e-3, "s")),
        ("8", (8.0, "")),
        ("1e-3", (1e-3, "")),
        ("ring", None),
        ("10 Mbps", None),
    ],
)
def test_grid_values_become_numbers_in_base_units(text, quantity):
    assert grid_number(text) == (None if quantity is None else (pytest.approx(quantity[0]), quantity[1]))


def test_an_axis_of_times_keeps_its_numbers_handy():
    assert axis_unit("time", 0.13, 3.0, log=True)[1] == "s"
    assert axis_unit("time", 0.3, 800.0, log=True)[1] == "s"
    assert axis_unit("time", 30.0, 360_000.0, log=True)[1] == "min"
    assert axis_unit("bytes", 1.6e6, 1.6e9, log=True)[1] == "MB"
    assert axis_unit("time", 0.0, 800.0, log=False)[1] == "min"
    assert math.isclose(axis_unit("bytes", 0.0, 5e9, log=False)[0], 1e9)
