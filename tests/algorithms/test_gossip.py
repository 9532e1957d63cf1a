"""D-PSGD, DmSGD, PD-SGDM, DecentLaM, QG-DSGDm and SGP: mixing, identities, invariants."""

from __future__ import annotations

import pytest
import torch

from simgmc.algorithms.gossip import DPSGD, PDSGDM, SGP, DecentLaM, DmSGD, QGDSGDm
from simgmc.algorithms.gossip_compressed import LEAD
from simgmc.algorithms.local import LocalSGD
from simgmc.algorithms.sgd import DMSGD, SGD
from simgmc.compression import rows
from simgmc.core.randomness import generator
from simgmc.mixing import stated_mixing
from tests.algorithms.mixings import AVERAGE, MIXINGS, D, K, graph
from tests.algorithms.noisy_quadratic import Quadratic
from tests.algorithms.trajectories import IDENTITY, ROUNDS, difference, in_steps, run

PERIOD = 5


@pytest.mark.parametrize("name", MIXINGS)
def test_the_mixed_models_are_the_matrix_times_the_models(identity, name):
    """Against numpy's W @ (x - lr g), round by round."""
    mix = MIXINGS[name]
    atc = run(DPSGD("atc"), mixing=mix)
    error = 0.0
    for t, one in enumerate(atc.rounds):
        stepped = one.state["params"] - one.lr * one.gradients[0]
        error = max(error, difference(atc.params[t + 1], torch.from_numpy(mix.weights(t)) @ stepped))
    identity("    D-PSGD (atc) = W (x - lr g)", error)
    cta = run(DPSGD("cta"), mixing=mix)
    error = 0.0
    for t, one in enumerate(cta.rounds):
        mixed = torch.from_numpy(mix.weights(t)) @ cta.params[t]
        error = max(error, difference(cta.params[t + 1], mixed - one.lr * one.gradients[0]))
    identity("    D-PSGD (cta) = W x - lr g", error)


def test_mixing_with_everybody_is_the_average(identity):
    identity("11  D-PSGD(atc, W = J) = SGD", difference(run(DPSGD("atc"), mixing=AVERAGE).params, run(SGD()).params))
    identity("11  D-PSGD(cta, W = J): mean model = mean of x - lr g", _mean_moves(run(DPSGD("cta"), mixing=AVERAGE)))


def _mean_moves(trajectory) -> float:
    """How far the mean model is from moving by -lr times the mean gradient."""
    moved = torch.stack([one.lr * one.gradients[0].mean(0) for one in trajectory.rounds])
    return difference(trajectory.mean[1:], trajectory.mean[:-1] - moved)


@pytest.mark.parametrize("name", MIXINGS)
def test_mixing_never_moves_the_mean(identity, name):
    mix = MIXINGS[name]
    identity(
        "12  D-PSGD: mean x moves by -lr mean g, any W",
        max(_mean_moves(run(DPSGD(order), mixing=mix)) for order in ("cta", "atc")),
    )
    momentum = run(DmSGD(), mixing=mix)
    m, error = torch.zeros(D, dtype=torch.float64), 0.0
    for t, one in enumerate(momentum.rounds):
        m = 0.9 * m + one.gradients[0].mean(0)
        error = max(error, difference(momentum.mean[t + 1], momentum.mean[t] - one.lr * m))
    identity("12  DmSGD: mean x moves by -lr mean m, any W", error)


def test_dmsgd_is_dpsgd_without_momentum(identity):
    for order in ("cta", "atc"):
        without = run(DmSGD(momentum=0.0, order=order), mixing=MIXINGS["ring"])
        identity(
            "    DmSGD(beta = 0) = D-PSGD", difference(without.params, run(DPSGD(order), mixing=MIXINGS["ring"]).params)
        )


