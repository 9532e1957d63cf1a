"""The gradient engine against fresh modules with plain ``backward``."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from simgmc.training.datasets import Dataset
from simgmc.training.models import build_model
from simgmc.training.partitions import partition
from simgmc.training.workload import (
    ClassificationWorkload,
    gradient_flops,
    measure_gradient_seconds,
)

WORKERS, BATCH, CLASSES = 5, 4, 10


def synthetic(shape, train=103, test=30):
    """Random pictures; bytes, so that normalisation takes part."""
    rng = np.random.default_rng(0)
    return Dataset(
        "random",
        rng.integers(0, 256, (train, *shape), dtype=np.uint8),
        rng.integers(0, CLASSES, train),
        rng.integers(0, 256, (test, *shape), dtype=np.uint8),
        rng.integers(0, CLASSES, test),
        CLASSES,
        np.linspace(100, 130, shape[0]),
        np.linspace(50, 70, shape[0]),
    )


def make(model, shape, **options):
    data = synthetic(shape)
    owned = partition("iid", data.train_labels, WORKERS, 0)
    options = {"batch": BATCH, "seed": 3, "dtype": torch.float64, **options}
    return ClassificationWorkload(model, data, owned, **options)


MODELS = {
    "logistic": ("logistic", (1, 8, 8), {}),
    "mlp": ("mlp", (1, 8, 8), {"hidden": [24, 16]}),
    "mlp on colour": ("mlp", (3, 6, 5), {"hidden": [12]}),
    "cnn": ("cnn", (3, 12, 12), {}),
    "cnn on grey": ("cnn", (1, 9, 9), {}),
    "resnet20-BN": ("resnet20", (3, 16, 16), {}),
    "resnet20-GN": ("resnet20", (3, 16, 16), {"norm": "group"}),
    "resnet20-BN-A": ("resnet20", (3, 16, 16), {"shortcut": "A"}),
}


def build(case):
    name, shape, options = MODELS[case]
    return build_model(name, shape, CLASSES, seed=1, **options), shape


def fresh_modules(model):
    return [copy.deepcopy(model).double().train() for _ in range(WORKERS)]


def set_parameters(module, vector):
    with torch.no_grad():
        for p, part in zip(
            module.parameters(), vector.split([p.numel() for p in module.parameters()]), strict=True
        ):
            p.copy_(part.view_as(p))


def plain_gradient(workload, module, point, worker, step):
    """Normalised minibatch in the plain memory format, a fresh pass, ``backward``."""
    index = workload._minibatches.indices(step, worker)
    data = synthetic(MODELS_SHAPE[id(workload)])
    mean, std = (np.reshape(v, (-1, 1, 1)) for v in (data.mean, data.std))
    x = torch.from_numpy((data.train_images[index] - mean) / std)
    set_parameters(module, point)
    module.zero_grad()
    loss = F.cross_entropy(module(x), torch.from_numpy(data.train_labels[index]))
    loss.backward()
    return torch.cat([p.grad.reshape(-1) for p in module.parameters()]), loss.detach()


MODELS_SHAPE: dict[int, tuple] = {}


@pytest.mark.parametrize("shared", [True, False], ids=["shared point", "separate points"])
@pytest.mark.parametrize("case", MODELS)
def test_gradients_losses_and_buffers_equal_those_of_separate_modules(case, shared):
    model, shape = build(case)
    workload = make(model, shape)
    MODELS_SHAPE[id(workload)] = shape
    modules = fresh_modules(model)
    generator = torch.Generator().manual_seed(5)
    for step in range(2):
        rows = 1 if shared else WORKERS
        noise = torch.randn(rows, workload.d, generator=generator, dtype=torch.float64)
        at = workload.initial_parameters() + 0.05 * noise
        gradients, losses = workload.gradients(at, step)
        for worker, module in enumerate(modules):
            point = at[0 if shared else worker]
            expected, loss = plain_gradient(workload, module, point, worker, step)
            torch.testing.assert_close(gradients[worker], expected, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(losses[worker], loss, rtol=1e-12, atol=1e-12)
    state = workload.state_dict()
    for worker, module in enumerate(modules):
        for name, buffer in module.named_buffers():
            torch.testing.assert_close(state[name][worker], buffer, rtol=1e-12, atol=1e-12)
