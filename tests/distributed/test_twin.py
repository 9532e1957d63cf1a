"""The laboratory and the twin: shaped as stated, gone with the process, and what it says where it cannot be."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path

import networkx as nx
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.cli import main
from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Compute, RoundCosts
from simgmc.distributed.measured import Call, Step, calls_text, read_calls
from simgmc.distributed.twin import namespaces
from simgmc.distributed.twin.comparison import compare, on_ranks
from simgmc.distributed.twin.laboratory import Laboratory, Shaped, check_shape, dropped
from simgmc.distributed.twin.latency import least_round_trip
from simgmc.distributed.twin.namespaces import NotHereError, check_machine
from simgmc.distributed.twin.protocol import FRAME, HEADERS, PAYLOAD, all_reduce, barrier, overhead
from simgmc.network import ClusterSettings, ComputeTime, Duration, Host, star, worker_names
from simgmc.network.calibration.empty import Empty
from simgmc.network.calibration.exchange import dense
from simgmc.network.cluster.cluster import simulate
from tests.places import ROOT, SCENARIOS

PYTHON = [sys.executable, "-S", "-E", "-c"]


def hosts(count, mbit=20.0):
    names = worker_names(count)
    return star([Host(name, mbit * 125e3, mbit * 125e3, 0.0) for name in names]), names


def _needed() -> str:
    try:
        check_machine()
    except NotHereError as error:
        return str(error).splitlines()[0]
    return ""


MISSING = _needed()
needs_namespaces = pytest.mark.skipif(bool(MISSING), reason=f"no network namespaces here: {MISSING}")

LISTEN = """
import socket, sys, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('', 7)); s.listen()
c, _ = s.accept(); c.send(b'x'); n = 0; begin = time.monotonic()
while (piece := c.recv(1 << 16)): n += len(piece)
print(n, time.monotonic() - begin)
"""
SEND = """
import os, socket, time
for _ in range(100):
    try: s = socket.create_connection((os.environ['MASTER_ADDR'], 7)); break
    except OSError: time.sleep(0.02)
s.recv(1); s.sendall(b'x' * 500_000)
"""


LABORATORY = """
import signal, sys
from simgmc.distributed.twin.laboratory import Laboratory
from simgmc.network import Host, star
signal.signal(signal.SIGINT, signal.default_int_handler)
names = ("worker0", "worker1")
with Laboratory(star([Host(name, 1e6, 1e6, 0.0) for name in names]), names) as laboratory:
    laboratory.run(dict.fromkeys(names, [sys.executable, "-S", "-E", "-c", sys.argv[1]]), {}, 60.0)
