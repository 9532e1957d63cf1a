"""QSGD, TernGrad, signSGD, Signum and PowerSGD."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simgmc.algorithms.quantized import QSGD, PowerSGD, SignSGD, Signum, TernGrad
from simgmc.algorithms.sgd import DMSGD
from simgmc.algorithms.worker import Worker
from simgmc.compression import build
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness, generator
from tests.algorithms.noisy_quadratic import Quadratic, RankOne
from tests.algorithms.trajectories import IDENTITY, PROBLEM, ROUNDS, WEIGHT_DECAY, difference, run, varying

K, D = PROBLEM.workers, PROBLEM.d
MATRIX = Quadratic(shapes=((6, 6), (4,)))


def test_unquantised_qsgd_is_dmsgd(identity):
    identity("    QSGD(I) = DMSGD", difference(run(QSGD(IDENTITY)).common, run(DMSGD()).common))


def unbiased(algorithm, sent_of) -> float:
    """Largest |z| over coordinates: sum of (sent - true) over rounds and workers, in standard deviations.

    Every round and worker draws from a seed of its own.
    """
    deviations = torch.cat([sent_of(one) for one in run(algorithm).rounds])
    assert len(deviations) >= 200
    return float((deviations.sum(0) / (deviations**2).sum(0).sqrt()).abs().max())


# 5 standard deviations: by chance in fewer than one of 10^5 choices of the seeds, for 12 coordinates.
@pytest.mark.parametrize(
    "algorithm",
    [
        QSGD(build("qsgd", levels=2)),
        QSGD(build("qsgd", levels=4, norm="inf", bucket=5)),
        TernGrad(clip=0.0),
        TernGrad(clip=0.0, share_scale=False),
    ],
    ids=["QSGD", "QSGD, inf norm in buckets", "TernGrad", "TernGrad, own scales"],
)
def test_what_is_sent_is_the_gradient_on_average(identity, algorithm):
    z = unbiased(algorithm, lambda one: one.messages[-1].dense() - one.gradients[0])
    identity(f"    {type(algorithm).__name__} unbiased: |z| over 840 seeds", z, 5.0)


def test_a_requantised_answer_is_the_mean_on_average(identity):
    algorithm = QSGD(build("qsgd", levels=2), requantise=True)
    z = unbiased(algorithm, lambda one: one.answers[0] - one.messages[0].dense().mean(0, keepdim=True))
    identity("    QSGD answer requantised, unbiased: |z|", z, 5.0)


@pytest.mark.parametrize(
    "algorithm",
    [QSGD(build("qsgd", levels=2)), TernGrad(), TernGrad(share_scale=False)],
    ids=["QSGD", "TernGrad", "TernGrad, own scales"],
)
def test_quantised_methods_take_momentum_steps_along_the_mean_message(identity, algorithm):
    trajectory = run(algorithm)
    m, error = torch.zeros(D, dtype=torch.float64), 0.0
    for t, one in enumerate(trajectory.rounds):
        m = 0.9 * m + one.messages[-1].dense().mean(0)
        error = max(error, difference(trajectory.common[t + 1], trajectory.common[t] - one.lr * m))
    identity(f"    {type(algorithm).__name__}: momentum after the mean message", error)


@pytest.mark.parametrize("share", [True, False])
def test_terngrad_sends_three_values_a_tensor(share):
    """Zero and plus or minus a scale: the largest clipped magnitude, of all workers if it is shared."""
    for one in run(TernGrad(share_scale=share)).rounds:
        g, sent = one.gradients[0], one.messages[-1].dense()
        for part in (slice(0, 8), slice(8, 12)):
            bound = 2.5 * g[:, part].std(1, unbiased=False)
            scales = torch.minimum(g[:, part].abs().amax(1), bound)
            if share:
                scales = scales.max().expand(K)
            for k in range(K):
                levels = sent[k, part].abs().unique()
                assert all(level == 0 or abs(level - scales[k]) < 1e-12 for level in levels)
            assert torch.equal(sent[:, part] != 0, (sent[:, part] != 0) & (sent[:, part].sign() == g[:, part].sign()))


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_signs_are_voted_on_by_the_majority(identity, momentum, decoupled):
    algorithm = Signum(momentum=momentum, decoupled_weight_decay=decoupled)
    trajectory = run(algorithm, weight_decay=0.1)
    w, m, error = PROBLEM.initial_parameters(), torch.zeros(K, D, dtype=torch.float64), 0.0
    for t, one in enumerate(trajectory.rounds):
        g = PROBLEM.gradients(w[None], t)[0] + (0.0 if decoupled else 0.1) * w
        m = momentum * m + (1 - momentum) * g
        vote = torch.empty(D, dtype=torch.float64)
        for i in range(D):
            ballots = [1 if m[k, i] >= 0 else -1 for k in range(K)]
            vote[i] = 1.0 if ballots.count(1) >= ballots.count(-1) else -1.0
        w = w - one.lr * (vote + (0.1 if decoupled else 0.0) * w)
        error = max(error, difference(trajectory.common[t + 1], w))
    identity("    signSGD, Signum = brute-force majority vote", error)


def test_a_gradient_of_zero_has_no_vote_where_zeros_are_masked():
    """Three workers on two coordinates: (+, 0), (-, 0), (0, -); ties and zeros move nothing; 1.6 bits a vote."""
    gradients = torch.tensor([[2.0, 0.0], [-3.0, 0.0], [0.0, -1.0]])
    vote = build("sign", scale="none", vote=True, zeros="masked")(gradients, Randomness(0, 0, 0, range(3)))
    assert vote.dense().tolist() == [[1, 0], [-1, 0], [0, -1]]
    assert vote.mean().dense().tolist() == [[0, -1]]
    assert vote.nbytes.tolist() == [1, 1, 1] and vote.mean().nbytes.tolist() == [1]


@pytest.mark.parametrize(("zeros", "expected"), [("masked", [3.0, 1.1]), ("positive", [2.9, 1.1])])
def test_parameters_without_a_gradient_stay_where_they_are_where_zeros_are_masked(zeros, expected):
    worker = Worker(torch.tensor([[3.0, 1.0]]), Layout.flat(2), 0, range(2), 2)
    worker.begin(0, 0.0, 0.1, 0.1, 0.0)
    program = SignSGD(zeros=zeros).round(worker)
    next(program)
    average = program.send(torch.tensor([[0.0, -2.0], [0.0, -1.0]]))
    with pytest.raises(StopIteration):
        program.send(average.message.mean().dense())
    assert worker.params.tolist() == [pytest.approx(expected)]


def test_terngrad_sends_its_shared_scales_once():
    """4 bytes a tensor go before the trits, none with them; without sharing they go with the trits."""
    shared = run(TernGrad()).rounds[0].messages
    alone = run(TernGrad(share_scale=False)).rounds[0].messages
    trits = -(-D // 5)
    assert shared[-1].nbytes.tolist() == [trits] * K
    tensors = shared[0].d
    assert alone[-1].nbytes.tolist() == [trits + 4 * tensors] * K and shared[0].nbytes.tolist() == [4 * tensors] * K


def test_signsgd_is_signum_without_momentum(identity):
    identity("    signSGD = Signum(beta = 0)", difference(run(SignSGD()).common, run(Signum(momentum=0.0)).common))


def sgd_momentum_form(workload, weight_decay=0.0) -> torch.Tensor:
    """m = 0.9 m + g; x = x - lr (g + m), with g the mean gradient."""
    x, m = workload.initial_parameters(), 0.0
    points = [x]
    for t in range(ROUNDS):
        g = workload.gradients(x[None], t)[0].mean(0) + weight_decay * x
        m = 0.9 * m + g
        x = x - varying(t / workload.batches_per_epoch) * (g + m)
        points.append(x)
    return torch.stack(points)


@pytest.mark.parametrize("residual", ["mean", "own"])
def test_powersgd_of_full_rank_is_sgd_in_its_momentum_form(identity, residual):
    full = run(PowerSGD(rank=6, residual=residual), workload=MATRIX)
    identity(
        "19  PowerSGD(full rank) = x - lr (g + m)", difference(full.common, sgd_momentum_form(MATRIX, WEIGHT_DECAY))
    )


@pytest.mark.parametrize("residual", ["mean", "own"])
@pytest.mark.parametrize("warm_start", [True, False])
def test_powersgd_is_exact_where_the_gradients_have_the_rank(identity, residual, warm_start):
    problem = RankOne()
    sent = run(PowerSGD(rank=1, residual=residual, warm_start=warm_start), workload=problem, weight_decay=0.0)
    assert all(len(one.messages) == 2 and one.messages[0].d == 6 and one.messages[1].d == 5 for one in sent.rounds)
    identity(
        "19  PowerSGD(rank of the gradients) = x - lr (g + m)",
        difference(sent.common, sgd_momentum_form(problem)),
        1e-11,
    )


@pytest.mark.parametrize("residual", ["mean", "own"])
@pytest.mark.parametrize("rank", [1, 2])
def test_powersgd_by_its_formula(identity, residual, rank):
    """Round by round from the run's own state, with numpy and another basis P of the same span.

    (Round by round because the iteration is chaotic: rounding grows tenfold in ten rounds.)
    """
    sent = run(PowerSGD(rank=rank, residual=residual), workload=MATRIX)
    first = torch.from_numpy(generator(0, "compressor, shared", 0, 1).standard_normal((1, 6 * rank)))
    error = 0.0
    for t, one in enumerate(sent.rounds):
        after = sent.rounds[t + 1].state if t + 1 < len(sent.rounds) else sent.end
        q = (first if one.state["right"] is None else one.state["right"]).numpy().reshape(6, rank)
        g = one.gradients[0].numpy()
        wanted = g[:, :36].reshape(K, 6, 6) + one.state["residual"].expand(K, -1).numpy()[:, :36].reshape(K, 6, 6)
        p = np.linalg.svd((wanted @ q).mean(0), full_matrices=False)[0]
        own = wanted.transpose(0, 2, 1) @ p
        update = np.concatenate([(p @ own.mean(0).T).ravel(), g[:, 36:].mean(0)])
        m = 0.9 * one.state["momentum_buffer"][0].numpy() + update
        x = one.state["params"][0].numpy() - one.lr * (update + m)
        e = wanted - p @ (own.mean(0).T if residual == "mean" else own.transpose(0, 2, 1))
        error = max(error, difference(after["params"][0], torch.from_numpy(x)))
        error = max(error, difference(after["residual"][:, :36], torch.from_numpy(e.reshape(K, 36))))
        error = max(error, difference(after["momentum_buffer"][0], torch.from_numpy(m)))
    identity("19  PowerSGD = formula, every round", error, 1e-11)
    assert not sent.end["residual"][:, 36:].any(), "tensors that travel whole leave no residual"


def test_powersgd_starts_anew_without_warm_start():
    """Each round's first factor is M Q with the round's own draws of Q."""
    sent = run(PowerSGD(rank=1, warm_start=False), workload=MATRIX)
    for t, one in enumerate(sent.rounds):
        q = torch.from_numpy(generator(0, "compressor, shared", t, 1).standard_normal((6, 1)))
        wanted = (one.gradients[0] + one.state["residual"])[:, :36].view(K, 6, 6)
        assert difference(one.messages[0].dense()[:, :6], (wanted @ q)[..., 0]) < 1e-12


def test_the_two_residuals_of_powersgd_have_the_same_mean(identity):
    """Both runs from the same state: the worker's own residuals average to those of the mean."""
    own = run(PowerSGD(rank=1, residual="own"), workload=MATRIX)
    error = 0.0
    m = own.of("momentum_buffer")
    for t, (one, after) in enumerate(zip(own.rounds, own.of("residual")[1:])):
        update = m[t + 1] - 0.9 * m[t]
        error = max(
            error,
            difference(
                after.mean(0, keepdim=True), (one.gradients[0] + one.state["residual"]).mean(0, keepdim=True) - update
            ),
        )
    identity("19  PowerSGD: mean of own residuals = residual of the mean", error, 1e-11)
