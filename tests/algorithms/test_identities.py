"""Algebraic identities along whole trajectories, in float64, with a varying learning rate."""

from __future__ import annotations

import math

import pytest
import torch

from algorithms.quadratic import Quadratic
from simgmc.algorithms.dgc import DGC
from simgmc.algorithms.gmc import GMC
from simgmc.algorithms.sgd import DMSGD, SGD
from simgmc.compression import build
from simgmc.training.stacked import StackedTrainer

ROUNDS = 250
IDENTITY = build("identity")
COMPRESSORS = {
    "top-k": ("top-k", {"count": 2}),
    "sampled-top-k": ("sampled-top-k", {"count": 3, "sample": 0.5}),
    "random-k": ("random-k", {"count": 2, "seed": "own"}),
    "rbgs": ("rbgs", {"count": 3}),
    "top-k per tensor": ("top-k", {"density": 0.3, "per_tensor": True}),
    "identity": ("identity", {}),
}


def varying(epoch: float) -> float:
    """Cosine with a warm-up bump, different every round."""
    return 0.03 + 0.02 * math.cos(epoch / 3)


def constant(epoch: float) -> float:
    return 0.04


def compressor(name: str, workload: Quadratic):
    kind, parameters = COMPRESSORS[name]
    return build(kind, workload.layout, **parameters)


def trajectory(algorithm, workload=None, lr_at=varying, rounds=ROUNDS, weight_decay=1e-3):
    """(rounds + 1, d): the parameters after every round; all workers hold the same."""
    trainer = StackedTrainer(algorithm, workload or Quadratic(), lr_at, weight_decay)
    points = [trainer.worker.params[0].clone()]
    for _ in range(rounds):
        trainer.run_round()
        assert trainer.worker.params.shape == (1, trainer.workload.d)
        points.append(trainer.worker.params[0].clone())
    return torch.stack(points)


def serial_momentum_sgd(decay_of_step: bool, lr_at=varying, weight_decay=1e-3):
    """One machine on the mean objective: m-form, or w-form with the plain last step."""
    workload = Quadratic()
    w = workload.initial_parameters()
    m, previous = torch.zeros_like(w), w.clone()
    points = [w.clone()]
    for t in range(ROUNDS):
        lr = lr_at(t / workload.batches_per_epoch)
        g = workload.gradients(w[None], t)[0].mean(0) + weight_decay * w
        if decay_of_step:
            w, previous = w - lr * g + 0.9 * (w - previous), w
        else:
            m = 0.9 * m + g
            w = w - lr * m
        points.append(w.clone())
    return torch.stack(points)


def largest_difference(a, b):
    return float((a - b).abs().max())


def test_dmsgd_with_local_momentum_is_serial_momentum_sgd():
    assert largest_difference(trajectory(DMSGD(momentum_at="local")), serial_momentum_sgd(False)) < 1e-12


def test_dmsgd_with_global_momentum_is_serial_momentum_sgd():
    assert largest_difference(trajectory(DMSGD(momentum_at="global")), serial_momentum_sgd(False)) < 1e-12


def test_sgd_is_dmsgd_without_momentum():
    assert largest_difference(trajectory(SGD()), trajectory(DMSGD(momentum=0.0))) < 1e-12


def test_uncompressed_gmc_is_dmsgd_under_a_varying_learning_rate():
    assert largest_difference(trajectory(GMC(IDENTITY, momentum_lr="previous")), trajectory(DMSGD())) < 1e-12


def test_uncompressed_gmc_with_the_current_rate_is_the_w_form_of_momentum():
    assert largest_difference(trajectory(GMC(IDENTITY, momentum_lr="current")), serial_momentum_sgd(True)) < 1e-12


def test_the_two_momentum_forms_differ_once_the_rate_varies():
    assert largest_difference(serial_momentum_sgd(True), serial_momentum_sgd(False)) > 1e-3


def test_the_two_readings_of_gmc_coincide_at_a_constant_rate():
    previous = trajectory(GMC(build("top-k", count=2), momentum_lr="previous"), lr_at=constant)
    current = trajectory(GMC(build("top-k", count=2), momentum_lr="current"), lr_at=constant)
    assert largest_difference(previous, current) == 0.0


def test_uncompressed_dgc_without_masking_is_dmsgd():
    assert largest_difference(trajectory(DGC(IDENTITY, momentum_factor_masking=False)), trajectory(DMSGD())) < 1e-12


def test_uncompressed_dgc_with_masking_is_sgd():
    assert largest_difference(trajectory(DGC(IDENTITY, momentum_factor_masking=True)), trajectory(SGD())) < 1e-12


