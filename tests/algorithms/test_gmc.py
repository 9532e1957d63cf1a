"""GMC, GMC+ and the two alternatives of the paper's Appendix A."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from simgmc.algorithms import effects
from simgmc.algorithms.dgc import DGC
from simgmc.algorithms.error_feedback import DEF, EFSGDM
from simgmc.algorithms.gmc import GMC, GMCPlus, GMCScaledResidual, GMCServerMomentum
from simgmc.algorithms.sgd import DMSGD
from simgmc.compression import build
from simgmc.training.stacked import StackedTrainer
from tests.algorithms.noisy_quadratic import Quadratic
from tests.algorithms.trajectories import (
    COMPRESSORS,
    IDENTITY,
    PROBLEM,
    compressors,
    constant,
    difference,
    rounds_with,
    run,
)

# Of these a multiple of the vector gives the same multiple of the message.
EQUIVARIANT = ["top-k", "RBGS", "sign"]
some_compressors = pytest.mark.parametrize("name", ["top-k", "RBGS"])


def test_uncompressed_gmc_is_dmsgd(identity):
    identity("2   GMC(I, previous) = DMSGD", difference(run(GMC(IDENTITY)).common, run(DMSGD()).common))


@some_compressors
def test_the_two_readings_of_gmc_coincide_at_a_constant_rate(identity, name):
    previous = run(GMC(COMPRESSORS[name]), constant)
    current = run(GMC(COMPRESSORS[name], momentum_lr="current"), constant)
    identity("2   GMC(previous) = GMC(current), constant rate", difference(previous.common, current.common))


def test_the_two_readings_of_gmc_differ_at_a_varying_rate():
    previous, current = (run(GMC(COMPRESSORS["top-k"], momentum_lr=which)) for which in ("previous", "current"))
    assert difference(previous.common, current.common) > 1e-3


@some_compressors
def test_gmc_plus_without_detachment_is_gmc(identity, name):
    plus = run(GMCPlus(COMPRESSORS[name], detached=0.0))
    identity("3   GMC+(lambda = 0) = GMC", difference(plus.common, run(GMC(COMPRESSORS[name])).common))


@pytest.mark.parametrize("detached", [0.3, 1.0])
def test_uncompressed_gmc_plus_is_dmsgd(identity, detached):
    plus = run(GMCPlus(IDENTITY, detached=detached))
    identity("3   GMC+(I) = DMSGD", difference(plus.common, run(DMSGD()).common))


def test_gmc_plus_takes_gradients_at_the_detached_point(identity):
    error = 0.0
    for one in run(GMCPlus(COMPRESSORS["RBGS"], detached=0.3)).rounds:
        expected = one.state["params"] - 0.3 * one.lr * one.state["residual"]
        error = max(error, difference(one.points[0], expected))
    identity("3   GMC+ gradient point = w - lambda lr u", error)


def test_uncompressed_server_momentum_is_dmsgd(identity):
    server = run(GMCServerMomentum(IDENTITY))
    identity("2   Algorithm 3(I) = DMSGD", difference(server.common, run(DMSGD()).common))


@some_compressors
def test_what_the_server_broadcasts_does_not_change_server_momentum(identity, name):
    mean, update = (run(GMCServerMomentum(COMPRESSORS[name], broadcast=what)) for what in ("mean", "update"))
    identity("    Algorithm 3: broadcast of mean = of update", difference(mean.common, update.common))


def test_broadcasting_the_momentum_is_dense_and_the_mean_is_not():
    down = {}
    for what in ("mean", "update"):
        trainer = StackedTrainer(GMCServerMomentum(COMPRESSORS["top-k"], broadcast=what), PROBLEM, constant)
        for _ in range(30):
            steps = trainer.next_round().with_everybody()
        down[what] = steps[-1].down
    assert down["update"] == 4 * PROBLEM.d
    assert down["mean"] <= 8 * 2 * PROBLEM.workers


@pytest.mark.parametrize(
    "algorithm, name",
    [(GMC, name) for name in COMPRESSORS]
    + [(one, name) for one in (GMCPlus, GMCServerMomentum) for name in ("top-k", "RBGS", "sign")],
)
def test_the_auxiliary_sequence_moves_by_the_mean_gradient(identity, algorithm, name):
    """Lemma 3: y = (w_t - beta w_{t-1} - lr mean u) / (1 - beta) takes plain SGD steps."""
    beta, lr = 0.9, constant(0)
    trajectory = run(algorithm(COMPRESSORS[name], momentum=beta), constant, rounds_with(name))
    w = trajectory.common
    before = torch.cat([w[:1], w[:-1]])
    residual = torch.stack([u.mean(0) for u in trajectory.of("residual")])
    y = (w - beta * before - lr * residual) / (1 - beta)
    g = torch.stack([one.gradients[0].mean(0) for one in trajectory.rounds])
    identity(f"4   auxiliary sequence of {algorithm.__name__}", difference(y[1:], y[:-1] - lr / (1 - beta) * g), 1e-11)


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_the_rate_inside_the_residual_changes_nothing_while_it_is_constant(identity, name):
    rounds = rounds_with(name)
    scaled, gmc = (run(method(COMPRESSORS[name]), constant, rounds) for method in (GMCScaledResidual, GMC))
    identity("5   Algorithm 4 = GMC, constant rate", difference(scaled.common, gmc.common))


@dataclass(frozen=True)
class GMCWithRescaledResidual(GMC):
    """GMC whose residual is multiplied by lr_{t-1} / lr_t when it is used again."""

    def round(self, worker):
        worker.residual = worker.residual * (worker.previous_lr / worker.lr)
        yield from super().round(worker)


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_the_rate_inside_the_residual_is_gmc_with_rescaled_residuals(identity, name):
    scaled = run(GMCScaledResidual(COMPRESSORS[name]), rounds=rounds_with(name))
    rescaled = run(GMCWithRescaledResidual(COMPRESSORS[name], momentum_lr="current"), rounds=rounds_with(name))
    identity("5   Algorithm 4 = GMC(current), residual x lr_{t-1}/lr_t", difference(scaled.common, rescaled.common))


def test_the_rate_inside_the_residual_matters_while_it_varies():
    scaled, gmc = run(GMCScaledResidual(COMPRESSORS["top-k"])), run(GMC(COMPRESSORS["top-k"], momentum_lr="current"))
    assert difference(scaled.common, gmc.common) > 1e-3


@some_compressors
def test_gmc_without_momentum_is_error_feedback_in_gradient_units(identity, name):
    gmc = run(GMC(COMPRESSORS[name], momentum=0.0))
    server = run(GMCServerMomentum(COMPRESSORS[name], momentum=0.0))
    identity("2.9 GMC(beta = 0) = EF-SGD, gradient units", difference(gmc.common, server.common))


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_gmc_without_momentum_is_ef_sgd_at_a_constant_rate(identity, name):
    gmc, ef = (run(method(COMPRESSORS[name], momentum=0.0), constant, rounds_with(name)) for method in (GMC, EFSGDM))
    identity("2.9 GMC(beta = 0) = EF-SGD, constant rate", difference(gmc.common, ef.common))


@dataclass(frozen=True)
class GMCPlusWithLocalMomentum(DGC):
    """u = beta u + g(w - lambda lr v); v = v + u; send C(v): GMC+ but for whose momentum it is."""

    detached: float = 0.5
    momentum_factor_masking: bool = False

    def round(self, worker):
        program, answer = super().round(worker), None
        try:
            while True:
                effect = program.send(answer)
                if isinstance(effect, effects.Gradient):
                    effect = effects.Gradient(at=effect.at - self.detached * worker.lr * worker.accumulator)
                answer = yield effect
        except StopIteration:
            return


@pytest.mark.parametrize("name", EQUIVARIANT)
def test_gmc_plus_with_local_momentum_is_def(identity, name):
    local = run(GMCPlusWithLocalMomentum(COMPRESSORS[name], detached=0.3), constant, rounds_with(name))
    identity(
        "21  GMC+ with local momentum = DEF, constant rate",
        difference(local.common, run(DEF(COMPRESSORS[name]), constant, rounds_with(name)).common),
    )


@pytest.mark.parametrize("algorithm", [GMC, GMCPlus, GMCServerMomentum, GMCScaledResidual])
def test_one_worker_alone_is_enough(algorithm):
    alone = Quadratic(workers=1)
    trajectory = run(algorithm(compressors(alone)["top-k"]), workload=alone)
    assert difference(trajectory.common[-1], alone.optimum) < 1.0


def test_workers_applying_the_broadcast_message_hold_bit_identical_parameters():
    """Each worker decodes the encoded aggregate and applies it to its own copy."""

    class Single(Quadratic):
        def initial_parameters(self):
            return super().initial_parameters().float()

        def gradients(self, at, step):
            gradients, losses = super().gradients(at.double(), step)
            return gradients.float(), losses

    trajectory = run(GMC(build("top-k", count=2)), workload=Single())
    copies = [trajectory.common[0].clone() for _ in range(4)]
    for one, params in zip(trajectory.rounds, trajectory.common[1:]):
        mean = one.messages[0].mean()
        received = mean.decode([mean.encode(0)]).dense()[0]
        copies = [copy - one.lr * received for copy in copies]
        for copy in copies:
            assert torch.equal(copy, params)
