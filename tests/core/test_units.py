"""Quantities with units: another spelling gets the unit that it stands for as a hint, never one of another size."""

import re

import pytest

from simgmc.core.units import BANDWIDTH, DURATION, SIZE, parse


def hinted(text, units):
    with pytest.raises(ValueError) as refused:
        parse(text, units, "1 B")
    found = re.search('did you mean "([^"]+)"', str(refused.value))
    return found and found[1]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1 Gb/s", "Gbit/s"), ("100mbit", "Mbit/s"), ("100Mbps", "Mbit/s"), ("10 MBps", "MB/s"), ("3 KB/s", "kB/s"),
        ("1 kib/s", None), ("1 kiB/s", "KiB/s"), ("5 MBit/s", "Mbit/s"), ("5 Mbits/sec", "Mbit/s"),
        ("9 gbit", "Gbit/s"),
        ("1 mbytes/s", "MB/s"), ("7 b/s", "bit/s"), ("7 B", "B/s"), ("10 ms", None), ("10 Pbit/s", None),
        ("1 fortnight", None),
    ],
)  # fmt: skip
def test_a_bandwidth_in_another_spelling(text, meant):
    assert hinted(text, BANDWIDTH) == meant


def test_sizes_and_durations_in_another_spelling():
    assert [hinted(text, SIZE) for text in ("1 Gb", "1 KB", "2 mib", "1 kbits")] == ["Gbit", "kB", None, "kbit"]
    assert [hinted(text, DURATION) for text in ("1 sec", "3 Minutes", "2 msec", "1 m")] == ["s", "min", "ms", None]


@pytest.mark.parametrize("units", [BANDWIDTH, SIZE])
def test_a_hint_has_the_size_of_what_was_written(units):
    """Every prefix and either letter: bits stay bits, bytes stay bytes, and no prefix becomes another."""
    for prefix in ("", "k", "K", "m", "M", "g", "G", "t", "T"):
        for letter, name in (("b", "bit"), ("bit", "bit"), ("Bit", "bit"), ("B", "B"), ("byte", "B")):
            for per in ("", "/s", "ps", "/sec"):
                if prefix + letter + per in units:
                    continue
                meant = hinted(f"1 {prefix}{letter}{per}", units)
                assert meant is not None
                assert meant.removesuffix("/s") == (prefix.lower() if prefix in "kK" else prefix.upper()) + name
