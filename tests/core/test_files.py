"""Files from outside: whatever is no regular file of a sensible size is refused in one line, at once."""

import os
import socket
import time

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.core.files import read_bytes, read_text
from simgmc.core.outside.graph_files import read_graph
from simgmc.core.outside.tables import Measure, read_rows
from simgmc.mixing import read_matrix
from simgmc.network.conditions.traces import BandwidthSteps
from simgmc.network.topology.catalogue import build
from simgmc.network.topology.graph import Host, worker_names
from simgmc.network.validation.validate import validate_file
from simgmc.scenario import ScenarioFile
from simgmc.workloads.partitions.index_files import read_index_file

HOSTS = [Host(name, 1e6, 1e6, 0.0) for name in worker_names(2)]
READERS = {
    "network": lambda file: build("file", HOSTS, file=file),
    "sites": lambda file: build("geo", HOSTS, table=file),
    "homes": lambda file: build("home-broadband", HOSTS, table=file),
    "trace": BandwidthSteps.from_file,
    "gossip graph": read_graph,
    "matrix": read_matrix,
    "reference": validate_file,
    "scenario": ScenarioFile.read,
    "partition": lambda file: read_index_file(file, 2, 10),
}


def special(kind, folder):
    """A path that names something else than a regular file; with the suffix that readers ask for."""
    path = folder / "it.csv"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.chdir(folder)  # a socket's path is short
        socket.socket(socket.AF_UNIX).bind("it.csv")
    else:
        path.symlink_to("/dev/zero")
    return str(path)


@pytest.mark.parametrize("kind", ["directory", "pipe", "socket", "device"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_refused_at_once(reader, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, began = special(kind, tmp_path), time.monotonic()
    with pytest.raises(SimgmcError, match=f"it is a {kind}, and must be a regular file") as refused:
        READERS[reader](path)
    assert "it.csv" in str(refused.value) and "\n" not in str(refused.value)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("reader", [reader for reader in READERS if reader != "partition"])
def test_a_file_far_larger_than_any_of_its_kind_is_refused_unread(reader, tmp_path):
    path = tmp_path / "large.csv"
    with open(path, "wb") as file:
        file.truncate(10 * 2**30)  # a hole: no room on the disk
    with pytest.raises(SimgmcError, match=r"large.csv: it has 10,240 MiB, and must be at most \d+ MiB"):
        READERS[reader](str(path))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(SimgmcError, match="cannot read the thing .*nowhere: No such file"):
        read_bytes(tmp_path / "nowhere", "thing")
    (tmp_path / "latin").write_bytes("grün".encode("latin-1"))
    with pytest.raises(SimgmcError, match="UTF-8; byte 2 is not"):
        read_text(tmp_path / "latin", "thing")
    with pytest.raises(SimgmcError, match="cannot read the thing 'a.x00b'"):
        read_text("a\0b", "thing")


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch):
    import zipfile

    monkeypatch.setattr("simgmc.workloads.partitions.index_files._MAX_FILE", 2**20)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("worker0.npy", "w", force_zip64=True) as member:
            for _ in range(3):
                member.write(bytes(2**20))
    with pytest.raises(SimgmcError, match=r"bomb.npz: unpacks to 3 MiB, and must be at most 1 MiB"):
        read_index_file(tmp_path / "bomb.npz", 1, 10)


# Tables.

RATE, DELAY = Measure("bandwidth", "bandwidth"), Measure("round_trip", "duration", scale=0.5)


def only(cells, header="a,bandwidth"):
    (row,) = read_rows(f"{header}\n{cells}\n", "t.csv", ("a",), (RATE, DELAY))
    return row


@pytest.mark.parametrize(
    ("header", "cells", "bandwidth"),
    [
        ("a,bandwidth", "x,8 Mbit/s", 1e6), ("a,bandwidth_mbit_s", "x,8", 1e6), ("a,bandwidth_kbit_s", "x,8", 1e3),
        ("a,bandwidth_bytes_s", "x,8", 8.0), ("bandwidth_gbit_s,a", "8,x", 1e9), ("a,bandwidth", "x,1 MiB/s", 2**20),
    ],
)  # fmt: skip
def test_a_quantity_has_its_unit_in_the_cell_or_in_the_columns_name(header, cells, bandwidth):
    assert RATE.among(only(cells, header).cells, "here") == bandwidth


def test_a_round_trip_is_twice_a_latency():
    assert DELAY.among(only("x,30 ms", "a,round_trip").cells, "here") == 0.015


@pytest.mark.parametrize("value", ["8", "-1 Mbit/s", "nan", "inf", "8 Mbps", "quick", "1e400 Mbit/s"])
def test_a_bandwidth_that_is_none_is_refused_with_its_line(value):
    row = only(f"x,{value}")
    with pytest.raises(SimgmcError, match=r"t.csv, line 2: bandwidth = "):
        RATE.among(row.cells, row.place)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e300", "8 Mbit/s"])
def test_a_bare_number_must_be_one(value):
    row = only(f"x,{value}", "a,bandwidth_mbit_s")
    with pytest.raises(SimgmcError, match=r"t.csv, line 2: bandwidth_mbit_s = "):
        RATE.among(row.cells, row.place)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"), ("# only\n\n", "is empty"), ("b\n1\n", "has no column 'a'"), ("a,a\n1,2\n", "is there twice"),
        ("a,note\n1,2\n", 'line 1: column "note" is not read here'),
        ("a\n1,2\n", "line 2: .*too many columns: 2 for 1"),
        ("a,bandwidth\n\n# x\n1\n", "line 4: .*too few columns: 1 for 2"), ("a\n", "no line below its header"),
        ('a\n"1\n', "not a CSV file"),
    ],
)  # fmt: skip
def test_a_table_that_is_none_is_refused(text, says):
    with pytest.raises(SimgmcError, match=says):
        read_rows(text, "t.csv", ("a",), (RATE,))
