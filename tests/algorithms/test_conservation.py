"""Nothing is lost: what a worker sent and still holds is what it put in.

One law for every method with error feedback, along whole trajectories and in every round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from simgmc.algorithms.cser import CSER, MCSER
from simgmc.algorithms.dgc import DGC
from simgmc.algorithms.error_feedback import DEF, DEFA, EFSGDM, SAEF, DoubleSqueeze, EFSignSGD
from simgmc.algorithms.gmc import GMC, GMCPlus, GMCScaledResidual, GMCServerMomentum
from simgmc.algorithms.local import QsparseLocalSGD
from simgmc.algorithms.quantized import PowerSGD
from simgmc.compression import build
from tests.algorithms.noisy_quadratic import Quadratic
from tests.algorithms.trajectories import COMPRESSORS, PROBLEM, ROUNDS, Round, difference, rounds_with, run

BETA = 0.9


def gmc_input(one: Round) -> Tensor:
    return one.gradients[0] + BETA * one.state["update"]


def gmc_current_input(one: Round, previous_lr: float) -> Tensor:
    return one.gradients[0] + BETA * previous_lr / one.lr * one.state["update"]


def momentum_input(one: Round) -> Tensor:
    return BETA * one.state["momentum_buffer"] + one.gradients[0]


def rate_times_momentum(one: Round) -> Tensor:
    return one.lr * momentum_input(one)


def nesterov_input(one: Round) -> Tensor:
    return BETA * (one.state["momentum_buffer"] + one.gradients[0]) + one.gradients[0]


def gradient(one: Round) -> Tensor:
    return one.gradients[0]


def local_movement(one: Round) -> Tensor:
    """Of all local momentum steps of the round."""
    m, moved = one.state["momentum_buffer"], 0.0
    for g, lr in zip(one.gradients, one.rates, strict=True):
        m = BETA * m + g
        moved = moved + lr * m
    return moved


@dataclass(frozen=True)
class Law:
    """How to call the method, what a worker puts in in a round, and where it keeps the rest."""

    algorithm: Callable[[Any], Any]
    put_in: Callable[[Round], Tensor]
    residual: str = "residual"
    rounds: int = ROUNDS


LAWS = {
    "GMC": Law(GMC, gmc_input),
    "GMC+": Law(GMCPlus, gmc_input),
    "GMC Algorithm 3": Law(GMCServerMomentum, gradient),
    "GMC Algorithm 4": Law(GMCScaledResidual, lambda one: one.lr * one.gradients[0] + BETA * one.state["update"]),
    "DGC, masking": Law(DGC, momentum_input, "accumulator"),
    "DGC, no masking": Law(lambda c: DGC(c, momentum_factor_masking=False), momentum_input, "accumulator"),
    "DGC, Nesterov": Law(lambda c: DGC(c, nesterov=True), nesterov_input, "accumulator"),
    "EF-SGDM": Law(EFSGDM, rate_times_momentum),
    "SAEF": Law(SAEF, rate_times_momentum),
    "DEF": Law(DEF, rate_times_momentum),
    "DEF-A": Law(DEFA, rate_times_momentum),
    "DoubleSqueeze, worker": Law(DoubleSqueeze, gradient),
    "Qsparse-local-SGD": Law(lambda c: QsparseLocalSGD(period=3, compressor=c), local_movement, rounds=ROUNDS // 3),
}


@pytest.mark.parametrize("name", ["top-k", "sign"])
@pytest.mark.parametrize("law", LAWS)
def test_sent_and_held_is_what_was_put_in(identity, law, name):
    one = LAWS[law]
    trajectory = run(one.algorithm(COMPRESSORS[name]), rounds=min(one.rounds, rounds_with(name)))
    identity(f"    conservation: {law}", imbalance(trajectory, one.put_in, trajectory.of(one.residual)), 1e-11)


def imbalance(trajectory, put_in, residuals) -> float:
    """Largest error of (sum sent + residual = sum put in) after any round."""
    sent = total = torch.zeros(PROBLEM.workers, trajectory.trainer.workload.d, dtype=torch.float64)
    error = 0.0
    for one, residual in zip(trajectory.rounds, residuals[1:]):
        sent, total = sent + one.messages[0].dense(), total + put_in(one)
        error = max(error, difference(sent + residual, total))
    return error


def test_gmc_with_the_current_rate(identity):
    trajectory = run(GMC(COMPRESSORS["top-k"], momentum_lr="current"))
    previous = dict(zip(map(id, trajectory.rounds[1:]), [one.lr for one in trajectory.rounds]))
    error = imbalance(
        trajectory, lambda one: gmc_current_input(one, previous.get(id(one), one.lr)), trajectory.of("residual")
    )
    identity("    conservation: GMC, current rate", error, 1e-11)


def test_ef_signsgd(identity):
    trajectory = run(EFSignSGD())
    error = imbalance(trajectory, lambda one: one.lr * one.gradients[0], trajectory.of("residual"))
    identity("    conservation: EF-signSGD", error, 1e-11)


def test_the_server_of_doublesqueeze(identity):
    trajectory = run(DoubleSqueeze(COMPRESSORS["top-k"]))
    sent = got = torch.zeros(PROBLEM.d, dtype=torch.float64)
    error = 0.0
    for one, held in zip(trajectory.rounds, trajectory.of("server_residual")[1:]):
        sent, got = sent + one.answers[0][0], got + one.messages[0].dense().mean(0)
        error = max(error, difference(sent + held[0], got))
    identity("    conservation: DoubleSqueeze, server", error, 1e-11)


@pytest.mark.parametrize("algorithm, beta", [(CSER, 0.0), (MCSER, 0.9)])
@pytest.mark.parametrize("first", [build("top-k", count=2), build("rbgs", count=2)])
def test_cser_holds_in_its_error_what_it_did_not_send(identity, algorithm, beta, first):
    """Steps = what C1 sent of them - what C2 sent of the errors - the error (which enters x with a minus)."""
    trajectory = run(algorithm(build("top-k", count=4), compressor=first, period=6))
    m = sent = steps = torch.zeros(PROBLEM.workers, PROBLEM.d, dtype=torch.float64)
    error = 0.0
    for one, held in zip(trajectory.rounds, trajectory.of("error")[1:]):
        m = beta * m + one.gradients[0]
        steps = steps + one.lr * m
        sent = sent + one.messages[0].dense() - sum(message.dense() for message in one.messages[1:])
        error = max(error, difference(sent - held, steps))
    identity(f"    conservation: {'M-CSER' if beta else 'CSER'}", error, 1e-11)


@pytest.mark.parametrize("residual", ["mean", "own"])
def test_powersgd_over_all_workers(identity, residual):
    """Of either residual only the mean over workers is conserved."""
    workload = Quadratic(shapes=((6, 6), (4,)))
    trajectory = run(PowerSGD(rank=1, residual=residual), workload=workload)
    momenta = torch.cat(trajectory.of("momentum_buffer"))
    sent = total = torch.zeros(workload.d, dtype=torch.float64)
    error = 0.0
    for t, (one, held) in enumerate(zip(trajectory.rounds, trajectory.of("residual")[1:])):
        sent, total = sent + momenta[t + 1] - BETA * momenta[t], total + one.gradients[0].mean(0)
        error = max(error, difference(sent + held.mean(0), total))
    identity("    conservation: PowerSGD, mean over workers", error, 1e-11)
