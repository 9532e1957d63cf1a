"""``simgmc run --method``: a scenario with some of its methods."""

from __future__ import annotations

import tomllib

import pytest
from click.testing import CliRunner

from simgmc.cli import main
from simgmc.core.errors import SimgmcError
from simgmc.scenario import ScenarioFile
from tests.small_runs import SMALL


def scenario(*settings):
    return ScenarioFile(SMALL, "small.toml", settings)


def test_the_scenario_holds_the_chosen_methods_in_its_own_order():
    chosen = scenario().only(["DGC", "DMSGD"])
    assert [method["name"] for method in tomllib.loads(chosen.resolved())["methods"]] == ["DMSGD", "DGC"]


def test_all_methods_chosen_are_the_scenario_as_it_was():
    before = scenario(("grid.methods.GMC.compressor.density", [0.1, 0.2]))
    assert before.only([method["name"] for method in SMALL["methods"]]).resolved() == before.resolved()


@pytest.mark.parametrize("key", ["methods.DGC.compressor.density", "methods.2.compressor.density"])
def test_grid_keys_go_with_their_methods(key):
    before = scenario((f"grid.{key}", [0.1, 0.2]), ("grid.cluster.bandwidth", ["1 Mbit/s", "2 Mbit/s"]))
    with_it, without = before.only(["DMSGD", "DGC"]), before.only(["DMSGD", "GMC"])
    assert list(without.grid) == ["cluster.bandwidth"]
    assert sorted({point.scenario.methods[1].compressor.options["density"] for point in with_it.points}) == [0.1, 0.2]


def test_the_baseline_must_be_among_them():
    with pytest.raises(
        SimgmcError,
        match=(
            r'report.baseline = "DMSGD": is not among the chosen methods \(GMC, DGC\); choose it too, or set '
            r"report.baseline"
        ),
    ):
        scenario().only(["GMC", "DGC"])
    assert len(scenario(("report.baseline", "GMC")).only(["GMC"]).points[0].scenario.methods) == 1


def test_an_unknown_method_is_refused_with_what_is_near():
    with pytest.raises(SimgmcError, match="no method is called 'GMCC'; did you mean \"GMC\"?"):
        scenario().only(["DMSGD", "GMCC"])


def test_the_command_line_hands_them_on():
    found = CliRunner().invoke(main, ["run", "scenarios/quickstart.toml", "--method", "GMC", "--dry-run"])
    assert found.exit_code == 2 and "is not among the chosen methods (GMC)" in found.output
