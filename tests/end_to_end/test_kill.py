"""A run that is killed with SIGKILL again and again ends with the files of one that never was."""

from __future__ import annotations

import pytest
import tomli_w

from tests.end_to_end.killing import Commands, killed_again_and_again
from tests.small_runs import SMALL

QUICK = ["gmc", "swarm-sgd"]
METHODS = {
    "gmc": {"compressor": {"name": "sampled-top-k", "density": 0.05}},
    "swarm-sgd": {},
    "ad-psgd": {},
}


def write(folder, method, rounds):
    content = {
        **SMALL,
        "workload": {**SMALL["workload"], "rounds": rounds, "evaluate_every": f"{rounds // 10} rounds"},
        "cluster": {**SMALL["cluster"], "collective": "ring"},
        "methods": [{"name": method, "algorithm": method, **METHODS[method]}, {"name": "DMSGD", "algorithm": "dmsgd"}],
    }
    if method != "gmc":
        content["gossip"] = {"graph": "ring"}
    (folder / "small.toml").write_text(tomli_w.dumps(content))
    return folder / "small.toml"


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    with Commands(tmp_path_factory.mktemp("commands") / "log", forked=True) as commands:
        yield commands


@pytest.mark.parametrize("method", QUICK)
def test_a_run_killed_at_random_moments_ends_as_one_never_killed(commands, tmp_path, method):
    assert killed_again_and_again(commands, write(tmp_path, method, 100), tmp_path, kills=3, seed=5) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_at_20_random_moments_ends_as_one_never_killed(commands, tmp_path, method):
    assert killed_again_and_again(commands, write(tmp_path, method, 1000), tmp_path, kills=20, seed=6) >= 20


@pytest.mark.slow
def test_a_new_interpreter_each_time_makes_no_difference(tmp_path):
    with Commands(tmp_path / "log", forked=False) as commands:
        assert killed_again_and_again(commands, write(tmp_path, "gmc", 300), tmp_path, kills=4, seed=7) >= 4
