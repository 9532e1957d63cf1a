"""The model that a training ends with is kept as a file that plain PyTorch loads."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import TensorDataset

import simgmc
from simgmc.results.directory.run_directory import open_run


class Net(nn.Module):
    """Convolutions (channels-last inside), batch norm, a buffer that is no number, tied weights."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6)
        self.first, self.second, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.second.weight = self.first.weight
        self.register_buffer("phase", torch.ones(2, dtype=torch.complex128))

    def forward(self, x):
        return self.out(self.second(self.first(self.norm(self.conv(x)).mean((2, 3)))))


torch.manual_seed(0)
X = torch.randn(48, 1, 6, 6)
Y = (X.mean((1, 2, 3)) > 0).long()
TRAIN, TEST = TensorDataset(X[:32], Y[:32]), TensorDataset(X[32:], Y[32:])


def run(out, *methods, learning_rate=0.05, overwrite=True):
    scenario = {
        "seeds": [3],
        "workload": {"workers": 4, "batch_per_worker": 4, "rounds": 4, "evaluate_every": "2 rounds"},
        "optimizer": {"learning_rate": learning_rate, "momentum": 0.0},
        "gossip": {"graph": "ring"},
        "cluster": {
            "topology": "star", "bandwidth": "1 Mbit/s", "latency": "5 ms", "collective": "ring",
            "compute": {"gradient": "5 ms", "compression": "1 ms", "aggregation": "1 ms"},
        },
        "methods": [{"algorithm": method} for method in methods],
    }  # fmt: skip
    torch.manual_seed(1)
    return simgmc.run(scenario, out=out, model=Net(), train=TRAIN, test=TEST, overwrite=overwrite)


METHODS = "sgd", "d-psgd", "async-sgd"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("models") / "run", *METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_the_file_is_the_model_of_the_last_evaluation(finished, method):
    file = finished / "models" / f"{method}, seed 3.safetensors"
    model = Net()
    missing, unexpected = model.load_state_dict(load_file(file), strict=False)
    assert missing == ["phase"] and not unexpected  # of a type that the format has no name for
    model.eval()
    with torch.no_grad():
        logits = model(X[32:])
    last = {key.method: rows[-1] for key, rows in open_run(finished).evaluations().items()}[method]
    assert nn.functional.cross_entropy(logits, Y[32:]).item() == pytest.approx(last.test_loss, rel=1e-5)
    with safe_open(file, "pt") as opened:
        about = json.loads(opened.metadata()["simgmc"])
    assert (about["method"], about["seed"], about["round"], about["left out"]) == (method, 3, last.round, ["phase"])


def test_the_same_run_is_the_same_bytes_and_overwriting_leaves_no_other_models(finished, tmp_path):
    again = run(tmp_path / "run", *METHODS[:1], "signsgd")
    assert sorted(file.name for file in (again / "models").iterdir()) == [
        "sgd, seed 3.safetensors", "signsgd, seed 3.safetensors",
    ]  # fmt: skip
    again = run(tmp_path / "run", *METHODS)
    files = sorted((again / "models").iterdir())
    assert [file.name for file in files] == sorted(file.name for file in (finished / "models").iterdir())
    for file in files:
        assert file.read_bytes() == (finished / "models" / file.name).read_bytes()


def test_of_a_training_that_diverged_there_is_none(tmp_path):
    assert not (run(tmp_path / "run", "sgd", learning_rate=1e20) / "models").exists()


def test_a_run_without_models_is_finished_all_the_same(finished, tmp_path):
    before = {file.name: file.read_bytes() for file in finished.path.iterdir() if file.is_file()}
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("models"))
    run(tmp_path / "run", *METHODS, overwrite=False)
    assert not (tmp_path / "run" / "models").exists()
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir() if file.is_file()}


def test_a_replay_keeps_the_models_of_what_it_puts_on_another_network(finished, tmp_path):
    again = simgmc.replay(finished, set={"cluster.bandwidth": "2 Mbit/s"}, out=tmp_path / "again", quiet=True)
    kept = {file.name: file.read_bytes() for file in (again.path / "models").iterdir()}
    assert len(kept) == 2  # of the methods that the clock does not drive
    assert all((finished / "models" / name).read_bytes() == content for name, content in kept.items())
