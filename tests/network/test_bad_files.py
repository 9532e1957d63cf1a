"""Files of networks and traces that are broken: refused with their name, never endless."""

from __future__ import annotations

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.conditions.failures import LinkFailure
from simgmc.network.conditions.traces import BandwidthSteps, BandwidthTrace
from simgmc.network.conditions.traffic import Traffic
from simgmc.network.conditions.wandering import Wandering
from simgmc.network.topology.drawn import from_file
from simgmc.network.topology.graph import Host, worker_names
from simgmc.network.topology.places import geo, home_broadband
from simgmc.network.topology.routing import Links
from simgmc.network.topology.shapes import fat_tree, star, torus

HOSTS = [Host(name, 10.0, 10.0, 0.1) for name in worker_names(4)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"time_s,factor\n0,1\nnan,0.5\n", 'line 3: time_s = "nan": must be a finite number'),
        (b"time_s,factor\n0,1\ninf,0.5\n", 'line 3: time_s = "inf": must be a finite number'),
        (b"time_s,factor\n0,1\nperiod,inf\n", 'line 3: "period,inf" must be such as period,10 s'),
        (b"time_ms,factor\n0,1\nperiod,9000\n", "must be such as period,10 s"),
        (b'0,"1\n2,3\n', "CSV"),
        (b"0," + b"1" * 200_000, "CSV"),
        ("0,1 # für".encode("latin-1"), "UTF-8"),
        ("1\n\u00b2\n".encode(), 'line 2: "\u00b2" must be a whole number of milliseconds'),
        (b"", "empty; its first line must name the columns"),
        (b"0,1\n1,0.5\n", 'line 1: "0,1" where the columns must be named'),
        (b"time_s,factor\n0,1\n5,0.5\n# then\n4,1\n", "line 5: 4 s comes after 5 s: times must rise"),
        (b"time_s,factor\n1,1\n", "line 2: begins at 1 s: the first time must be 0"),
        (b"time_s;factor\n0;1\n", 'line 1: .* has ";" between its cells, where a comma must be'),
        (b"# packets\n\n-1\n5\n", 'line 3: "-1" must be a whole number of milliseconds'),
        (b"3\n0,1\n", 'line 2: "0,1" must be a whole number of milliseconds'),
        (b"0\n0\n", "all packets pass at 0 ms"),
    ],
)
def test_a_broken_trace_is_refused_by_name(tmp_path, content, says):
    file = tmp_path / "trace.csv"
    file.write_bytes(content)
    with pytest.raises(SimgmcError, match=says) as refusal:
        BandwidthSteps.from_file(file)
    assert "trace.csv" in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("build", "content", "says"),
    [
        (
            lambda file: geo(HOSTS, table=file),
            b"sender,receiver,round_trip_ms,bandwidth_mbit_s\n",
            "no line below its header",
        ),
        (
            lambda file: home_broadband(HOSTS, file),
            b"line,down_mbit_s,up_mbit_s,round_trip_ms,homes\na,1,1,1,1e9\n",
            "1e\\+09 homes",
        ),
        (lambda file: from_file(HOSTS, file), b'source,destination\na,"b\n', "CSV"),
        (lambda file: from_file(HOSTS, file), b"source,destination\na,\xfc\n", "UTF-8"),
    ],
)
def test_a_broken_table_is_refused_by_name(tmp_path, build, content, says):
    file = tmp_path / "table.csv"
    file.write_bytes(content)
    with pytest.raises(SimgmcError, match=says) as refusal:
        build(str(file))
    assert "table.csv" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_file_name_with_a_nul_is_refused():
    with pytest.raises(SimgmcError, match="cannot read the network file"):
        from_file(HOSTS, "a\0b.csv")


def test_shapes_far_larger_than_their_hosts_are_refused():
    with pytest.raises(SimgmcError, match="fat-tree k = 1000: must be at most 16"):
        fat_tree(HOSTS, 1000)
    with pytest.raises(SimgmcError, match="columns = 5: must be at most the number of hosts, 4"):
        torus(HOSTS, 5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (NetworkChanges(failures=(LinkFailure(0.0, source="worker9"),)), "no link worker9"),
        (NetworkChanges(wandering=(Wandering(1e-3, 1.0),)), "2.9e\\+07 events"),
        (
            NetworkChanges(traces=(BandwidthTrace(BandwidthSteps((0.0, 1e-9), (1.0, 0.5), 1e-6)),)),
            "a bandwidth trace of period 1e-06",
        ),
        (NetworkChanges(traffic=(Traffic(1000, 1.0, 1e-3),)), "background traffic of 1000 sources"),
    ],
)
def test_changes_that_are_impossible_or_too_many_are_refused(changes, says):
    with pytest.raises(SimgmcError, match=says):
        changes.check(Links(star(HOSTS)), len(HOSTS), len(HOSTS))
