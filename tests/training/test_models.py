"""Registered models: published parameter counts, seeded initial parameters, clear refusals."""

import subprocess
import sys

import pytest
import torch

from simgmc.errors import SimgmcError
from simgmc.training.models import MODELS, build_model, check_model


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("shortcut", "published"), [("A", 269_722), ("B", 272_474)])
def test_resnet20_has_the_published_number_of_parameters(norm, shortcut, published):
    model = build_model("resnet20", (3, 32, 32), 10, 0, norm=norm, shortcut=shortcut)
    assert count(model) == published
    assert sum(isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)) for m in model.modules()) == (
        20 if shortcut == "A" else 22
    )


def test_resnet20_default_is_batch_norm_with_1x1_convolution_shortcuts():
    assert check_model("resnet20", (3, 32, 32)) == {"norm": "batch", "shortcut": "B", "groups": 8}


def test_parameters_of_the_small_models_in_closed_form():
    assert count(build_model("logistic", (1, 8, 8), 10, 0)) == 64 * 10 + 10
    assert count(build_model("mlp", (1, 28, 28), 10, 0, hidden=[256])) == 784 * 256 + 256 + 2570
    convolutions = 9 * (3 * 16 + 16 * 32) + 2 * (16 + 32)
    assert count(build_model("cnn", (3, 32, 32), 10, 0)) == convolutions + 32 * 8 * 8 * 10 + 10


@pytest.mark.parametrize("name", MODELS)
def test_initial_parameters_depend_on_the_seed_alone(name):
    def parameters(seed):
        return torch.cat([p.flatten() for p in build_model(name, (3, 32, 32), 10, seed).parameters()])

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = parameters(0)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, parameters(0))
    assert not torch.equal(first, parameters(1))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_maps_a_batch_to_one_logit_per_class(name):
    model = build_model(name, (3, 32, 32), 7, 0)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("resnet", (3, 32, 32), {}, "did you mean 'resnet20'"),
        ("resnet20", (3, 32, 32), {"norm": "layer"}, "one of 'batch', 'group'"),
        ("resnet20", (3, 32, 32), {"norm": "group", "groups": 3}, "must divide"),
        ("resnet20", (64,), {}, "needs images"),
        ("cnn", (1, 3, 3), {}, "at least 4 pixels"),
        ("cnn", (1, 8, 8), {"channels": [12]}, "must divide"),
        ("cnn", (1, 8, 8), {"channels": 16}, "list of whole numbers"),
        ("mlp", (64,), {"hidden": [0]}, "each at least 1"),
        ("mlp", (64,), {"hiden": [8]}, "did you mean 'hidden'"),
    ],
)
def test_wrong_models_are_refused(name, shape, options, message):
    with pytest.raises(SimgmcError, match=message):
        check_model(name, shape, **options)


def test_registries_load_neither_torch_nor_simpy_nor_sklearn():
    program = (
        "import sys, simgmc.training.models, simgmc.training.datasets, simgmc.training.partitions\n"
        "print([m for m in ('torch', 'simpy', 'sklearn', 'pydantic', 'click') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_engine_loads_neither_simpy_nor_pydantic_nor_click():
    program = (
        "import sys, simgmc.training.workload\n"
        "print([m for m in ('simpy', 'pydantic', 'click') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
