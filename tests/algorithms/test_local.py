"""Local SGD and its descendants."""

from __future__ import annotations

import pytest
import torch

from simgmc.algorithms.error_feedback import EFSGDM
from simgmc.algorithms.gossip import PDSGDM
from simgmc.algorithms.gossip_compressed import QuantizedPRSGDGossip
from simgmc.algorithms.local import (
    DiLoCo,
    LocalSGD,
    OverlapLocalSGD,
    PostLocalSGD,
    PRSGDMomentum,
    QsparseLocalSGD,
    QuantizedPRSGD,
    SlowMo,
)
from simgmc.algorithms.sgd import DMSGD, SGD
from simgmc.compression import build
from simgmc.mixing import everybody
from simgmc.training.stacked import StackedTrainer
from tests.algorithms.noisy_quadratic import Quadratic
from tests.algorithms.trajectories import (
    COMPRESSORS,
    IDENTITY,
    PROBLEM,
    ROUNDS,
    WEIGHT_DECAY,
    constant,
    difference,
    in_steps,
    run,
)

K, D = PROBLEM.workers, PROBLEM.d
PERIOD = 5


def local(algorithm, lr_at=in_steps, **how):
    return run(algorithm, lr_at, **{"rounds": ROUNDS // PERIOD, **how})


def by_torch(make, trajectory, average=True, decay=WEIGHT_DECAY) -> float:
    """Error against a torch optimizer on every worker, the models averaged after each round."""
    models = [torch.nn.Parameter(PROBLEM.initial_parameters()) for _ in range(K)]
    optimizers = [make([model]) for model in models]
    step, error = 0, 0.0
    for t, one in enumerate(trajectory.rounds):
        for lr in one.rates:
            g = PROBLEM.gradients(torch.stack([model.data for model in models]), step)[0]
            for k in range(K):
                models[k].grad = g[k]
                optimizers[k].param_groups[0].update(lr=lr, weight_decay=decay)
                optimizers[k].step()
            step += 1
        if average:
            mean = torch.stack([model.data for model in models]).mean(0)
            for model in models:
                model.data = mean.clone()
        error = max(error, difference(torch.stack([model.data for model in models]), trajectory.params[t + 1]))
    assert step >= 200
    return error


@pytest.mark.parametrize("nesterov", [False, True])
def test_local_sgd_is_torch_sgd_on_every_worker_and_an_average(identity, nesterov):
    trajectory = local(LocalSGD(period=PERIOD, nesterov=nesterov))
    error = by_torch(lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9, nesterov=nesterov), trajectory)
    identity("    local SGD = torch.optim.SGD on every worker + average", error)


LOCAL = [LocalSGD, PRSGDMomentum, SlowMo, DiLoCo, OverlapLocalSGD, PDSGDM]


@pytest.mark.parametrize("method", LOCAL, ids=lambda method: method.__name__)
def test_the_last_round_is_cut_where_the_training_ends(method):
    """32 gradients in rounds of 10: three rounds and two steps, as all methods get 32."""
    trainer = StackedTrainer(method(period=10), PROBLEM, constant, mixing=everybody(K), gradients=32)
    steps = []
    while trainer.gradients < 32:
        before = trainer.gradients
        trainer.next_round().with_everybody()
        steps.append(trainer.gradients - before)
    assert steps == [10, 10, 10, 2]


@pytest.mark.parametrize("method", LOCAL, ids=lambda method: method.__name__)
def test_a_local_step_has_the_rate_of_its_own_epoch(method):
    """Ten gradients an epoch, rounds of 7: the rate falls in the middle of a round."""
    rates = [lr for one in run(method(period=7), falling, 5, mixing=everybody(K)).rounds for lr in one.rates]
    assert rates == [falling(step / PROBLEM.batches_per_epoch) for step in range(35)]


@pytest.mark.parametrize(
    "algorithm",
    [
        LocalSGD(period=7, momentum=0.0),
        PRSGDMomentum(period=7, momentum=0.0),
        QsparseLocalSGD(period=7, momentum=0.0, compressor=IDENTITY),
        PDSGDM(period=7, momentum=0.0),
        QuantizedPRSGD(IDENTITY, period=7),
        QuantizedPRSGDGossip(IDENTITY, period=7),
        QuantizedPRSGDGossip(IDENTITY, period=7, steps_from="mixed"),
    ],
    ids=lambda algorithm: type(algorithm).__name__,
)
def test_local_steps_move_the_mean_model_by_each_gradient_at_its_own_rate(identity, algorithm):
    """The rate falls in the middle of a round: nobody takes a step at the rate of the step before."""
    trajectory = run(algorithm, falling, 5, mixing=everybody(K))
    gradients = [g.mean(0) for one in trajectory.rounds for g in one.gradients]
    rates = [falling(step / PROBLEM.batches_per_epoch) for step in range(35)]
    moved = torch.stack([rate * gradient for rate, gradient in zip(rates, gradients, strict=True)])
    expected = trajectory.mean[0] - moved.view(5, 7, D).sum(1).cumsum(0)
    identity("    local steps: mean x_t+1 = mean x_t - sum of lr_t mean g_t", difference(trajectory.mean[1:], expected))


def falling(epoch: float) -> float:
    return 0.1 / (1 + int(epoch + 1e-9))


def test_local_sgd_that_averages_every_step_is_dmsgd(identity):
    identity("    local SGD(H = 1) = DMSGD", difference(run(LocalSGD(period=1)).common, run(DMSGD()).common))


def test_local_sgd_that_averages_every_step_without_momentum_is_sgd(identity):
    identity(
        "    local SGD(H = 1, beta = 0) = SGD",
        difference(run(LocalSGD(period=1, momentum=0.0)).common, run(SGD()).common),
    )


@pytest.mark.parametrize("period", [2, 5])
def test_a_single_worker_does_not_notice_the_period(identity, period):
    alone = Quadratic(workers=1)
    every = run(DMSGD(), in_steps, workload=alone).common[::period]
    seldom = run(
        LocalSGD(period=period), in_steps if period == 5 else constant, ROUNDS // period, workload=alone
    ).common
    if period == 2:
        every = run(DMSGD(), constant, workload=alone).common[::2]
    identity("    local SGD(K = 1, H) = serial momentum SGD", difference(seldom, every))


@pytest.mark.parametrize("momentum, same", [(0.0, SGD()), (0.9, DMSGD())])
def test_post_local_sgd_before_the_switch_is_sgd(identity, momentum, same):
    post = run(PostLocalSGD(period=16, momentum=momentum, start_epoch=1000.0))
    identity("    post-local SGD before the switch = SGD, DMSGD", difference(post.common, run(same).common))


def test_post_local_sgd_after_the_switch_is_local_sgd(identity):
    always = local(PostLocalSGD(period=PERIOD, start_epoch=0.0))
    identity(
        "    post-local SGD after the switch = local SGD",
        difference(always.common, local(LocalSGD(period=PERIOD)).common),
    )


def test_post_local_sgd_switches_at_its_epoch():
    steps = [len(one.gradients) for one in run(PostLocalSGD(period=4, start_epoch=3.0), rounds=40).rounds]
    assert steps == [1] * 30 + [4] * 10


def test_pr_sgd_momentum_every_step_is_dmsgd(identity):
    identity("    PR-SGD-momentum(H = 1) = DMSGD", difference(run(PRSGDMomentum(period=1)).common, run(DMSGD()).common))


def test_pr_sgd_with_the_momentum_reset_every_step_is_sgd(identity):
    identity(
        "    PR-SGD(reset, H = 1) = SGD",
        difference(run(PRSGDMomentum(period=1, momentum_sync="reset")).common, run(SGD()).common),
    )


@pytest.mark.parametrize("sync", ["average", "reset"])
def test_pr_sgd_without_momentum_is_local_sgd(identity, sync):
    pr = local(PRSGDMomentum(period=PERIOD, momentum=0.0, momentum_sync=sync))
    identity(
        "    PR-SGD(beta = 0) = local SGD", difference(pr.common, local(LocalSGD(period=PERIOD, momentum=0.0)).common)
    )


def formula(trajectory, sync) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(rounds, K, d) models and momenta after the local steps of every round, and the gradients' error."""
    models, momenta = [], []
    for one in trajectory.rounds:
        x, m = one.state["params"], one.state["momentum_buffer"]
        for g, lr in zip(one.gradients, one.rates, strict=True):
            m = 0.9 * m + g
            x = x - lr * m
        models.append(x)
        momenta.append(m)
    return torch.stack(models), torch.stack(momenta)


@pytest.mark.parametrize("sync", ["average", "reset"])
def test_pr_sgd_momentum_averages_or_resets_the_momentum(identity, sync):
    pr = local(PRSGDMomentum(period=PERIOD, momentum_sync=sync))
    models, momenta = formula(pr, sync)
    after = torch.cat(pr.of("momentum_buffer")[1:])
    identity("    PR-SGD-momentum: model averaged", difference(pr.common[1:], models.mean(1)))
    identity(
        "    PR-SGD-momentum: momentum averaged, or reset", difference(after, momenta.mean(1) * (sync == "average"))
    )


def test_uncompressed_qsparse_is_local_sgd(identity):
    qsparse = local(QsparseLocalSGD(period=PERIOD, compressor=IDENTITY))
    identity("10  Qsparse(I) = local SGD", difference(qsparse.common, local(LocalSGD(period=PERIOD)).common))


@pytest.mark.parametrize("name", ["top-k", "RBGS", "random-k, own seeds", "sign"])
def test_qsparse_every_step_is_error_feedback(identity, name):
    qsparse = run(QsparseLocalSGD(period=1, compressor=COMPRESSORS[name]))
    identity("10  Qsparse(H = 1) = EF-SGDM", difference(qsparse.common, run(EFSGDM(COMPRESSORS[name])).common), 1e-11)


def test_qsparse_and_the_residuals_mean_move_as_the_mean_local_model(identity):
    compressor = build("composed", sparsify={"name": "top-k", "count": 3}, quantise={"name": "sign"})
    qsparse = local(QsparseLocalSGD(period=PERIOD, compressor=compressor))
    models, _ = formula(qsparse, None)
    ahead = qsparse.common - torch.stack([e.mean(0) for e in qsparse.of("residual")])
    moved = (models - torch.stack([one.state["params"] for one in qsparse.rounds])).mean(1)
    identity("10  Qsparse: x - mean e moves by the mean local movement", difference(ahead[1:], ahead[:-1] + moved))


def test_unquantised_pr_sgd_is_local_sgd(identity):
    quantised = local(QuantizedPRSGD(IDENTITY, period=PERIOD))
    identity(
        "    Quantized-PR-SGD(I) = local SGD",
        difference(quantised.common, local(LocalSGD(period=PERIOD, momentum=0.0)).common),
    )
    identity(
        "    Quantized-PR-SGD(I, H = 1) = SGD",
        difference(run(QuantizedPRSGD(IDENTITY, period=1)).common, run(SGD()).common),
    )


@pytest.mark.parametrize("requantise", [False, True])
def test_quantised_pr_sgd_moves_by_the_mean_of_what_was_sent(identity, requantise):
    quantised = local(QuantizedPRSGD(build("qsgd", levels=8), period=PERIOD, requantise=requantise))
    sent = torch.stack([one.messages[0].dense().mean(0) for one in quantised.rounds])
    back = torch.cat([one.answers[0] for one in quantised.rounds])
    identity("    Quantized-PR-SGD: x moves by -mean q", difference(quantised.common[1:], quantised.common[:-1] - back))
    assert (difference(back, sent) > 1e-3) if requantise else (difference(back, sent) < 1e-12)


def test_overlap_that_pulls_all_the_way_never_moves(identity):
    still = local(OverlapLocalSGD(period=PERIOD, pull=1.0, anchor_momentum=0.0))
    identity(
        "    Overlap(pull = 1, no anchor momentum) stays",
        difference(still.params, still.params[:1].expand_as(still.params)),
    )


def test_overlap_that_never_pulls_is_every_worker_alone(identity):
    alone = local(OverlapLocalSGD(period=PERIOD, pull=0.0, anchor_momentum=0.0))
    error = by_torch(lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9), alone, average=False)
    identity("    Overlap(pull = 0) = torch.optim.SGD on every worker", error)


