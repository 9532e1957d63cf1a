"""CSER and M-CSER, in the paper's form and in the authors' block form."""

from __future__ import annotations

import pytest
import torch

from simgmc.algorithms.cser import CSER, MCSER
from simgmc.algorithms.local import LocalSGD
from simgmc.algorithms.sgd import DMSGD, SGD
from simgmc.compression import build
from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import Randomness
from tests.algorithms.trajectories import COMPRESSORS, IDENTITY, PROBLEM, ROUNDS, constant, difference, in_steps, run

K, D = PROBLEM.workers, PROBLEM.d
PAIRS = {
    "top-k / top-k": (build("top-k", count=1), build("top-k", count=4)),
    "RBGS / RBGS": (build("rbgs", count=2), build("rbgs", count=5)),
    "none / sign": (None, build("sign")),
    "random-k / top-k": (build("random-k", count=2, seed="own"), build("top-k", count=4)),
}


@pytest.mark.parametrize("period", [1, 7])
def test_sending_every_step_whole_is_dmsgd(identity, period):
    whole = run(MCSER(COMPRESSORS["top-k"], compressor=IDENTITY, period=period))
    identity("9   M-CSER(C1 = I) = DMSGD", difference(whole.mean, run(DMSGD()).common))


def test_resetting_the_whole_error_every_round_is_dmsgd(identity):
    reset = run(MCSER(IDENTITY, compressor=None, period=1))
    identity("9   M-CSER(C1 = 0, C2 = I, H = 1) = DMSGD", difference(reset.mean, run(DMSGD()).common))


@pytest.mark.parametrize("momentum, nesterov", [(0.9, False), (0.9, True), (0.0, False)])
def test_resetting_the_whole_error_every_period_is_local_sgd(identity, momentum, nesterov):
    reset = run(MCSER(IDENTITY, compressor=None, period=5, momentum=momentum, nesterov=nesterov), in_steps)
    local = run(LocalSGD(period=5, momentum=momentum, nesterov=nesterov), in_steps, rounds=ROUNDS // 5)
    identity("9   M-CSER(C1 = 0, C2 = I, H) = local SGD", difference(reset.mean[::5], local.common))


@pytest.mark.parametrize("pair, nesterov", [*((pair, False) for pair in PAIRS), ("RBGS / RBGS", True)])
def test_model_less_error_is_the_same_on_all_workers(identity, pair, nesterov):
    first, second = PAIRS[pair]
    cser = run(MCSER(second, compressor=first, period=6, nesterov=nesterov))
    common = cser.params - torch.stack([e.expand(K, -1) for e in cser.of("error")])
    identity(
        "9   M-CSER: x_k - e_k equal on all workers", difference(common, common.mean(1, keepdim=True).expand_as(common))
    )
    spread = (cser.params - cser.params.mean(1, keepdim=True)).abs().amax((1, 2))
    assert spread[1:].min() > 0


@pytest.mark.parametrize("pair, nesterov", [*((pair, False) for pair in PAIRS), ("RBGS / RBGS", True)])
def test_the_mean_model_takes_the_mean_local_steps(identity, pair, nesterov):
    """Synchronising moves nothing but the differences between workers."""
    first, second = PAIRS[pair]
    cser = run(MCSER(second, compressor=first, period=6, nesterov=nesterov))
    m, error = torch.zeros(K, D, dtype=torch.float64), 0.0
    for t, one in enumerate(cser.rounds):
        m = 0.9 * m + one.gradients[0]
        p = one.lr * (0.9 * m + one.gradients[0] if nesterov else m)
        error = max(error, difference(cser.mean[t + 1], cser.mean[t] - p.mean(0)))
    identity("9   M-CSER: mean x moves by -mean p, any C1, C2", error)


def test_cser_is_m_cser_without_momentum(identity):
    first, second = PAIRS["top-k / top-k"]
    cser, mcser = (
        run(CSER(second, compressor=first, period=6)),
        run(MCSER(second, compressor=first, period=6, momentum=0.0)),
    )
    identity("9   CSER = M-CSER(beta = 0)", difference(cser.params, mcser.params))


def test_uncompressed_cser_is_sgd(identity):
    identity(
        "9   CSER(C1 = I) = SGD",
        difference(run(CSER(COMPRESSORS["top-k"], compressor=IDENTITY)).mean, run(SGD()).common),
    )


@pytest.mark.parametrize("first", [None, build("rbgs", count=2)])
def test_averaging_models_on_blocks_is_resetting_the_accumulated_error_there(identity, first):
    """The authors' code against CSER with C1 = 0 whose errors are reset on C1's or C2's block each round."""
    second, period = build("rbgs", count=5), 6
    blocks = run(MCSER(second, compressor=first, period=period, variant="block"))
    x, m = PROBLEM.initial_parameters().expand(K, -1), torch.zeros(K, D, dtype=torch.float64)
    e, error = torch.zeros(K, D, dtype=torch.float64), 0.0
    for t, one in enumerate(blocks.rounds):
        m = 0.9 * m + PROBLEM.gradients(x, t)[0] + 1e-3 * x
        x, e = x - one.lr * m, e - one.lr * m
        reset = second if (t + 1) % period == 0 else first
        if reset is not None:
            message = reset(e, Randomness(0, t, 1, range(K)))
            kept, mean = e - message.dense(), message.dense().mean(0)
            x, e = x - e + (mean + kept), kept
        error = max(error, difference(x, blocks.params[t + 1]))
    identity("9   CSER, block variant = error reset on the blocks", error)


def test_the_two_variants_differ():
    first, second = PAIRS["RBGS / RBGS"]
    paper, block = (run(MCSER(second, compressor=first, period=6, variant=one)) for one in ("paper", "block"))
    assert difference(paper.mean, block.mean) > 1e-3


def test_the_block_variant_refuses_compressors_that_choose_for_themselves():
    with pytest.raises(SimgmcError, match="same coordinates on all workers"):
        run(CSER(build("top-k", count=2), compressor=build("top-k", count=2), variant="block"), constant, rounds=1)


def test_messages_are_c1s_in_every_round_and_c2s_every_period():
    first, second = PAIRS["top-k / top-k"]
    counts = [[int(m.counts[0]) for m in one.messages] for one in run(MCSER(second, compressor=first, period=6)).rounds]
    assert all(sent == ([1, 4] if (t + 1) % 6 == 0 else [1]) for t, sent in enumerate(counts))