@pytest.mark.parametrize("name", COMPRESSORS)
def test_gmc_auxiliary_sequence_moves_by_the_mean_gradient_exactly(name):
    """Lemma 3: y = (w_t - beta w_{t-1} - lr mean u) / (1 - beta) takes plain SGD steps."""
    workload, beta, lr = Quadratic(), 0.9, 0.04
    trainer = StackedTrainer(GMC(compressor(name, workload), momentum=beta), workload, constant)
    worker = trainer.worker

    def auxiliary(previous):
        return (worker.params[0] - beta * previous - lr * worker.residual.mean(0)) / (1 - beta)

    previous = worker.params[0].clone()
    y = auxiliary(previous)
    for _ in range(ROUNDS):
        previous = worker.params[0].clone()
        trainer.run_round()
        moved = auxiliary(previous)
        expected = y - lr / (1 - beta) * workload.seen[-1].mean(0)
        assert largest_difference(moved, expected) < 1e-11
        y = moved


@pytest.mark.parametrize("name", COMPRESSORS)
def test_gmc_loses_nothing(name):
    """Sum of what a worker sent + its residual = sum of what it put in (gradient + momentum term)."""
    workload, beta = Quadratic(), 0.9
    trainer = StackedTrainer(GMC(compressor(name, workload), momentum=beta), workload, varying)
    sent = torch.zeros(workload.workers, workload.d, dtype=torch.float64)
    put_in = torch.zeros_like(sent)
    messages = []
    trainer.on_message = messages.append
    for _ in range(ROUNDS):
        update = trainer.worker.update.clone()
        trainer.run_round()
        put_in += workload.seen[-1] + beta * update
        sent += messages[-1].dense()
    assert largest_difference(sent + trainer.worker.residual, put_in) < 1e-11


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("masking", [False, True])
def test_dgc_loses_nothing(name, masking):
    """Sum of what a worker sent + its accumulator = sum of the momenta that entered it."""
    workload, beta = Quadratic(), 0.9
    algorithm = DGC(compressor(name, workload), momentum=beta, momentum_factor_masking=masking)
    trainer = StackedTrainer(algorithm, workload, varying)
    sent = torch.zeros(workload.workers, workload.d, dtype=torch.float64)
    put_in = torch.zeros_like(sent)
    messages = []
    trainer.on_message = messages.append
    for _ in range(ROUNDS):
        momentum = trainer.worker.momentum_buffer.clone()
        trainer.run_round()
        put_in += beta * momentum + workload.seen[-1]
        sent += messages[-1].dense()
    assert largest_difference(sent + trainer.worker.accumulator, put_in) < 1e-11


def test_dgc_masks_the_momentum_exactly_where_each_worker_sent():
    workload = Quadratic()
    trainer = StackedTrainer(DGC(build("top-k", count=3)), workload, constant)
    messages = []
    trainer.on_message = messages.append
    for _ in range(20):
        trainer.run_round()
        sent = messages[-1].dense() != 0
        assert sent.sum(1).tolist() == [3] * workload.workers
        assert torch.equal(trainer.worker.momentum_buffer == 0, sent)


def test_the_uncompressed_methods_approach_the_optimum_and_stay():
    workload = Quadratic(noise=0.0)
    optimum = torch.linalg.solve(workload.matrices.mean(0), torch.einsum("kij,kj->i", workload.matrices, workload.centres) / workload.workers)
    for algorithm in (SGD(), DMSGD(), GMC(IDENTITY), DGC(IDENTITY)):
        end = trajectory(algorithm, Quadratic(noise=0.0), constant, rounds=2000, weight_decay=0.0)[-1]
        assert largest_difference(end, optimum) < 1e-3


def test_workers_applying_the_broadcast_message_hold_bit_identical_parameters():
    """Each worker decodes the encoded aggregate and applies it to its own copy."""
    class Single(Quadratic):
        def initial_parameters(self):
            return super().initial_parameters().float()

        def gradients(self, at, step):
            gradients, losses = super().gradients(at.double(), step)
            return gradients.float(), losses

    workload = Single()
    trainer = StackedTrainer(GMC(build("top-k", count=2)), workload, varying)
    copies = [trainer.worker.params[0].clone() for _ in range(workload.workers)]
    messages = []
    trainer.on_message = messages.append
    for _ in range(ROUNDS):
        lr = varying(trainer.epoch)
        trainer.run_round()
        mean = messages[-1].mean()
        received = mean.decode([mean.encode(0)]).dense()[0]
        copies = [copy - lr * received for copy in copies]
        for copy in copies:
            assert torch.equal(copy, trainer.worker.params[0])