def test_without_anchor_momentum_the_anchor_is_the_mean_model_of_the_round_before(identity):
    overlap = local(OverlapLocalSGD(period=PERIOD, anchor_momentum=0.0))
    models, _ = formula(overlap, None)
    anchors = overlap.mean[:-1, None]
    identity(
        "    Overlap(no anchor momentum): x = 0.4 x' + 0.6 mean x",
        difference(overlap.params[1:], 0.4 * models + 0.6 * anchors),
    )


def test_overlap_by_its_formula(identity):
    overlap = local(OverlapLocalSGD(period=PERIOD, pull=0.6, anchor_momentum=0.7))
    models, _ = formula(overlap, None)
    z = overlap.params[0]
    v, error = torch.zeros(K, D, dtype=torch.float64), 0.0
    for t, one in enumerate(overlap.rounds):
        x = 0.4 * models[t] + 0.6 * z
        error = max(error, difference(overlap.params[t + 1], x))
        v = 0.7 * v + (z - x) / one.lr
        z = (z - one.lr * v).mean(0).expand(K, -1)
    identity("    Overlap = formula", error)


def test_slowmo_without_slow_momentum_is_local_sgd(identity):
    slow = local(SlowMo(period=PERIOD, slow_momentum=0.0, slow_lr=1.0))
    identity(
        "    SlowMo(slow momentum 0, slow rate 1) = local SGD",
        difference(slow.common, local(LocalSGD(period=PERIOD)).common),
    )


