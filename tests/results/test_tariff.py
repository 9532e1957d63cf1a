"""Money and energy: what prices and watts make of a run's bytes and seconds, in closed form."""

from __future__ import annotations

import pytest

from simgmc.results.series.read import read_results
from simgmc.results.series.sentences import sentences
from simgmc.results.series.summary import record, summarize
from simgmc.results.series.tariff import Power, Tariff
from simgmc.results.series.verdict import Verdict
from tests.results.synthetic_runs import accuracy_curve, write_run

PRICED = """
[workload]
workers = 8
[report.price]
currency = "EUR"
per_gb_sent = 0.5
per_worker_hour = 3.6
[report.power]
compute = "300 W"
network = "0.1 kW"
idle = "50 W"
"""


@pytest.fixture
def run(tmp_path):
    """200 rounds of 1 s in which 8 workers send 1 kB each; over a server as much comes back."""
    points = [{"cluster.collective": name} for name in ("ring", "parameter_server")]
    directory = write_run(tmp_path, {"GMC": accuracy_curve(0.9, 0.5)}, points=points, seeds=(0,))
    directory.replace(directory.path / "scenario.toml", PRICED.encode())
    return directory


def test_money_is_for_what_leaves_workers_and_servers_and_for_the_workers_hours(run):
    ring, server = summarize(read_results(run), 0.8)
    hours, sent = 8 * 200 / 3600 * 3.6, 8 * 200 * 1000 / 1e9 * 0.5
    assert ring.bill.money.mean == pytest.approx(hours + sent, rel=1e-12)
    assert server.bill.money.mean == pytest.approx(hours + 2 * sent, rel=1e-12)
    share = ring.reach.spread.mean / 200  # rounds are alike: as much of the money as of the time
    assert 0 < share < 1
    assert ring.bill.money_to_target.mean == pytest.approx(share * (hours + sent), rel=1e-12)
    assert server.bill.money_to_target.mean == pytest.approx(share * (hours + 2 * sent), rel=1e-12)


def test_energy_is_watts_by_what_workers_do_times_its_seconds(run):
    """11 % of the time computing or compressing, 79 % in exchanges, 10 % waiting."""
    row = summarize(read_results(run), 0.8)[0]
    whole = 8 * 200 * (0.11 * 300 + 0.79 * 100 + 0.10 * 50) / 3.6e6
    assert row.bill.energy_kwh.mean == pytest.approx(whole, rel=1e-9)
    assert row.bill.energy_to_target_kwh.mean == pytest.approx(whole * row.reach.spread.mean / 200, rel=1e-9)


def test_the_verdict_says_who_gets_there_with_the_least_money_and_energy(run):
    """Over a server the same time costs more, as the server sends as well."""
    told = sentences(Verdict(read_results(run), 0.8, "GMC"))
    assert told[-2].startswith("Cheapest at 80 %: GMC over ring, 0.") and told[-2].endswith(" EUR.")
    assert told[-1].startswith("With the least energy at 80 %: GMC over ") and told[-1].endswith(" kWh.")


def test_columns_are_there_where_prices_or_watts_are_stated_and_only_then(run):
    def columns():
        results = read_results(run)
        return set(record(results, summarize(results, 0.8)[0]))

    money, energy = {"cost_mean_EUR", "cost_to_target_mean_EUR"}, {"energy_mean_kwh", "energy_to_target_mean_kwh"}
    assert money | energy <= columns()
    power = PRICED[PRICED.index("[report.power]") :]
    run.replace(run.path / "scenario.toml", power.encode())
    assert energy <= columns() and not money & columns()
    run.replace(run.path / "scenario.toml", b"")
    assert not (money | energy) & columns()


def test_the_number_of_workers_may_be_the_grids(tmp_path):
    points = [{"cluster.collective": "ring", "workload.workers": number} for number in ("2", "4")]
    directory = write_run(tmp_path, {"GMC": accuracy_curve(0.9, 0.5)}, points=points, seeds=(0,))
    few, many = read_results(directory).series
    hourly = Tariff(None, "EUR", per_worker_hour=1.0, power=Power(1.0, 1.0, 1.0))
    assert hourly.money(many) == 2 * hourly.money(few) and hourly.energy_kwh(many) == 2 * hourly.energy_kwh(few)