@pytest.mark.parametrize("nesterov", [False, True])
def test_pd_sgdm_with_the_exact_average(identity, nesterov):
    every = run(PDSGDM(period=1, nesterov=nesterov), mixing=AVERAGE)
    if not nesterov:
        identity("11  PD-SGDM(W = J, p = 1) = DMSGD", difference(every.params, run(DMSGD()).params))
    identity(
        "11  PD-SGDM(W = J, p = 1) = local SGD, H = 1",
        difference(every.params, run(LocalSGD(period=1, nesterov=nesterov)).params),
    )
    some = run(PDSGDM(period=PERIOD, nesterov=nesterov), in_steps, ROUNDS // PERIOD, mixing=AVERAGE)
    local = run(LocalSGD(period=PERIOD, nesterov=nesterov), in_steps, ROUNDS // PERIOD)
    identity("11  PD-SGDM(W = J, p) = local SGD, H = p", difference(some.params, local.params))


@pytest.mark.parametrize("name", MIXINGS)
def test_pd_sgdm_every_step_is_dmsgd(identity, name):
    period = run(PDSGDM(period=1), mixing=MIXINGS[name])
    identity("    PD-SGDM(p = 1) = DmSGD (atc)", difference(period.params, run(DmSGD(), mixing=MIXINGS[name]).params))


def test_pd_sgdm_mixes_once_a_period():
    trajectory = run(PDSGDM(period=PERIOD), in_steps, rounds=20, mixing=MIXINGS["ring"])
    assert all(len(one.gradients) == PERIOD and len(one.messages) == 1 for one in trajectory.rounds)


def test_decentlam_with_the_exact_average(identity):
    identity(
        "15  DecentLaM(W = J) = DMSGD", difference(run(DecentLaM(), mixing=AVERAGE).mean, run(DMSGD()).mean), 1e-11
    )


@pytest.mark.parametrize("name", MIXINGS)
def test_decentlam_without_momentum_is_dpsgd(identity, name):
    without = run(DecentLaM(momentum=0.0), mixing=MIXINGS[name])
    identity(
        "15  DecentLaM(beta = 0) = D-PSGD (atc)",
        difference(without.params, run(DPSGD("atc"), mixing=MIXINGS[name]).params),
        1e-11,
    )


def test_decentlam_has_no_bias_from_momentum():
    """Full gradients, constant rate: DecentLaM stops where D-PSGD does, DmSGD much further out."""
    problem, ring = Quadratic(workers=8, noise=0.0), graph("ring", 8)
    ends = {}
    for algorithm in (DPSGD("atc"), DecentLaM(), DmSGD()):
        models = run(algorithm, lambda epoch: 0.01, 2500, 0.0, problem, mixing=ring).end["params"]
        ends[type(algorithm).__name__] = float((models - problem.optimum).norm())
    assert abs(ends["DecentLaM"] - ends["DPSGD"]) < 1e-6 and ends["DmSGD"] > 3 * ends["DPSGD"]


def test_quasi_global_momentum_without_memory_is_dmsgd(identity):
    """mu = 0: the buffer is the last displacement over the rate, with W = J the momentum itself."""
    quasi = run(QGDSGDm(buffer_momentum=0.0), mixing=AVERAGE)
    identity("15  QG-DSGDm(W = J, mu = 0) = DMSGD", difference(quasi.params, run(DMSGD()).params), 1e-11)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("name", ["ring", "one-peer exponential", "drawn"])
def test_quasi_global_momentum_by_its_formula(identity, name, nesterov):
    quasi = run(QGDSGDm(momentum=0.8, buffer_momentum=0.7, nesterov=nesterov), mixing=MIXINGS[name])
    m, error = torch.zeros(K, D, dtype=torch.float64), 0.0
    for t, one in enumerate(quasi.rounds):
        g, x = one.gradients[0], quasi.params[t]
        local = 0.8 * m + g
        step = g + 0.8 * local if nesterov else local
        after = torch.from_numpy(MIXINGS[name].weights(t)) @ (x - one.lr * step)
        m = 0.7 * m + 0.3 * (x - after) / one.lr
        error = max(error, difference(quasi.params[t + 1], after))
    identity("    QG-DSGDm = formula", error, 1e-11)


def test_stochastic_gradient_push_with_everybody_is_the_average(identity):
    uniform = graph("complete", weights="push-sum", push_sum=True)
    identity(
        "16  SGP(P = J, beta = 0) = SGD", difference(run(SGP(0.0, False), mixing=uniform).params, run(SGD()).params)
    )
    nesterov = run(SGP(), mixing=uniform)
    identity(
        "16  SGP(P = J) = local SGD (Nesterov), H = 1",
        difference(nesterov.params, run(LocalSGD(period=1, nesterov=True)).params),
    )


@pytest.mark.parametrize("name", MIXINGS)
def test_stochastic_gradient_push_over_doubly_stochastic_matrices_is_dpsgd(identity, name):
    pushed = run(SGP(0.0, False), mixing=MIXINGS[name])
    identity(
        "16  SGP(P doubly stochastic) = D-PSGD (atc)",
        difference(pushed.params, run(DPSGD("atc"), mixing=MIXINGS[name]).params),
        1e-11,
    )
    weights = torch.stack([omega.expand(K, 1) for omega in pushed.of("omega")])
    identity("16  SGP(P doubly stochastic): every omega = 1", difference(weights, torch.ones_like(weights)))


DIRECTED = {
    "star": graph("star", 6, "push-sum"),
    "one-peer exponential, 6 workers": graph("one-peer-exponential", 6, push_sum=True),
    "one way round, with a shortcut": stated_mixing(
        [
            [0.5, 0, 0, 0, 0.5, 0.5],
            [0.5, 0.5, 0, 0, 0, 0],
            [0, 0.5, 1 / 3, 0, 0, 0],
            [0, 0, 1 / 3, 0.5, 0, 0],
            [0, 0, 0, 0.5, 0.5, 0],
            [0, 0, 1 / 3, 0, 0, 0.5],
        ]
    ),
}


@pytest.mark.parametrize("name", DIRECTED)
def test_nothing_gets_lost_in_push_sum(identity, name):
    problem, mix = Quadratic(workers=6), DIRECTED[name]
    assert mix.problem("push-sum") is None
    pushed = run(SGP(0.0, False), workload=problem, mixing=mix)
    totals = torch.stack([omega.expand(6, 1).sum() for omega in pushed.of("omega")])
    identity("16  SGP: sum of omega = K", difference(totals, torch.full_like(totals, 6.0)))
    moved = torch.stack([one.lr * one.gradients[0].mean(0) for one in pushed.rounds])
    identity("16  SGP: mean numerator moves by -lr mean g(z)", difference(pushed.mean[1:], pushed.mean[:-1] - moved))
    points = [one.points[0] for one in pushed.rounds[1:]]
    ratios = [x / omega for x, omega in zip(pushed.params[1:-1], pushed.of("omega")[1:])]
    identity("16  SGP: gradients are taken at z = x / omega", max(difference(a, b) for a, b in zip(points, ratios)))


@pytest.mark.parametrize("name", ["star", "one way round, with a shortcut"])
def test_push_sum_corrects_what_a_directed_graph_would_bias(name):
    """Without gradients z goes to the mean of the start, whatever weights the graph gives to whom."""
    mix = DIRECTED[name]
    assert mix.problem("doubly-stochastic") is not None
    start = torch.from_numpy(generator(0, "start").standard_normal((6, D)))
    x, omega = start.clone(), torch.ones(6, 1, dtype=torch.float64)
    for t in range(300):
        x, omega = torch.from_numpy(mix.weights(t)) @ x, torch.from_numpy(mix.weights(t)) @ omega
    assert (
        difference(x / omega, start.mean(0).expand(6, -1)) < 1e-9 and difference(x, start.mean(0).expand(6, -1)) > 0.1
    )


def test_mixing_gives_the_same_bits_on_any_number_of_threads():
    workload, ring = Quadratic(workers=8, shapes=((63, 17),)), graph("ring", 8)
    ends = []
    for threads in (1, 3):
        rows.POOL.threads = threads
        ends.append(run.__wrapped__(DmSGD(), rounds=20, workload=workload, mixing=ring).end["params"])
    rows.POOL.threads = 1
    assert torch.equal(*ends)


def test_a_rate_of_zero_still_mixes_and_breaks_nothing():
    for algorithm in (DecentLaM(), QGDSGDm(), DPSGD(), SGP()):
        end = run(algorithm, lambda epoch: 0.0, rounds=5, mixing=MIXINGS["ring"]).params
        assert difference(end, end[:1].expand_as(end)) < 1e-15


def test_at_a_rate_that_falls_to_zero_the_mean_stops_and_the_workers_meet():
    """What momentum and duals hold is in units of gradients: at a rate of 0 it must not become a step."""
    for algorithm in (DPSGD(), DmSGD(), DecentLaM(), QGDSGDm(), SGP(), LEAD(IDENTITY)):
        params = run(algorithm, lambda epoch: 0.04 if epoch < 3 else 0.0, rounds=80, mixing=MIXINGS["ring"]).params
        assert difference(params[-1].mean(0), params[30].mean(0)) < 1e-13, algorithm
        spread = [float((models - models.mean(0)).norm()) for models in (params[30], params[-1])]
        assert spread[1] < 1e-4 * spread[0], algorithm
