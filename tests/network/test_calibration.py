"""Calibration: the fit finds the overheads that made a table, and says what it cannot know."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import RoundCosts
from simgmc.network.calibration.exchange import dense, sparse
from simgmc.network.calibration.fit import fit
from simgmc.network.calibration.table import read_table
from simgmc.network.cluster.cluster import simulate
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.overheads import Overheads, sawtooth
from simgmc.network.conditions.work import Duration
from simgmc.network.topology.graph import Host, worker_names
from simgmc.network.topology.shapes import star


def seconds(collective, workers, nbytes, overheads, bandwidth=125e6, latency=1e-3):
    names = worker_names(workers)
    hosts = [Host(name, bandwidth, bandwidth, latency) for name in (*names, "server")]
    cluster = ClusterSettings(
        star(hosts),
        names,
        "server",
        collective,
        ComputeTime(1.0),
        Duration(0.0),
        Duration(0.0),
        conditions=(overheads,),
    )
    return simulate(cluster, [RoundCosts([dense(workers, nbytes)])]).total


@settings(max_examples=3, deadline=None)
@given(
    efficiency=st.floats(0.5, 0.99),
    software=st.floats(0.0, 2e-3),
    startup=st.floats(0.0, 5.0),
    collective=st.sampled_from(["ring", "parameter-server", "halving-doubling"]),
)
def test_the_overheads_that_made_a_table_are_found(efficiency, software, startup, collective):
    rows = [(4, 1e5), (4, 5e6), (8, 1e6), (8, 1e5), (2, 1e5), (2, 2e7)]
    made = Overheads(efficiency, software, startup)
    measured = [seconds(collective, *row, made) for row in rows]
    found = fit(lambda row, overheads: seconds(collective, *rows[row], overheads), measured, latency=True)
    assert found.after == pytest.approx(measured, rel=2e-3)
    assert found.overheads.efficiency == pytest.approx(efficiency, rel=5e-3)


def test_two_rows_give_two_numbers_and_say_that_none_is_left_to_judge_them():
    rows, made = [(4, 4e6), (4, 4e5)], Overheads(0.93, 40e-6)
    measured = [seconds("ring", *row, made) for row in rows]
    found = fit(lambda row, overheads: seconds("ring", *rows[row], overheads), measured, latency=True)
    assert found.assumed and not found.estimates["startup"].told
    assert found.overheads.efficiency == pytest.approx(0.93, rel=1e-6)
    assert found.overheads.software == pytest.approx(40e-6, rel=1e-4)
    low, high = (getattr(found.estimates["efficiency"], end) for end in ("low", "high"))
    assert low < 0.93 < high <= 1.0


def test_noise_is_what_the_rows_leave_and_widens_the_interval():
    rows = [(4, 4e6), (4, 4e5), (8, 1e6), (8, 1e5)]

    def width(noise):
        measured = [
            seconds("ring", *row, Overheads(0.9)) * (1 + noise * sign) for row, sign in zip(rows, (1, -1, -1, 1))
        ]
        found = fit(lambda row, overheads: seconds("ring", *rows[row], overheads), measured, latency=False)
        assert not found.assumed
        return found.estimates["efficiency"].high - found.estimates["efficiency"].low

    assert width(0.0) < 1e-6 < 0.005 < width(0.02) < width(0.05)


def test_rows_of_one_size_do_not_tell_bytes_from_messages():
    found = fit(lambda row, overheads: seconds("ring", 4, 4e6, overheads), [0.06, 0.06], latency=False)
    assert [one.told for one in found.estimates.values()] == [True, False, False]
    with pytest.raises(SimgmcError, match="at least two"):
        fit(lambda row, overheads: 1.0, [1.0], latency=False)


def test_a_table_is_read_with_its_units_and_refused_with_its_place(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("collective,nodes,bytes,seconds,bandwidth\nring,4,4 MB,0.5,100 Mbit/s\nring,8,400000,0.05,\n")
    first, second = read_table(path)
    assert (first.nbytes, first.bandwidth, second.nbytes, second.bandwidth) == (4e6, 12.5e6, 4e5, None)
    for line, says in [
        ("ring,1,5,1", "nodes"),
        ("ring,4,5 XB,1", "unit 'XB'"),
        ("ring,4,5,0", "seconds"),
        ("a,b", "few"),
    ]:
        path.write_text(f"collective,nodes,bytes,seconds\n{line}\n")
        with pytest.raises(SimgmcError, match=rf"rows.csv, line 2: .*{says}"):
            read_table(path)


def test_a_queue_of_one_bandwidth_delay_product_loses_nothing_and_none_a_quarter():
    assert sawtooth(1.0) == sawtooth(7.0) == 1.0 and sawtooth(0.0) == 0.75
    # From half the window to all of it, byte by byte: what the closed form sums up.
    under_way, queue, carried, spent = 10_000, 3_000, 0.0, 0.0
    for window in range((under_way + queue) // 2, under_way + queue):
        carried += window
        spent += max(window, under_way)
    assert carried / spent == pytest.approx(sawtooth(queue / under_way), rel=1e-3)


def test_a_shallow_queue_costs_what_it_leaves_unused_of_every_link():
    # 125 MB/s and 4 ms there and back: 0.5 MB under way.
    # One message over a link, and several; of their latencies one shows in the ring, two in the server's.
    for collective, latencies in (("ring", 2e-3), ("parameter-server", 4e-3)):
        whole = seconds(collective, 4, 8e6, Overheads()) - latencies
        lost = seconds(collective, 4, 8e6, Overheads(queue=1e-3)) - latencies
        assert lost == pytest.approx(whole / sawtooth(0.25), rel=1e-6)
        lost = seconds(collective, 4, 8e6, Overheads(queue=1e-3, burst=5e6)) - latencies
        assert lost == pytest.approx(whole / sawtooth(0.025), rel=1e-6)
        assert seconds(collective, 4, 8e6, Overheads(queue=4e-3)) == seconds(collective, 4, 8e6, Overheads())
    with pytest.raises(SimgmcError, match="without a queue"):
        Overheads(burst=1e6)


def test_supports_unite_as_independent_draws_do():
    average = sparse(4, 4e6, 0.01)
    assert list(average.up) == [10_000 * 8] * 4 and not average.summable
    assert average.down == round(1e6 * (1 - 0.99**4) * 8)
    assert average.partial[0].sum() == pytest.approx(10_000 * 8, abs=4)
    assert sparse(4, 4e6, 1.0).down == 4_000_000
