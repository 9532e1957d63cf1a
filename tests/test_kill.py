"""A run that is killed with SIGKILL again and again ends with the files of one that never was."""

from __future__ import annotations

import pytest
import tomli_w

from killing import Commands, killed_again_and_again
from test_simulation import SMALL

METHODS = {
    "gmc": {"name": "GMC", "algorithm": "gmc", "compressor": {"name": "sampled-top-k", "density": 0.05}},
}


def write(folder, method, rounds):
    content = {
        **SMALL,
        "workload": {**SMALL["workload"], "rounds": rounds, "evaluate_every": f"{rounds // 10} rounds"},
        "methods": [METHODS[method], {"name": "DMSGD", "algorithm": "dmsgd"}],
    }
    (folder / "small.toml").write_text(tomli_w.dumps(content))
    return folder / "small.toml"


@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_at_random_moments_ends_as_one_never_killed(tmp_path, method):
    with Commands(tmp_path / "log", forked=True) as commands:
        kills = killed_again_and_again(commands, write(tmp_path, method, 300), tmp_path, kills=4, seed=5)
    assert kills >= 4


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_at_20_random_moments_ends_as_one_never_killed(tmp_path, method):
    with Commands(tmp_path / "log", forked=False) as commands:
        kills = killed_again_and_again(commands, write(tmp_path, method, 3000), tmp_path, kills=20, seed=6)
    assert kills >= 20
