"""A run that is killed with SIGKILL again and again ends with the files of one that never was."""

from __future__ import annotations

import pytest
import tomli_w

from tests.end_to_end.killing import Commands, killed_again_and_again
from tests.small_runs import SMALL

METHODS = {
    "gmc": {"compressor": {"name": "sampled-top-k", "density": 0.05}},
    "swarm-sgd": {},
    "ad-psgd": {},
    "dmsgd": {},
}


def write(folder, rounds, *methods):
    content = {
        **SMALL,
        "workload": {**SMALL["workload"], "rounds": rounds, "evaluate_every": f"{rounds // 10} rounds"},
        "cluster": {**SMALL["cluster"], "collective": "ring"},
        "methods": [{"name": name, "algorithm": name, **METHODS[name]} for name in methods],
        "gossip": {"graph": "ring"},
        "report": {**SMALL["report"], "baseline": methods[-1]},
    }
    (folder / "small.toml").write_text(tomli_w.dumps(content))
    return folder / "small.toml"


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    with Commands(tmp_path_factory.mktemp("commands") / "log", forked=True) as commands:
        yield commands


def test_a_run_killed_at_random_moments_ends_as_one_never_killed(commands, tmp_path):
    scenario = write(tmp_path, 40, "gmc", "swarm-sgd")
    assert killed_again_and_again(commands, scenario, tmp_path, kills=3, seed=5) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gmc", "swarm-sgd", "ad-psgd"])
def test_a_run_killed_at_20_random_moments_ends_as_one_never_killed(commands, tmp_path, method):
    assert killed_again_and_again(commands, write(tmp_path, 1000, method, "dmsgd"), tmp_path, kills=20, seed=6) >= 20


@pytest.mark.slow
def test_a_new_interpreter_each_time_makes_no_difference(tmp_path):
    with Commands(tmp_path / "log", forked=False) as commands:
        assert killed_again_and_again(commands, write(tmp_path, 300, "gmc", "dmsgd"), tmp_path, kills=4, seed=7) >= 4