def test_slowmo_every_step_without_local_momentum_is_dmsgd(identity):
    slow = run(SlowMo(period=1, momentum=0.0, slow_momentum=0.9, slow_lr=1.0))
    identity("    SlowMo(H = 1, beta = 0) = DMSGD", difference(slow.common, run(DMSGD()).common))


@pytest.mark.parametrize("sync", ["keep", "average", "reset"])
def test_slowmo_by_its_formula(identity, sync):
    slow = local(SlowMo(period=PERIOD, slow_momentum=0.7, slow_lr=0.8, momentum_sync=sync))
    models, momenta = formula(slow, sync)
    x, u, error = slow.common[0], torch.zeros(D, dtype=torch.float64), 0.0
    for t, one in enumerate(slow.rounds):
        u = 0.7 * u + (x - models[t].mean(0)) / one.lr
        x = x - 0.8 * one.lr * u
        error = max(error, difference(slow.common[t + 1], x))
    identity("    SlowMo = formula", error)
    expected = {"keep": momenta, "average": momenta.mean(1, keepdim=True).expand_as(momenta), "reset": 0 * momenta}[
        sync
    ]
    after = torch.stack([m.expand(K, -1) for m in slow.of("momentum_buffer")[1:]])
    identity("    SlowMo: local momentum kept, averaged, reset", difference(after, expected))