"""

ENDED_AT_A_START = """
import os, signal, subprocess
from simgmc.distributed.twin import namespaces
class Fatal(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        if (rank := (options.get("env") or {}).get("RANK")):
            print(self.pid, flush=True)
            if rank == "1":
                os.kill(os.getpid(), signal.SIGKILL)
namespaces.subprocess.Popen = Fatal
"""


@needs_namespaces
def test_links_are_shaped_in_both_directions_and_nothing_is_left():
    graph, names = hosts(2)
    before = (
        Path("/proc/net/dev").read_text().count("\n"),
        os.listdir("/run/netns") if Path("/run/netns").exists() else [],
    )
    with Laboratory(graph, names) as laboratory:
        done = laboratory.run({names[0]: [*PYTHON, LISTEN], names[1]: [*PYTHON, SEND]}, {}, 20.0)
        assert all(status == 0 for status, _, _ in done.values()), done
        nbytes, seconds = done[names[0]][1].split()
        shaped = {(one.source, one.destination): one for one in laboratory.shaped()}
    assert int(nbytes) == 500_000
    assert float(seconds) == pytest.approx(500_000 * FRAME / PAYLOAD / 2.5e6, rel=0.15)
    # The same bytes go through the sender's shaper and the receiver's, whole frames of them.
    sent = shaped[names[1], "switch"].bytes
    assert sent == pytest.approx(500_000 * FRAME / PAYLOAD, rel=0.02)
    assert shaped["switch", names[0]].bytes == pytest.approx(sent, rel=0.01)
    assert len(shaped) == 4 and not dropped(list(shaped.values()))
    after = (
        Path("/proc/net/dev").read_text().count("\n"),
        os.listdir("/run/netns") if Path("/run/netns").exists() else [],
    )
    assert after == before


@needs_namespaces
@pytest.mark.parametrize(
    "ending",
    [signal.SIGKILL, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGTERM, signal.SIGINT))],
)
def test_a_laboratory_that_is_ended_takes_its_processes_and_networks_with_it(tmp_path, ending):
    wait = f"import os, time; open('{tmp_path}/' + os.environ['RANK'], 'w').write(str(os.getpid())); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", LABORATORY, wait], cwd=ROOT, stderr=subprocess.DEVNULL)
    ranks = _wait(lambda: [int(text) for file in tmp_path.iterdir() if (text := file.read_text())], 2)
    spaces = {os.readlink(f"/proc/{rank}/ns/net") for rank in ranks}
    assert len(spaces) == 2 and os.readlink("/proc/self/ns/net") not in spaces
    process.send_signal(ending)
    process.wait(20)
    _wait(lambda: [rank for rank in ranks if _ended(rank)], 2)
    assert not spaces & {_space(one) for one in Path("/proc").iterdir() if one.name.isdecimal()}


@needs_namespaces
def test_a_rank_is_ended_also_when_the_laboratory_is_killed_the_instant_it_starts():
    program = ENDED_AT_A_START + LABORATORY
    done = subprocess.run(
        [sys.executable, "-c", program, "import time; time.sleep(60)"], cwd=ROOT, text=True, stdout=subprocess.PIPE
    )
    assert done.returncode == -signal.SIGKILL
    ranks = [int(line) for line in done.stdout.split()]
    assert len(ranks) == 2
    _wait(lambda: [rank for rank in ranks if _ended(rank)], 2)


LEAVES_A_CHILD = """
import os, subprocess, sys
print(subprocess.Popen([sys.executable, "-S", "-E", "-c", "import time; time.sleep(600)"]).pid, flush=True)
os._exit(int(os.environ["RANK"]))
"""


@needs_namespaces
def test_what_a_rank_has_begun_and_left_ends_with_it():
    """It holds the rank's pipes open: the laboratory would wait for it."""
    graph, names = hosts(2)
    with Laboratory(graph, names) as laboratory:
        done = laboratory.run(dict.fromkeys(names, [*PYTHON, LEAVES_A_CHILD]), {}, 500.0)
    assert [status for status, _, _ in done.values()] == [0, 1]
    children = [int(out) for _, out, _ in done.values()]
    _wait(lambda: [child for child in children if _ended(child)], 2)


def _wait(found, count):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if len(now := found()) == count:
            return now
        time.sleep(0.05)
    raise AssertionError(f"{now} after 120 s")


def _ended(process):
    """Whether it runs no more; whoever took it over may not have noticed yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _space(process):
    try:
        return os.readlink(process / "ns" / "net")
    except OSError:
        return ""


def test_what_is_missing_is_said(monkeypatch, tmp_path):
    if sys.platform.startswith("linux"):
        monkeypatch.setattr(namespaces, "_made", lambda: -errno.EPERM)
        monkeypatch.setattr(namespaces.shutil, "which", lambda name: "/there")
        with pytest.raises(NotHereError, match="Operation not permitted; run it as root"):
            check_machine()
        monkeypatch.setattr(namespaces.shutil, "which", lambda name: None)
        with pytest.raises(NotHereError, match="program ip is not on the PATH .*iproute2") as missing:
            check_machine()
        assert "program tc" in str(missing.value)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(NotHereError, match="needs Linux"):
        check_machine()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["cluster.stragglers={ distribution = 'log-normal', sigma = 0.5 }"], "cluster.stragglers"),
        (["grid.cluster.bandwidth=['1 Mbit/s', '2 Mbit/s']"], "choose a point, such as --set cluster.bandwidth"),
        (["cluster.topology=full-mesh"], "no tree|has 3 links|joined to another"),
    ],
)
def test_a_scenario_that_a_laboratory_cannot_have_is_refused(settings, says, tmp_path):
    arguments = [text for setting in settings for text in ("--set", setting)]
    result = CliRunner().invoke(main, ["twin", str(SCENARIOS / "twin.toml"), "--out", str(tmp_path / "t"), *arguments])
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert re.search(says, result.output), result.output


def test_links_whose_shapers_dropped_packets_are_named():
    counted = [Shaped("worker0", "switch", 10, 3, 0), Shaped("switch", "worker0", 10, 134_223, 1_788)]
    assert dropped(counted[:1]) == ""
    assert dropped(counted) == "1,788 of 136,011 on the link switch -> worker0"


@needs_namespaces
@pytest.mark.slow
def test_a_queue_that_is_too_short_is_seen_to_drop(monkeypatch):
    monkeypatch.setattr("simgmc.distributed.twin.laboratory._QUEUE", 6_000)
    graph, names = hosts(2)
    with Laboratory(graph, names) as laboratory:
        laboratory.run({names[0]: [*PYTHON, LISTEN], names[1]: [*PYTHON, SEND]}, {}, 20.0)
        assert "on the link worker1 -> switch" in dropped(laboratory.shaped())
        assert set(laboratory.sent_again()) == set(names)


def test_only_trees_of_switches_are_built():
    graph, names = hosts(3)
    check_shape(graph, names)
    with pytest.raises(SimgmcError, match="at least two hosts"):
        check_shape(graph, names[:1])
    cycle = graph.copy()
    for a, b in ((names[0], "other"), ("other", "switch")):
        cycle.add_edge(a, b, bandwidth=1.0, latency=0.0)
        cycle.add_edge(b, a, bandwidth=1.0, latency=0.0)
    with pytest.raises(SimgmcError, match="no tree"):
        check_shape(cycle, names)
    with pytest.raises(SimgmcError, match="no way back"):
        check_shape(nx.DiGraph([(names[0], "switch"), (names[1], "switch")]), names[:2])


def test_a_round_that_took_what_is_simulated_has_no_error_and_its_bytes_are_found():
    graph, names = hosts(4)
    cluster = ClusterSettings(graph, names, None, "ring", ComputeTime(0.1), Duration(0.0), Duration(0.0))
    settings = on_ranks(cluster, names, 40e-6, False)
    costs = [RoundCosts([Compute(), dense(4, 1e6)])] * 3
    ends = simulate(settings, costs).round_end.max(axis=1)
    steps = []
    for number, (begin, end) in enumerate(zip([0.0, *ends], ends)):
        for rank in range(4):
            steps.append(Step(rank, number, 0, "compute", "", begin, begin + 0.1, 0, 0, 0))
            steps.append(Step(rank, number, 1, "average", "ring", begin + 0.1, end, 0, 0, 1_000_000))
            steps.append(Step(rank, number, -1, "round", "", begin, end, 0, 0, 0))
    # Of 12 messages of 125 kB a round: two notices, a preamble, 87 frames, and an acknowledgement for every two; after
    # each pause of 100 ms half of one for each of two neighbours and for the connection that messages come over.
    steps = [one._replace(calls="1 sum 1000000 4 0") if one.kind == "average" else one for one in steps]
    sent = 3 * round(1.5e6 + 12 * (3 * 48 + (2 + 87) * 66 + (0.5 + 87) / 2 * 66) + 1.5 * 66)
    steps += [Step(rank, 2, -1, "interface", "", 0.0, ends[-1], sent, sent, 0) for rank in range(4)]
    found = compare("m", 1, settings, costs, steps)
    assert found.errors().max() < 1e-9 and found.errors(exchanges=True).max() < 1e-9
    assert [one.nbytes for one in found.rounds] == [1_000_000] * 3
    assert [(one.simulated, one.counted) for one in found.traffic] == [(3 * 1.5e6, sent)] * 4
    assert abs(found.traffic_error) < 1e-6
    # Lengths told first: 3 steps round the ring, of 20 us and 8 bytes at 2.5 MB/s each.
    steps = [one._replace(calls="1 lengths 8 4 0") if one.kind == "average" else one for one in steps]
    later = compare("m", 1, settings, costs, steps)
    for before, after in ((found.rounds, later.rounds), (found.exchanges, later.exchanges)):
        more = [b.simulated - a.simulated for a, b in zip(before, after, strict=True)]
        assert more == pytest.approx([3 * (20e-6 + 8 / 2.5e6)] * 3)


@settings(max_examples=25, deadline=None)
@given(nbytes=st.integers(1, 10**8).map(lambda n: 4 * n), ranks=st.integers(2, 16))
def test_an_all_reduce_gives_every_share_but_one_twice(nbytes, ranks):
    messages = all_reduce(nbytes, ranks)
    total = sum(length * many for (length, _), many in messages.items())
    least = 2 * (ranks - 1) / ranks * nbytes
    assert least * (1 - 1e-12) <= total <= least * (1 + 1e-12) + 4 * messages.total()  # shares are whole numbers
    assert all(0 < length <= 2**20 for length, _ in messages)


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_a_barrier_is_an_empty_message_to_ranks_at_every_distance(ranks):
    assert barrier(0, ranks).total() == {2: 1, 3: 2, 4: 2, 8: 3}[ranks]
    assert barrier(0, ranks)[0, True] == (ranks in (2, 4, 8))


def test_a_pause_costs_half_an_acknowledgement_for_each_neighbour_and_each_connection_to_it():
    """Round a ring: a neighbour before and one behind; messages come from one of them, and their lengths apart."""
    told = {Call("lengths", 8, 4): 1}
    one = told | {Call("send", 1000): 3, Call("receive", 1000): 3, Call("with", 0): 2, Call("from", 0): 1}
    more = overhead(one, [one]).acknowledgements - overhead(one).acknowledgements
    assert more == (2 + 2) / 2 * HEADERS
    assert overhead(told, [told, told]).acknowledgements - overhead(told).acknowledgements == 3 * HEADERS
    alone = {Call("lengths", 8, 1): 1}
    assert overhead(alone, [alone]) == overhead(alone)


def test_calls_are_read_back_from_their_text():
    calls = Counter({Call("send", 10, 2, 1): 3, Call("sum", 4000, 4): 1, Call("lengths", 8, 4): 2})
    assert read_calls([calls_text(calls), "", calls_text({Call("sum", 4000, 4): 4})])[Call("sum", 4000, 4)] == 5
    assert read_calls([calls_text(calls)]) == calls


def test_a_server_on_a_worker_takes_the_others_messages_over_its_link_alone():
    names = worker_names(4)
    graph = star([Host(name, 1e6, 1e6, 0.0) for name in (*names, "server")])
    apart = ClusterSettings(graph, names, "server", "parameter-server", ComputeTime(1.0), Duration(0.0), Duration(0.0))
    costs = [RoundCosts([dense(4, 1e6)])]
    assert simulate(apart, costs).total == pytest.approx(8.0)
    assert simulate(on_ranks(apart, names, 0.0, True), costs).total == pytest.approx(6.0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's tcp_info")
def test_the_kernel_tells_a_round_trip_that_no_process_waits_in():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        other, _ = server.accept()
        with other:
            begin = time.perf_counter()
            one.sendall(b"x")
            other.recv(1)
            other.sendall(b"x")
            one.recv(1)
            whole = time.perf_counter() - begin
            found = least_round_trip()
    assert found is not None and 0 < found < whole


def test_what_is_no_network_is_software():
    empty = Empty(round_trip=20e-6, message=110e-6, each=30e-6, rate=1e7)
    assert (empty.network, empty.software) == (10e-6, pytest.approx(100e-6))
    untold = Empty(round_trip=None, message=110e-6, each=30e-6, rate=1e7)
    assert untold.network is None and untold.software is None


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_process_group_is_calibrated_under_torchrun(ranks, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "-m", "simgmc"]
    done = subprocess.run(
        [*torchrun, "calibrate", "rows.csv", "--measure", str(ranks), "--bandwidth", "1 Gbit/s", "--out", "t.toml"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fitted, with 95 % intervals") == 1
    assert re.search(r"latency: a packet takes .* one way", done.stdout) and 'latency = "' in done.stdout
    rows = (tmp_path / "rows.csv").read_text().splitlines()
    assert len(rows) == 10 and all(f",{ranks}," in row for row in rows[1:])
    assert set(tomllib.loads((tmp_path / "t.toml").read_text())["transport"]) >= {"efficiency", "software"}
    wrong = subprocess.run(
        [*torchrun, "calibrate", "--measure", str(ranks + 1)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert wrong.returncode and f"--measure {ranks + 1}: torchrun started {ranks} processes" in wrong.stderr


@needs_namespaces
@pytest.mark.slow
def test_a_scenario_is_run_and_simulated(tmp_path):
    out = tmp_path / "twin"
    settings = ["workload.rounds=4", "workload.evaluate_every='4 rounds'", "cluster.bandwidth='50 Mbit/s'"]
    arguments = [text for setting in settings for text in ("--set", setting)]
    command = ["simgmc", "twin", "scenarios/twin.toml", "--out", str(out), "--method", "DMSGD", *arguments]
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (out / "twin.png").stat().st_size > 10_000
    rows = (out / "twin.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 + 4
    errors = [float(row.rsplit(",", 1)[1]) for row in rows[1:]]
    assert all(-0.3 < error < 0.05 for error in errors), rows
    hosts_bytes = [float(row.rsplit(",", 1)[1]) for row in (out / "twin_bytes.csv").read_text().splitlines()[1:]]
    assert len(hosts_bytes) == 4 and all(abs(error) < 0.03 for error in hosts_bytes), hosts_bytes
