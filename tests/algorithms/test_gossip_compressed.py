"""CHOCO-SGD, CPD-SGDM, DCD- and ECD-PSGD, LEAD, Quantized-PR-SGD in its gossip form."""

from __future__ import annotations

import pytest
import torch

from simgmc.algorithms.gossip import DPSGD, PDSGDM
from simgmc.algorithms.gossip_compressed import (
    CPDSGDM,
    DCDPSGD,
    ECDPSGD,
    LEAD,
    ChocoSGD,
    QuantizedPRSGDGossip,
)
from simgmc.algorithms.local import QuantizedPRSGD
from simgmc.compression import build
from simgmc.core.errors import SimgmcError
from tests.algorithms.mixings import AVERAGE, MIXINGS, D, K, graph
from tests.algorithms.noisy_quadratic import Quadratic
from tests.algorithms.trajectories import (
    COMPRESSORS,
    IDENTITY,
    ROUNDS,
    constant,
    difference,
    in_steps,
    rounds_with,
    run,
)

PERIOD = 5
SYMMETRIC = {name: MIXINGS[name] for name in ("ring", "star", "drawn")}
QUANTISED = build("qsgd", levels=16, norm="inf")


@pytest.mark.parametrize("name", SYMMETRIC)
def test_uncompressed_cpd_sgdm_is_pd_sgdm(identity, name):
    for period, start in ((1, "zero"), (PERIOD, "initial")):
        plain = run(PDSGDM(period=period), in_steps, ROUNDS // period, mixing=SYMMETRIC[name])
        whole = run(
            CPDSGDM(period=period, compressor=IDENTITY, gamma=1.0, order="hat_new", copies_start=start),
            in_steps,
            ROUNDS // period,
            mixing=SYMMETRIC[name],
        )
        identity("11  CPD(I, gamma = 1, hat_new) = PD-SGDM", difference(whole.params, plain.params))


ORDERS = [*((name, "hat_old") for name in COMPRESSORS), ("top-k", "hat_new"), ("sign", "hat_new")]
"""Every compressor, and both orders: what is compressed does not depend on when its copy is read."""


@pytest.mark.parametrize(("name", "order"), ORDERS)
def test_cpd_sgdm_every_step_without_momentum_is_choco(identity, name, order):
    compressor, rounds, ring = COMPRESSORS[name], rounds_with(name), SYMMETRIC["ring"]
    choco = run(ChocoSGD(compressor, 0.2, order), rounds=rounds, mixing=ring)
    cpd = run(
        CPDSGDM(period=1, momentum=0.0, compressor=compressor, gamma=0.2, order=order), rounds=rounds, mixing=ring
    )
    identity("11  CPD(beta = 0, p = 1) = CHOCO-SGD", difference(cpd.params, choco.params))
    if name == "top-k":
        momentum = run(CPDSGDM(period=1, compressor=compressor, gamma=0.2, order=order), mixing=SYMMETRIC["ring"])
        heavy = run(ChocoSGD(compressor, 0.2, order, local_momentum=0.9), mixing=SYMMETRIC["ring"])
        identity("11  CPD(p = 1) = CHOCO-SGD with local momentum", difference(momentum.params, heavy.params))


@pytest.mark.parametrize(("name", "order"), ORDERS)
def test_compressed_gossip_never_moves_the_mean(identity, name, order):
    start = "zero" if order == "hat_old" else "initial"
    choco = run(ChocoSGD(COMPRESSORS[name], 0.2, order, start), rounds=rounds_with(name), mixing=SYMMETRIC["drawn"])
    moved = torch.stack([one.lr * one.gradients[0].mean(0) for one in choco.rounds])
    identity("12  CHOCO: mean x moves by -lr mean g, any Q", difference(choco.mean[1:], choco.mean[:-1] - moved))
    cpd = run(
        CPDSGDM(period=PERIOD, compressor=COMPRESSORS[name], gamma=0.2, order=order, copies_start=start),
        in_steps,
        rounds=rounds_with(name) // PERIOD,
        mixing=SYMMETRIC["star"],
    )
    m, error = torch.zeros(D, dtype=torch.float64), 0.0
    for t, one in enumerate(cpd.rounds):
        moved = 0.0
        for gradient in one.gradients:
            m = 0.9 * m + gradient.mean(0)
            moved = moved + one.lr * m
        error = max(error, difference(cpd.mean[t + 1], cpd.mean[t] - moved))
    identity("12  CPD: mean x moves by -lr sum of mean m, any Q", error)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_the_memory_light_sum_is_the_mix_of_everybodys_copies(identity, name):
    weights = torch.from_numpy(SYMMETRIC["ring"].weights(0))
    choco = run(ChocoSGD(COMPRESSORS[name], 0.2, "hat_old"), rounds=rounds_with(name), mixing=SYMMETRIC["ring"])
    error = max(difference(s, weights @ h) for s, h in zip(choco.of("public_sum")[1:], choco.of("public")[1:]))
    identity("    CHOCO: s = W h, any Q", error)


@pytest.mark.parametrize("order", ["hat_old", "hat_new"])
def test_choco_by_its_formula_with_a_copy_for_every_neighbour(identity, order):
    """The listings of the two papers: sums of w_kj (h_j - h_k) over copies kept one by one."""
    weights = torch.from_numpy(SYMMETRIC["ring"].weights(0))
    choco = run(ChocoSGD(build("top-k", count=3), 0.3, order), mixing=SYMMETRIC["ring"])
    copies, error = torch.zeros(K, D, dtype=torch.float64), 0.0
    for t, one in enumerate(choco.rounds):
        half = choco.params[t] - one.lr * one.gradients[0]
        if order == "hat_new":
            copies = copies + one.messages[0].dense()
        after = half + 0.3 * sum(weights[:, j, None] * (copies[j] - copies) for j in range(K))
        if order == "hat_old":
            copies = copies + one.messages[0].dense()
        error = max(error, difference(choco.params[t + 1], after))
        wanted = (half if order == "hat_new" else after) - (copies - one.messages[0].dense())
        largest = wanted.abs().topk(3, dim=1).indices.sort(1).values
        assert torch.equal(one.messages[0].dense().abs().topk(3, dim=1).indices.sort(1).values, largest)
    identity("    CHOCO = formula with every neighbour's copy", error)


def test_compressed_workers_come_to_agree():
    """CHOCO-Gossip: at a rate of 0 all models go to the mean of the start, whatever little is sent."""
    workload = Quadratic(workers=8)
    spread = {}
    for sent in ("sign", "top-k"):
        compressor = build("sign") if sent == "sign" else build("top-k", count=2)
        choco = run(
            ChocoSGD(compressor, 0.2),
            lambda epoch: 0.05 if epoch < 1 else 0.0,
            600,
            0.0,
            workload,
            mixing=graph("ring", 8),
        )
        distance = (choco.params - choco.mean[:, None]).norm(dim=2).amax(1)
        spread[sent] = distance[-1] / distance[10]
    assert max(spread.values()) < 1e-6, spread


@pytest.mark.parametrize("name", SYMMETRIC)
def test_uncompressed_dcd_and_ecd_are_dpsgd(identity, name):
    dpsgd = run(DPSGD(), mixing=SYMMETRIC[name])
    identity(
        "13  DCD(I) = D-PSGD (cta)", difference(run(DCDPSGD(IDENTITY), mixing=SYMMETRIC[name]).params, dpsgd.params)
    )
    identity(
        "13  ECD(I) = D-PSGD (cta)",
        difference(run(ECDPSGD(IDENTITY), mixing=SYMMETRIC[name]).params, dpsgd.params),
        1e-11,
    )


def test_dcd_keeps_the_mix_of_all_models(identity):
    weights = torch.from_numpy(SYMMETRIC["ring"].weights(0))
    dcd = run(DCDPSGD(QUANTISED), mixing=SYMMETRIC["ring"])
    identity(
        "13  DCD: s = W x", max(difference(s, weights @ x) for s, x in zip(dcd.of("public_sum")[1:], dcd.params[1:]))
    )


def test_ecd_by_its_formula_with_estimates_of_every_model(identity):
    weights = torch.from_numpy(SYMMETRIC["star"].weights(0))
    ecd = run(ECDPSGD(QUANTISED), mixing=SYMMETRIC["star"])
    y, error = ecd.params[0], 0.0
    for t, one in enumerate(ecd.rounds):
        after = weights @ y - one.lr * one.gradients[0]
        error = max(error, difference(ecd.params[t + 1], after))
        y = (1 - 2 / (t + 1)) * y + 2 / (t + 1) * one.messages[0].dense()
    identity("13  ECD = formula with estimates of every model", error, 1e-11)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_uncompressed_lead_is_nids(identity, name):
    """NIDS: x'' = (I + W) / 2 (2 x' - x - lr g(x') + lr g(x)), from x' = (I + W) / 2 (x - lr g(x))."""
    lead = run(LEAD(IDENTITY, 1.0), constant, mixing=SYMMETRIC[name])
    half = (torch.eye(K, dtype=torch.float64) + torch.from_numpy(SYMMETRIC[name].weights(0))) / 2
    g = [one.gradients[0] for one in lead.rounds]
    lr, x, error = lead.rounds[0].lr, [lead.params[0]], 0.0
    x.append(half @ (x[0] - lr * g[0]))
    for t in range(1, len(lead.rounds)):
        x.append(half @ (2 * x[t] - x[t - 1] - lr * g[t] + lr * g[t - 1]))
        # From the run's own gradients: compared step by step, as rounding would take two runs apart.
        error = max(error, difference(lead.params[t + 1], x[t + 1]))
    identity("14  LEAD(I, gamma = 1) = NIDS", error, 1e-11)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_the_duals_of_lead_cancel_and_its_mean_is_sgds(identity, name):
    lead = run(LEAD(COMPRESSORS[name], 0.5, 0.3), rounds=rounds_with(name), mixing=SYMMETRIC["drawn"])
    duals = torch.stack([dual.expand(K, -1).sum(0) for dual in lead.of("dual")])
    scale = max(float(dual.abs().max()) for dual in lead.of("dual"))
    identity("14  LEAD: sum of D = 0, any Q", float(duals.abs().max()) / max(scale, 1.0), 1e-11)
    moved = torch.stack([one.lr * one.gradients[0].mean(0) for one in lead.rounds])
    identity("12  LEAD: mean x moves by -lr mean g, any Q", difference(lead.mean[1:], lead.mean[:-1] - moved), 1e-11)


def test_quantized_pr_sgd_gossip_every_step_is_dcd(identity):
    for compressor in (QUANTISED, build("top-k", count=6)):
        gossip = run(QuantizedPRSGDGossip(compressor, period=1), mixing=SYMMETRIC["ring"])
        identity(
            "    Quantized-PR-SGD gossip(p = 1) = DCD-PSGD",
            difference(gossip.params, run(DCDPSGD(compressor), mixing=SYMMETRIC["ring"]).params),
        )
    gossip = run(QuantizedPRSGDGossip(IDENTITY, period=1), mixing=SYMMETRIC["ring"])
    identity(
        "    Quantized-PR-SGD gossip(I, p = 1) = D-PSGD",
        difference(gossip.params, run(DPSGD(), mixing=SYMMETRIC["ring"]).params),
    )


@pytest.mark.parametrize("steps_from", ["own", "mixed"])
def test_quantized_pr_sgd_gossip_by_its_formula_with_a_copy_for_every_neighbour(identity, steps_from):
    weights = torch.from_numpy(SYMMETRIC["star"].weights(0))
    method = QuantizedPRSGDGossip(COMPRESSORS["top-k"], period=3, steps_from=steps_from)
    gossip, error = run(method, rounds=40, mixing=SYMMETRIC["star"]), 0.0
    for t, one in enumerate(gossip.rounds):
        x = gossip.params[t]
        at, moved = (x if steps_from == "own" else weights @ x), 0.0
        for point, rate, gradient in zip(one.points, one.rates, one.gradients, strict=True):
            error = max(error, difference(point.expand(K, -1), at))
            at, moved = at - rate * gradient, moved - rate * gradient
        wanted = weights @ x + moved - x
        kept = torch.zeros_like(wanted).scatter(1, wanted.abs().topk(2).indices, 1.0)
        error = max(error, difference(gossip.params[t + 1], x + kept * wanted))
    identity("    Quantized-PR-SGD gossip = formula with copies of every neighbour", error)


def test_quantized_pr_sgd_gossip_with_the_exact_average_is_its_all_reduce_form(identity):
    """From the mixed model, nothing lost: with W = J everybody restarts at the mean, which is then known."""
    rounds = ROUNDS // PERIOD
    gossip = run(QuantizedPRSGDGossip(IDENTITY, period=PERIOD, steps_from="mixed"), in_steps, rounds, mixing=AVERAGE)
    reduced = run(QuantizedPRSGD(IDENTITY, period=PERIOD), in_steps, rounds)
    sums = torch.cat([s.mean(0, keepdim=True) for s in gossip.of("public_sum")])
    identity("    Quantized-PR-SGD gossip(I, W = J, mixed) = local SGD", difference(sums, reduced.common))


@pytest.mark.parametrize(
    ("build_it", "words"),
    [
        (lambda: CPDSGDM(compressor=None), "must be a compressor"),
        (lambda: ChocoSGD(IDENTITY, gamma=0.0), "gamma = 0.0"),
        (lambda: ChocoSGD(IDENTITY, local_momentum=1.0), "local_momentum = 1.0"),
        (lambda: LEAD(IDENTITY, alpha=2.0), "alpha = 2.0"),
        (lambda: QuantizedPRSGDGossip(IDENTITY, period=0), "period = 0"),
    ],
)
def test_parameters_that_make_no_method_are_refused(build_it, words):
    with pytest.raises(SimgmcError, match=words):
        build_it()


def test_lead_converges_linearly_where_dpsgd_stalls():
    """Full gradients, no noise: LEAD reaches the optimum, quantised or not; D-PSGD stays at a distance."""
    problem, ring = Quadratic(workers=8, noise=0.0), graph("ring", 8)
    start = float((problem.initial_parameters() - problem.optimum).norm())

    def distances(algorithm, rounds):
        """After half of the rounds and after all of them, relative to the start."""
        models = run(algorithm, lambda epoch: 0.1, rounds, 0.0, problem, mixing=ring).params
        return [float((models[t] - problem.optimum).norm(dim=1).max()) / start for t in (rounds // 2, rounds)]

    two_bits = build("qsgd", levels=2, norm="inf", bucket=512)
    for algorithm in (LEAD(IDENTITY), LEAD(two_bits, 1.0, 0.5)):
        halfway, end = distances(algorithm, 600)
        assert end < max(halfway**1.7, 1e-11) and end < 1e-5, (halfway, end)
    halfway, end = distances(DPSGD(), 600)
    assert end > 1e-2 and abs(halfway / end - 1) < 0.05