def test_the_inner_optimizer_of_diloco_is_torch_adamw(identity):
    inner = local(DiLoCo(period=70, outer_lr=1.0, outer_momentum=0.0), rounds=3, weight_decay=0.1)
    error = by_torch(lambda p: torch.optim.AdamW(p, lr=1.0), inner, decay=0.1)
    identity("    DiLoCo(outer rate 1, momentum 0) = torch.optim.AdamW + average", error)


def test_the_outer_optimizer_of_diloco_is_torch_nesterov(identity):
    diloco = local(DiLoCo(period=PERIOD), constant, weight_decay=0.1)
    outer = torch.nn.Parameter(PROBLEM.initial_parameters())
    optimizer = torch.optim.SGD([outer], lr=0.7, momentum=0.9, nesterov=True)
    error = 0.0
    for t, one in enumerate(diloco.rounds):
        outer.grad = one.messages[0].dense().mean(0)
        optimizer.step()
        error = max(error, difference(outer.data, diloco.common[t + 1]))
    identity("    DiLoCo outer step = torch.optim.SGD(nesterov)", error)
    assert max(one.messages[0].dense().abs().max() for one in diloco.rounds) > 0.1


def test_a_rate_of_zero_moves_nothing_and_breaks_nothing():
    for algorithm in (SlowMo(period=2), OverlapLocalSGD(period=2)):
        end = run(algorithm, lambda epoch: 0.0, rounds=4).params
        assert difference(end, end[:1].expand_as(end)) == 0.0
