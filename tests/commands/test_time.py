"""``simgmc time`` and ``simgmc calibrate`` as a user meets them."""

from __future__ import annotations

import csv
import io
import tomllib

import pytest
from click.testing import CliRunner

from simgmc.cli import main
from simgmc.network.collectives import COLLECTIVES

NETWORK = ("--bandwidth", "1 Gbit/s", "--latency", "1 ms")


def call(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_time_is_the_closed_form_and_says_the_transport():
    result = call("time", "parameter-server", "--nodes", "8", "--bytes", "100MB", *NETWORK, "--csv")
    (row,) = csv.DictReader(io.StringIO(result.output))
    assert float(row["seconds"]) == pytest.approx(2 * (2e-3 + 8 * 100e6 / 125e6))
    assert float(row["busiest_link_bytes"]) == 8 * 100e6
    shown = call("time", "ring", "--nodes", "8", "--bytes", "1MB", *NETWORK, "--set", "transport.efficiency=0.9").output
    assert "transport: efficiency = 0.9" in shown and "dense, 32-bit floats" in shown


def test_all_times_every_collective_or_says_why_not():
    shown = call("time", "all", "--nodes", "6", "--bytes", "1MB", *NETWORK, "--density", "0.01").output
    assert all(name in shown for name in (*COLLECTIVES, "gossip"))
    assert "not here: ring-all-reduce" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ring", "--bytes", "1MB"), "cluster.bandwidth: missing"),
        (("rign", "--bytes", "1MB", *NETWORK), 'cluster.collective = "rign": unknown'),
        (("ring-all-reduce", "--bytes", "1MB", "--density", "0.1", *NETWORK), "different coordinates"),
        (("ring", "--bytes", "1", *NETWORK), "has no unit"),
        (("ring", "--bytes", "1MB", *NETWORK, "--set", "transport.eficiency=1"), "cluster.transport.eficiency"),
    ],
)
def test_time_refuses_in_one_line(arguments, says):
    result = call("time", "--nodes", "4", *arguments)
    assert result.exit_code == 2 and says in result.output and "Traceback" not in result.output


def test_calibrate_writes_the_transport_that_made_the_table(tmp_path):
    sizes = [text for size in ("100MB", "20MB", "5MB") for text in ("--bytes", size)]
    stated = ("--set", "transport.efficiency=0.9", "--set", 'transport.software="500 us"')
    table, out = tmp_path / "rows.csv", tmp_path / "transport.toml"
    table.write_text(call("time", "ring", "--nodes", "8", *sizes, *NETWORK, *stated, "--csv").output)
    result = call("calibrate", str(table), *NETWORK, "--out", str(out))
    assert result.exit_code == 0, result.output
    assert tomllib.loads(out.read_text()) == {"transport": {"efficiency": 0.9, "software": "500 us"}}
    assert 'transport = { efficiency = 0.9, software = "500 us" }' in result.output
    with_file = call("time", "ring", "--nodes", "8", *sizes, *NETWORK, "--set", f"transport={out}", "--csv")
    assert with_file.output == table.read_text()
    assert "cannot be told apart" not in result.output
    merged = call("calibrate", str(table), *NETWORK[:2])
    assert "latency" in merged.output and "it cannot be told apart from software" in merged.output
    again = call("calibrate", str(table), *NETWORK, "--set", "transport.efficiency=0.9")
    assert again.exit_code == 2 and "is what is fitted" in again.output
