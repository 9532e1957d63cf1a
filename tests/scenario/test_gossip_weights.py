"""Weights of gossip: who reads them is said, and weights that nobody reads are refused."""

import tomllib

import pytest
import tomli_w
from click.testing import CliRunner

from simgmc.cli import main
from simgmc.core.errors import SimgmcError
from simgmc.experiment.header import gossip_lines
from simgmc.scenario import ScenarioFile
from tests.small_runs import SMALL

GOSSIP = {"name": "Gossip", "algorithm": "d-psgd"}
SWARM = {"name": "Swarm", "algorithm": "swarm-sgd"}
OSGP = {"name": "OSGP", "algorithm": "osgp"}
CENTRAL = {"name": "DMSGD", "algorithm": "dmsgd"}
STATED = {"name": "stated", "matrix": [[1 / 4] * 4] * 4}


def scenario(*methods, **changes):
    made = {
        **SMALL,
        "methods": list(methods),
        "report": {"baseline": methods[0]["name"]},
        "gossip": {"graph": "ring", "weights": "uniform"},
        **changes,
    }
    return ScenarioFile({key: value for key, value in made.items() if value is not None}, "small.toml")


@pytest.mark.parametrize(
    ("methods", "who"), [([SWARM], "swarm-sgd reads"), ([SWARM, OSGP, CENTRAL], "swarm-sgd, osgp read")]
)
def test_weights_for_all_are_refused_where_those_who_share_them_read_the_graph_alone(methods, who):
    with pytest.raises(SimgmcError) as error:
        scenario(*methods)
    assert (
        f'gossip.weights = {{ name = "uniform" }}: {who} the graph alone, no weights, and no other method shares them; '
        f"leave them out" in str(error.value)
    )


def test_a_method_with_weights_of_its_own_does_not_share_them():
    own = {**GOSSIP, "gossip": {"graph": "ring", "weights": "uniform"}}
    with pytest.raises(SimgmcError, match="gossip.weights.*swarm-sgd reads the graph alone"):
        scenario(SWARM, own)


def test_weights_are_accepted_where_somebody_reads_them_and_it_is_said_who():
    file = scenario(GOSSIP, SWARM, OSGP)
    assert tomllib.loads(file.resolved())["gossip"] == {"graph": {"name": "ring"}, "weights": {"name": "uniform"}}
    assert [line.partition(", spectral gap")[0] for line in gossip_lines(file.points[0].scenario)] == [
        "Gossip: ring with uniform weights, 8 messages a round",
        "Swarm: ring; in pairs, half of each: the graph alone is read, no weights",
        "OSGP: ring; 1 / (1 + out-degree) to each and kept: the graph alone is read, no weights",
    ]


def test_the_resolved_scenario_has_no_weights_that_nobody_reads():
    own = {**OSGP, "gossip": {"graph": "exponential"}}
    content = tomllib.loads(scenario(SWARM, own, gossip={"graph": "ring"}).resolved())
    assert content["gossip"] == {"graph": {"name": "ring"}}
    assert content["methods"][1]["gossip"] == {"graph": {"name": "exponential"}}
    again = ScenarioFile(content, "again.toml")
    assert tomllib.loads(again.resolved()) == content


def test_without_a_graph_the_resolved_scenario_says_that_everybody_meets_everybody():
    file = scenario(SWARM, gossip=None)
    content = tomllib.loads(file.resolved())
    assert content["gossip"] == {"graph": {"name": "complete"}}
    assert gossip_lines(file.points[0].scenario) == gossip_lines(ScenarioFile(content, "again.toml").points[0].scenario)
    assert "gossip" not in tomllib.loads(scenario(CENTRAL, gossip=None).resolved())


def test_a_stated_matrix_is_a_graph_for_those_who_read_no_weights():
    file = scenario(SWARM, gossip={"weights": STATED})
    assert tomllib.loads(file.resolved())["gossip"] == {"weights": STATED}
    assert gossip_lines(file.points[0].scenario) == [
        "Swarm: stated matrix; in pairs, half of each: the graph alone is read, no weights"
    ]


def test_choosing_methods_that_read_no_weights_leaves_them_out():
    file = scenario(SWARM, GOSSIP, grid={"gossip.weights": ["uniform", "metropolis-hastings"]})
    chosen = file.only(["Swarm"])
    assert len(file.points) == 2 and len(chosen.points) == 1
    assert tomllib.loads(chosen.resolved())["gossip"] == {"graph": {"name": "ring"}}
    assert file.only(["Swarm", "Gossip"]).resolved() == file.resolved()


def test_check_says_who_reads_which_weights(tmp_path):
    (tmp_path / "small.toml").write_text(tomli_w.dumps(scenario(GOSSIP, SWARM).content))
    output = CliRunner().invoke(main, ["check", str(tmp_path / "small.toml")]).output
    assert "# gossip: Gossip: ring with uniform weights, 8 messages a round\n" in output
    assert "# gossip: Swarm: ring; in pairs, half of each: the graph alone is read, no weights\n" in output
