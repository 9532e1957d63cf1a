"""Distributed momentum SGD is serial momentum SGD; SNGM's two laws; LARS tensor by tensor."""

from __future__ import annotations

import pytest
import torch

from simgmc.algorithms.dgc import DGC
from simgmc.algorithms.gmc import GMC
from simgmc.algorithms.sgd import DMSGD, LARS, SGD, SNGM
from tests.algorithms.noisy_quadratic import Quadratic
from tests.algorithms.trajectories import IDENTITY, PROBLEM, ROUNDS, WEIGHT_DECAY, constant, difference, run, varying


def serial_momentum_sgd(form: str) -> torch.Tensor:
    """One machine on the mean objective: "m" (PyTorch's form) or "w" (with the plain last step)."""
    w = PROBLEM.initial_parameters()
    m, previous = torch.zeros_like(w), w
    points = [w]
    for t in range(ROUNDS):
        lr = varying(t / PROBLEM.batches_per_epoch)
        g = PROBLEM.gradients(w[None], t)[0].mean(0) + WEIGHT_DECAY * w
        if form == "m":
            m = 0.9 * m + g
            w = w - lr * m
        else:
            w, previous = w - lr * g + 0.9 * (w - previous), w
        points.append(w)
    return torch.stack(points)


@pytest.mark.parametrize("where", ["local", "global"])
def test_distributed_momentum_sgd_is_serial_momentum_sgd(identity, where):
    error = difference(run(DMSGD(momentum_at=where)).common, serial_momentum_sgd("m"))
    identity(f"1   DMSGD ({where} momentum) = serial momentum SGD", error)


def test_sgd_is_dmsgd_without_momentum(identity):
    identity("1   SGD = DMSGD(momentum = 0)", difference(run(SGD()).common, run(DMSGD(momentum=0.0)).common))


def test_uncompressed_gmc_with_the_current_rate_is_the_w_form_of_momentum(identity):
    gmc = run(GMC(IDENTITY, momentum_lr="current"))
    identity("2   GMC(I, current) = w-form of DMSGD", difference(gmc.common, serial_momentum_sgd("w")))


def test_the_two_momentum_forms_differ_once_the_rate_varies():
    assert difference(serial_momentum_sgd("m"), serial_momentum_sgd("w")) > 1e-3


@pytest.mark.parametrize("scale", [1e-3, 7.3, 1e4])
def test_scaling_the_loss_leaves_sngm_unchanged(identity, scale):
    plain = run(SNGM(), weight_decay=0.0)
    scaled = run(SNGM(), weight_decay=0.0, workload=Quadratic(scale=scale))
    identity("20  SNGM: scaling the loss changes nothing", difference(plain.common, scaled.common), 1e-11)


def test_no_step_of_sngm_is_longer_than_the_rate_over_one_minus_momentum():
    for momentum in (0.0, 0.5, 0.9):
        points = run(SNGM(momentum=momentum), lr_at=constant).common
        longest = float((points[1:] - points[:-1]).norm(dim=1).max())
        bound = constant(0) / (1 - momentum)
        assert 0.5 * bound < longest <= bound * (1 + 1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sngm_is_momentum_over_the_normalised_mean_gradient(identity, momentum):
    sngm = run(SNGM(momentum=momentum))
    points = sngm.common
    buffer, error = torch.zeros_like(points[0]), 0.0
    for t, one in enumerate(sngm.rounds):
        g = one.gradients[0].mean(0)
        buffer = momentum * buffer + g / g.norm()
        error = max(error, difference(points[t + 1], points[t] - one.lr * buffer))
    identity("20  SNGM = momentum over g / |g|", error)


def test_sngm_stands_still_at_a_zero_gradient():
    class AtOptimum(Quadratic):
        def initial_parameters(self):
            return self.centres[0].clone()

    end = run(SNGM(), rounds=3, weight_decay=0.0, workload=AtOptimum(workers=1, noise=0.0)).common[-1]
    assert torch.isfinite(end).all()


@pytest.mark.parametrize("exempt", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_lars_is_its_formulas_tensor_by_tensor(identity, exempt, weight_decay):
    """A zero tensor, and one without a gradient, move as with the plain rate."""

    class SomeZeros(Quadratic):
        def initial_parameters(self):
            start = super().initial_parameters()
            start[2:6] = 0.0
            return start

        def gradients(self, at, step):
            found, losses = super().gradients(at, step)
            found[:, 12:16] = 0.0
            return found, losses

    problem = SomeZeros(shapes=((1, 2), (2, 2), (6,), (2, 2)))
    w = [part.clone() for part in problem.initial_parameters().split([2, 4, 6, 4])]
    v = [torch.zeros_like(part) for part in w]
    points = [torch.cat(w)]
    for t in range(ROUNDS):
        rate = varying(t / problem.batches_per_epoch)
        g = problem.gradients(torch.cat(w)[None], t)[0].mean(0).split([2, 4, 6, 4])
        for i, (own, given) in enumerate(zip(w, g, strict=True)):
            if i == 2 and exempt:
                ratio, step = 1.0, given
            else:
                step = given + weight_decay * own
                plain = own.norm() == 0 or given.norm() == 0
                ratio = 1.0 if plain else 0.5 * own.norm() / (given.norm() + weight_decay * own.norm())
            v[i] = 0.9 * v[i] + rate * ratio * step
            w[i] = own - v[i]
        points.append(torch.cat(w))
    lars = run(LARS(trust_coefficient=0.5, exempt_vectors=exempt), weight_decay=weight_decay, workload=problem)
    identity("    LARS = formulas, varying rate, weight decay", difference(lars.common, torch.stack(points)), 1e-11)


def test_lars_whose_tensors_are_all_exempt_is_momentum_sgd(identity):
    problem = Quadratic(shapes=((8,), (4,)))
    lars, dmsgd = (run(one, lr_at=constant, weight_decay=0.0, workload=problem) for one in (LARS(), DMSGD()))
    identity("    LARS(all exempt, constant rate) = DMSGD", difference(lars.common, dmsgd.common))


@pytest.mark.parametrize("scale", [1e-3, 7.3, 1e4])
def test_scaling_the_loss_leaves_lars_unchanged(identity, scale):
    method = LARS(trust_coefficient=0.3, exempt_vectors=False)
    plain = run(method, weight_decay=0.0)
    scaled = run(method, weight_decay=0.0, workload=Quadratic(scale=scale))
    identity("    LARS: scaling the loss changes nothing", difference(plain.common, scaled.common), 1e-11)


def test_uncompressed_methods_approach_the_optimum_and_stay():
    still = Quadratic(noise=0.0)
    for algorithm in (SGD(), DMSGD(), GMC(IDENTITY), DGC(IDENTITY)):
        end = run(algorithm, constant, 300, 0.0, still).common[-1]
        assert difference(end, still.optimum) < 0.1 * difference(still.initial_parameters(), still.optimum)
