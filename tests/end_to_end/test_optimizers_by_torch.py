"""Data-parallel training of a real module is torch.optim on the concatenated batch, however many workers share it."""

from __future__ import annotations

import contextlib
import csv
import io

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import simgmc

STEPS, SAMPLES, RATE, DECAY, CLIP = 12, 32, 0.02, 0.1, 0.3


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 3))


def data(seed):
    x = torch.randn(SAMPLES, 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x[:, 0] > 0).long() + (x[:, 1] > 0.3).long())


def by_simgmc(optimizer, workers, out):
    content = {
        "seeds": [1],
        "workload": {
            "workers": workers, "batch_per_worker": SAMPLES // workers, "rounds": STEPS, "evaluate_every": "1 round",
        },
        "optimizer": {"learning_rate": RATE, "weight_decay": DECAY, "clip_norm": CLIP, "schedule": [
            {"kind": "linear", "start": 0.25, "end": 1.0, "steps": 4}, {"kind": "cosine", "end": 0.1}]} | optimizer,
        "cluster": {
            "bandwidth": "1 Mbit/s", "latency": "5 ms", "collective": "ring",
            "compute": {"gradient": "5 ms", "compression": "1 ms", "aggregation": "1 ms"},
        },
        "methods": [{"algorithm": "data-parallel"}],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        path = simgmc.run(content, out=out, train=data(0), test=data(1), model=model, device="cpu", threads=1)
    with (path / "metrics.csv").open() as file:
        return [float(row["test_loss"]) for row in csv.DictReader(file)]


def by_torch(make):
    module, (x, y), (xt, yt), loss = model(), data(0).tensors, data(1).tensors, nn.CrossEntropyLoss()
    optimizers = make([one for one in module.parameters() if one.ndim > 1], [
        one for one in module.parameters() if one.ndim < 2])  # fmt: skip
    schedulers = [
        torch.optim.lr_scheduler.SequentialLR(
            one,
            [
                torch.optim.lr_scheduler.LinearLR(one, 0.25, 1.0, 4),
                torch.optim.lr_scheduler.CosineAnnealingLR(one, STEPS - 4, eta_min=0.1 * RATE),
            ],
            [4],
        )
        for one in optimizers
    ]
    found = []
    for step in range(STEPS + 1):
        with torch.no_grad():
            found.append(loss(module(xt), yt).item())
        if step < STEPS:
            module.zero_grad()
            loss(module(x), y).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP)
            for one in (*optimizers, *schedulers):
                one.step()
    return found


def adamw(matrices, vectors, kind=torch.optim.AdamW, **options):
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return [kind(groups, lr=RATE, **options)]


def muon(matrices, vectors):
    by_adam = torch.optim.AdamW(vectors, lr=RATE, weight_decay=0.0)
    return [torch.optim.Muon(matrices, lr=RATE, weight_decay=DECAY), by_adam]


CASES = {
    "adamw": ({"name": "adamw", "betas": [0.9, 0.95]}, lambda m, v: adamw(m, v, betas=(0.9, 0.95))),
    "adam": ({"name": "adam"}, lambda m, v: adamw(m, v, torch.optim.Adam)),
    "sgd-nesterov": (
        {"name": "sgd-nesterov"},
        lambda m, v: [torch.optim.SGD([*m, *v], RATE, 0.9, weight_decay=DECAY, nesterov=True)],
    ),
}
if hasattr(torch.optim, "Muon"):
    CASES["muon"] = ({"name": "muon"}, muon)


@pytest.mark.parametrize("name", CASES)
def test_one_and_four_workers_train_as_torch_on_all_samples(tmp_path, name):
    optimizer, make = CASES[name]
    expected = by_torch(make)
    assert abs(expected[-1] - expected[0]) > 0.05
    for workers in (1, 4):
        # bfloat16 inside Muon turns the last bit of a float32 sum into a step of its own
        tolerance = 1e-3 if name == "muon" else 2e-6
        assert by_simgmc(optimizer, workers, tmp_path / str(workers)) == pytest.approx(expected, rel=tolerance)
