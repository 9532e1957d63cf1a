"""Optimizers against torch.optim and their papers, in methods that leave the update to them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from simgmc.algorithms import ALGORITHMS, Algorithm
from simgmc.algorithms.optimizers import (
    LAMB,
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    GradientSettings,
    Group,
    Muon,
    NesterovSGD,
    WithOptimizer,
)
from simgmc.algorithms.optimizers.muon import orthogonalised
from simgmc.compression import build
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.mixing import everybody
from simgmc.training.stacked import StackedTrainer
from tests.algorithms.noisy_quadratic import Quadratic

STEPS, DECAY = 25, 0.02


@dataclass(frozen=True)
class Cast(Quadratic):
    """The quadratic in a stated precision, with two matrices and two vectors."""

    shapes: tuple[tuple[int, ...], ...] = ((4, 2), (4,), (3, 5), (2,))
    dtype: torch.dtype = torch.float64

    @property
    def layout(self):
        return Layout(("one.weight", "one.bias", "two.weight", "norm.weight"), self.shapes)

    def initial_parameters(self):
        return super().initial_parameters().to(self.dtype)

    def gradients(self, at, step):
        gradients, losses = super().gradients(at.double(), step)
        return gradients.to(self.dtype), losses


def rate(epoch):
    """Up and down, another in every step."""
    return 0.02 + 0.015 * math.cos(3 * epoch)


def train(algorithm, workload, steps=STEPS, decay=DECAY, lr_at=rate, mixing=None, **settings):
    """(steps, d): the mean model after every round."""
    trainer = StackedTrainer(
        algorithm, workload, lr_at, decay, mixing=mixing, settings=GradientSettings(**settings) if settings else None
    )
    found = []
    for _ in range(steps):
        trainer.next_round().with_everybody()
        found.append(trainer.model())
    return torch.stack(found)


def by_torch(make, workload, steps=STEPS, decay=DECAY, lr_at=rate, clip=0.0, accumulate=1, vectors=False, factors=None):
    """The same by torch.optim along the gradient of the mean loss: the gradient of all workers' batches together."""
    flat, layout = workload.initial_parameters(), workload.layout
    tensors = [
        torch.nn.Parameter(part.clone().view(shape))
        for part, shape in zip(flat.split(layout.sizes), layout.shapes, strict=True)
    ]
    factors = factors or [1.0] * len(tensors)
    decays = [decay if vectors or one.ndim > 1 else 0.0 for one in tensors]
    optimizers = [make(one, own) for one, own in zip(tensors, decays, strict=True)]
    found, step = [], 0
    for _ in range(steps):
        at = torch.cat([one.detach().view(-1) for one in tensors])
        lr = lr_at(step / workload.batches_per_epoch)
        parts = [workload.gradients(at[None], step + part)[0].mean(0) for part in range(accumulate)]
        step += accumulate
        for one, gradient in zip(tensors, torch.stack(parts).mean(0).split(layout.sizes), strict=True):
            one.grad = gradient.clone().view(one.shape)
        if clip:
            torch.nn.utils.clip_grad_norm_(tensors, clip)
        for optimizer, factor in zip(optimizers, factors, strict=True):
            optimizer.param_groups[0]["lr"] = lr * factor
            optimizer.step()
        found.append(torch.cat([one.detach().view(-1) for one in tensors]))
    return torch.stack(found)


def matrices_by(make, others):
    return lambda one, decay: (make if one.ndim > 1 else others)([one], weight_decay=decay)


def each(kind, **options):
    return lambda one, decay: kind([one], lr=1.0, weight_decay=decay, **options)


