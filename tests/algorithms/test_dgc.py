"""DGC: momentum correction, masking, clipping, sparsity warm-up."""

from __future__ import annotations

import pytest
import torch

from simgmc.algorithms.dgc import DGC, clipped
from simgmc.algorithms.error_feedback import EFSGDM
from simgmc.algorithms.sgd import DMSGD, SGD
from simgmc.compression import build
from simgmc.core.errors import SimgmcError
from tests.algorithms.trajectories import COMPRESSORS, IDENTITY, PROBLEM, constant, difference, rounds_with, run


def test_uncompressed_dgc_without_masking_is_dmsgd(identity):
    dgc = run(DGC(IDENTITY, momentum_factor_masking=False))
    identity("6   DGC(I, no masking) = DMSGD", difference(dgc.common, run(DMSGD()).common))


def test_uncompressed_dgc_with_masking_is_sgd(identity):
    identity("6   DGC(I, masking) = SGD", difference(run(DGC(IDENTITY)).common, run(SGD()).common))


def test_weight_decay_after_aggregation_changes_nothing_uncompressed(identity):
    dgc = run(DGC(IDENTITY, momentum_factor_masking=False, weight_decay_at="aggregate"), weight_decay=0.1)
    identity(
        "    DGC(I), decay after aggregation = DMSGD", difference(dgc.common, run(DMSGD(), weight_decay=0.1).common)
    )


def test_weight_decay_after_aggregation_stays_out_of_the_messages():
    dgc = run(DGC(COMPRESSORS["top-k"], weight_decay_at="aggregate"), weight_decay=0.1)
    for one in dgc.rounds[:20]:
        points = one.state["params"]
        assert torch.equal(one.gradients[0], PROBLEM.gradients(points, dgc.rounds.index(one))[0])


@pytest.mark.parametrize("decay_at", ["gradient", "aggregate"])
def test_uncompressed_nesterov_is_the_torch_optimizer(identity, decay_at):
    dgc = run(DGC(IDENTITY, momentum_factor_masking=False, nesterov=True, weight_decay_at=decay_at), weight_decay=0.1)
    w = torch.nn.Parameter(PROBLEM.initial_parameters())
    optimizer = torch.optim.SGD([w], lr=1.0, momentum=0.9, nesterov=True, weight_decay=0.1)
    error = 0.0
    for t, one in enumerate(dgc.rounds):
        error = max(error, difference(w.data, dgc.common[t]))
        w.grad = PROBLEM.gradients(w.data[None], t)[0].mean(0)
        optimizer.param_groups[0]["lr"] = one.lr
        optimizer.step()
    identity("6   DGC(I, Nesterov) = torch.optim.SGD(nesterov)", error)


@pytest.mark.parametrize("name", ["top-k", "RBGS", "top-k per tensor", "sign"])
def test_dgc_without_masking_is_error_feedback_with_local_momentum(identity, name):
    dgc = run(DGC(COMPRESSORS[name], momentum_factor_masking=False), constant, rounds_with(name))
    identity(
        "7   DGC(no masking) = EF-SGDM, constant rate",
        difference(dgc.common, run(EFSGDM(COMPRESSORS[name]), constant, rounds_with(name)).common),
    )


def test_dgc_and_error_feedback_differ_while_the_rate_varies():
    dgc = run(DGC(COMPRESSORS["top-k"], momentum_factor_masking=False))
    assert difference(dgc.common, run(EFSGDM(COMPRESSORS["top-k"])).common) > 1e-3


def test_momentum_is_masked_exactly_where_each_worker_sent():
    dgc = run(DGC(build("top-k", count=3)))
    for one, momentum in zip(dgc.rounds, dgc.of("momentum_buffer")[1:]):
        sent = one.messages[0].dense() != 0
        assert sent.sum(1).tolist() == [3] * PROBLEM.workers
        assert torch.equal(momentum == 0, sent)
    assert any((sent[0] != row).any() for row in sent), "the masks are the workers' own"


def test_tensors_exempt_from_compression_keep_their_momentum(identity):
    """Uncompressed, masked: the vector moves as under DMSGD, the matrix as under SGD."""
    everything = build("top-k", PROBLEM.layout, density=1.0, exempt_vectors=True)
    still = run(DGC(everything), constant)
    momentum, expected, error = torch.zeros(4, 4, dtype=torch.float64), still.common[0].clone(), 0.0
    for t, one in enumerate(still.rounds):
        g = one.gradients[0]
        momentum = 0.9 * momentum + g[:, 8:]
        expected = torch.cat([expected[:8] - one.lr * g[:, :8].mean(0), expected[8:] - one.lr * momentum.mean(0)])
        error = max(error, difference(expected, still.common[t + 1]))
    identity("    DGC: exempt tensors = DMSGD, masking or not", error)


def test_independent_gradients_at_their_clipping_bounds_have_a_mean_at_the_global_bound():
    """The paper's argument for sqrt(K): 64 random directions, each clipped to clip_norm * sqrt(64)."""
    draws = torch.randn(64, 20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = clipped(draws, 3.0 * 64**0.5).mean(0)
    assert abs(mean.norm() - 3.0) < 0.05


def test_each_worker_clips_its_gradient_to_its_share_of_the_threshold(identity):
    """Without momentum and compression the parameters move by the mean of the clipped gradients."""
    limit, dgc = 0.75, run(DGC(IDENTITY, clip_norm=0.75))
    clipped, error = 0, 0.0
    for t, one in enumerate(dgc.rounds):
        norms = one.gradients[0].norm(dim=1, keepdim=True)
        share = limit * PROBLEM.workers**0.5
        clipped += int((norms > share).sum())
        scaled = torch.where(norms > share, one.gradients[0] * share / norms, one.gradients[0])
        error = max(error, difference(dgc.common[t + 1], dgc.common[t] - one.lr * scaled.mean(0)))
    assert 0 < clipped < PROBLEM.workers * len(dgc.rounds)
    identity("    DGC: local clipping at clip_norm * sqrt(K)", error)


@pytest.mark.parametrize(
    "compressor",
    [
        build("top-k", density=0.1),
        build("top-k", PROBLEM.layout, density=0.1, exempt_vectors=True),
        build("composed", sparsify={"name": "top-k", "density": 0.1}, quantise={"name": "qsgd"}),
    ],
    ids=["plain", "exempt vectors", "composed"],
)
def test_warm_up_sends_the_densities_of_the_first_epochs(compressor):
    dgc = run(DGC(compressor, density_warmup=(0.75, 0.5)), rounds=30, weight_decay=0.0)
    sent = [int((one.messages[0].dense()[0] != 0).sum()) for one in dgc.rounds]
    exempt = 4 if hasattr(compressor, "columns") else 0
    d = PROBLEM.d - exempt
    expected = [int(0.75 * d)] * 10 + [int(0.5 * d)] * 10 + [max(1, int(0.1 * d))] * 10
    slack = 2 if hasattr(compressor, "quantise") else 0  # values quantised to zero are not sent
    assert all(n - slack <= got - exempt <= n for got, n in zip(sent, expected)), sent


@pytest.mark.parametrize(
    "parameters, said",
    [
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"density_warmup": (0.5, 2.0)}, "density_warmup"),
        ({"density_warmup": (0.5,), "compressor": build("top-k", count=3)}, "needs a compressor with a density"),
    ],
)
def test_senseless_parameters_are_refused(parameters, said):
    with pytest.raises(SimgmcError, match=said):
        DGC(**{"compressor": build("top-k", density=0.5), **parameters})