CASES = {
    "sgd": (SGD(momentum=0.9), each(torch.optim.SGD, momentum=0.9), True),
    "sgd without momentum": (SGD(momentum=0.0), each(torch.optim.SGD), True),
    "sgd-nesterov": (NesterovSGD(momentum=0.8), each(torch.optim.SGD, momentum=0.8, nesterov=True), True),
    "sgd, dampened": (SGD(momentum=0.9, dampening=0.3), each(torch.optim.SGD, momentum=0.9, dampening=0.3), True),
    "adam": (Adam(betas=(0.8, 0.95), eps=1e-6), each(torch.optim.Adam, betas=(0.8, 0.95), eps=1e-6), False),
    "adam, amsgrad": (Adam(amsgrad=True, decay_vectors=True), each(torch.optim.Adam, amsgrad=True), True),
    "adamw": (AdamW(betas=(0.9, 0.95)), each(torch.optim.AdamW, betas=(0.9, 0.95)), False),
}
if hasattr(torch.optim, "Muon"):
    for name, options, theirs in (
        ("muon", {"adjust": "match-rms", "ns_steps": 4}, {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 4}),
        ("muon, original, no nesterov", {"nesterov": False}, {"nesterov": False}),
    ):
        CASES[name] = (
            Muon(**options),
            lambda one, decay, theirs=theirs: (
                torch.optim.Muon([one], lr=1.0, weight_decay=decay, **theirs)
                if one.ndim > 1
                else torch.optim.AdamW([one], lr=1.0, weight_decay=decay)
            ),
            False,
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", CASES)
def test_data_parallel_is_torch_optim_on_the_batches_of_all(identity, name, workers, dtype):
    rule, make, vectors = CASES[name]
    workload = Cast(workers=workers, dtype=dtype)
    found = train(ALGORITHMS["data-parallel"](optimizer=rule), workload)
    off = (found - by_torch(make, workload, vectors=vectors)).abs().max()
    identity(f"    data-parallel = torch.optim, {name}", off, 1e-6 if dtype == torch.float32 else 1e-12)


def test_clipping_accumulation_and_groups_are_those_of_torch(identity):
    workload = Cast()
    groups = (Group(match=("one.*",), rate=0.5), Group(match=("norm.weight",), weight_decay=DECAY))
    rule = Adam(decay_vectors=False)
    for clip in (0.5, 1e6):
        found = train(
            ALGORITHMS["data-parallel"](optimizer=rule), workload, clip_norm=clip, accumulate=3, groups=groups
        )

        def make(one, decay):
            return torch.optim.Adam([one], lr=1.0, weight_decay=DECAY if one.shape == (2,) else decay)

        expected = by_torch(make, workload, clip=clip, accumulate=3, factors=[0.5, 0.5, 1, 1])
        identity("    clipped, accumulated, grouped = torch.optim", (found - expected).abs().max())


def test_own_clipping_bounds_every_workers_gradient_before_its_decay():
    workload, clip = Cast(), 0.4
    found = train(ALGORITHMS["sgd"](), workload, steps=1, clip_norm=clip)
    at = workload.initial_parameters()
    own = workload.gradients(at[None], 0)[0]
    assert (own.norm(dim=1) > clip).all()
    clipped = own * (clip / (own.norm(dim=1, keepdim=True) + 1e-6))
    assert torch.allclose(found[0], at - rate(0.0) * (clipped.mean(0) + DECAY * at), atol=1e-14)


@pytest.mark.parametrize("exempt", [False, True])
def test_lamb_is_its_papers_algorithm_2(identity, exempt):
    workload, (b1, b2), eps = Cast(), (0.9, 0.99), 1e-6
    found = train(ALGORITHMS["data-parallel"](optimizer=LAMB(betas=(b1, b2), eps=eps, exempt_vectors=exempt)), workload)
    x = list(workload.initial_parameters().split(workload.layout.sizes))
    m, v = [0.0] * len(x), [0.0] * len(x)
    for t in range(STEPS):
        gradient = workload.gradients(torch.cat(x)[None], t)[0].mean(0).split(workload.layout.sizes)
        lr = rate(t / workload.batches_per_epoch)
        for i, (g, shape) in enumerate(zip(gradient, workload.shapes, strict=True)):
            m[i], v[i] = b1 * m[i] + (1 - b1) * g, b2 * v[i] + (1 - b2) * g**2
            r = (m[i] / (1 - b1 ** (t + 1))) / ((v[i] / (1 - b2 ** (t + 1))).sqrt() + eps)
            u = r + (DECAY if len(shape) > 1 else 0.0) * x[i]
            ratio = 1.0 if exempt and len(shape) < 2 else x[i].norm() / u.norm()
            x[i] = x[i] - lr * ratio * u
        identity("    LAMB = Algorithm 2", (found[t] - torch.cat(x)).abs().max())


def test_muons_matrices_come_out_nearly_orthogonal():
    drawn = torch.randn(9, 6, 4, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(torch.stack([orthogonalised(one, 5) for one in drawn]).float())
    assert 0.6 < singular.min() and singular.max() < 1.3


# methods that leave the update to an optimizer

TOP, IDENTITY = build("top-k", count=3), build("identity")
OF_MEANS = {
    "ef": {"compressor": IDENTITY},
    "ef21": {"compressor": IDENTITY},
    "qsgd": {"compressor": IDENTITY},
    "powersgd": {"rank": 4},
    "0-1-adam": {"compressor": IDENTITY, "variance_scaler": 10**6, "local_steps_from": 10**6},
}


@pytest.mark.parametrize("name", OF_MEANS)
def test_without_loss_in_its_messages_a_method_is_data_parallel_training(identity, name):
    for rule in (AdamW(), Adam(bias_correction=False)):
        found = train(ALGORITHMS[name](**OF_MEANS[name], optimizer=rule), Cast())
        off = (found - train(ALGORITHMS["data-parallel"](optimizer=rule), Cast())).abs().max()
        identity(f"    {name} without loss = data-parallel", off)


OF_OWN = {
    "local-sgd": {"period": 1},
    "pr-sgd-momentum": {"period": 1},
    "qsparse-local-sgd": {"period": 1, "compressor": IDENTITY},
    "quantized-pr-sgd": {"period": 1, "compressor": IDENTITY},
    "slowmo": {"period": 1, "slow_momentum": 0.0},
    "ef-sgdm": {"compressor": IDENTITY},
    "cser": {"compressor": IDENTITY, "error_compressor": TOP},
    "d-psgd": {"order": "atc"},
    "d-psgd, cta": {},
    "dmsgd-gossip": {},
    "pd-sgdm": {"period": 1},
    "sgp": {},
    "choco-sgd": {"compressor": IDENTITY, "gamma": 1.0, "order": "hat_new"},
    "diloco": {"period": 1, "outer_lr": 1.0, "outer_momentum": 0.0},
}


@pytest.mark.parametrize("name", OF_OWN)
def test_one_worker_alone_takes_the_optimizers_own_steps(identity, name):
    """K = 1, one step a round and nothing lost: what is sent says nothing new."""
    workload = Cast(workers=1)
    algorithm = ALGORITHMS[name.partition(",")[0]]
    for rule in (AdamW(), Muon(), LAMB(), SGD(momentum=0.5, decoupled_weight_decay=True)):
        mixing = everybody(1) if algorithm.mixing != "none" else None
        found = train(algorithm(**OF_OWN[name], optimizer=rule), workload, mixing=mixing)
        expected = train(ALGORITHMS["data-parallel"](optimizer=rule), workload)
        identity(f"    {name}, K = 1 = its optimizer", (found - expected).abs().max(), 1e-11)


def test_decoupled_sgd_is_sgdw(identity):
    """Loshchilov and Hutter's Algorithm 1: the decay does not enter the momentum."""
    workload, x, m = Cast(), Cast().initial_parameters(), 0.0
    found = train(ALGORITHMS["data-parallel"](optimizer=SGD(decoupled_weight_decay=True)), workload)
    for t in range(STEPS):
        lr = rate(t / workload.batches_per_epoch)
        m = 0.9 * m + workload.gradients(x[None], t)[0].mean(0)
        x = x - lr * DECAY * x - lr * m
        identity("    decoupled SGD = SGDW", (found[t] - x).abs().max())


def test_an_outer_optimizer_has_buffers_and_a_rate_of_its_own(identity):
    """DiLoCo with Adam outside is FedAdam with AdamW inside."""
    workload, outer = Cast(), Adam(betas=(0.5, 0.6), eps=1e-3)
    algorithm = ALGORITHMS["diloco"](period=2, outer_lr=0.1, outer_optimizer=outer, optimizer=SGD(momentum=0.0))
    found, x, m, v = train(algorithm, workload, steps=10, decay=0.0), workload.initial_parameters(), 0.0, 0.0
    for t in range(10):
        own = x.expand(4, -1)
        for step in (2 * t, 2 * t + 1):
            own = own - rate(step / workload.batches_per_epoch) * workload.gradients(own, step)[0]
        moved = (x - own).mean(0)
        m, v = 0.5 * m + 0.5 * moved, 0.6 * v + 0.4 * moved**2
        x = x - 0.1 * (m / (1 - 0.5 ** (t + 1))) / ((v / (1 - 0.6 ** (t + 1))).sqrt() + 1e-3)
        identity("    DiLoCo with an outer Adam = formulas", (found[t] - x).abs().max())


def test_every_method_takes_any_optimizer_or_says_why_not():
    for name, cls in ALGORITHMS.items():
        takes = "optimizer" in cls.options()
        assert takes == (not cls.own_update), name
        assert takes == issubclass(cls, WithOptimizer) or cls.own_update, name
        assert cls.own_update != Algorithm.own_update, f"{name} does not say why"
        assert cls.own_update in cls.entry(name).details


def test_a_pattern_that_matches_nothing_is_refused_by_the_nearest_name():
    with pytest.raises(SimgmcError, match=r'optimizer.groups: match = "two.wight".*did you mean "two.weight"'):
        train(ALGORITHMS["sgd"](), Cast(), groups=(Group(match=("two.wight",), rate=1.0),))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_entry_states_source_and_state(name):
    entry = OPTIMIZERS[name].entry(name)
    assert entry.source and "State:" in f"{entry.summary} {entry.details}"


def test_a_rate_of_zero_moves_nothing():
    for rule in (Adam(), LAMB(), Muon(), AdamW()):
        found = train(ALGORITHMS["data-parallel"](optimizer=rule), Cast(), steps=2, lr_at=lambda epoch: 0.0)
        assert (found == Cast().initial_parameters()).all()


def test_options_that_do_not_go_together_are_refused():
    for build_one, says in (
        (lambda: Adam(betas=(0.9,)), "two numbers"),
        (lambda: SGD(nesterov=True, dampening=0.1), "dampening of 0"),
        (lambda: replace(AdamW(), eps=-1.0), "eps"),
        (lambda: Group(match=()), "at least one pattern"),
    ):
        with pytest.raises(SimgmcError, match=says):
            build_one()
