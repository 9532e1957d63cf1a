"""Error feedback: EF-SGDM, SAEF, DEF, DEF-A, EF-signSGD, DoubleSqueeze."""

from __future__ import annotations

import pytest
import torch

from simgmc.algorithms.cser import MCSER
from simgmc.algorithms.error_feedback import DEF, DEFA, EFSGDM, SAEF, DoubleSqueeze, EFSignSGD
from simgmc.algorithms.sgd import DMSGD, SGD
from simgmc.compression import build
from tests.algorithms.trajectories import COMPRESSORS, IDENTITY, PROBLEM, difference, rounds_with, run

SOME = ["top-k", "RBGS"]


@pytest.mark.parametrize("name", SOME)
def test_def_without_detachment_is_error_feedback(identity, name):
    identity(
        "8   DEF(lambda = 0) = EF-SGDM",
        difference(run(DEF(COMPRESSORS[name], detached=0.0)).common, run(EFSGDM(COMPRESSORS[name])).common),
    )


@pytest.mark.parametrize("name", SOME)
def test_fully_detached_error_feedback_is_saef(identity, name):
    identity(
        "8   DEF(lambda = 1) = SAEF",
        difference(run(DEF(COMPRESSORS[name], detached=1.0)).common, run(SAEF(COMPRESSORS[name])).common),
    )


@pytest.mark.parametrize("name", SOME)
def test_saef_is_csea_at_the_local_points(identity, name):
    """CSEA: nothing sent but every round's errors. Its local model is SAEF's x - e."""
    saef = run(SAEF(COMPRESSORS[name]))
    csea = run(MCSER(COMPRESSORS[name], compressor=None, period=1))
    local = saef.params - torch.stack([e.expand(PROBLEM.workers, -1) for e in saef.of("residual")])
    identity("8   SAEF = CSEA (local points)", difference(local, csea.params))


@pytest.mark.parametrize("algorithm", [EFSGDM, SAEF, DEF, DEFA])
def test_uncompressed_error_feedback_is_dmsgd(identity, algorithm):
    identity("8   EF(I) = SAEF(I) = DEF(I) = DMSGD", difference(run(algorithm(IDENTITY)).common, run(DMSGD()).common))


@pytest.mark.parametrize(
    "algorithm, name",
    [(DEF, name) for name in (*SOME, "random-k, own seeds", "sign", "top-k, exempt vectors")]
    + [(one, name) for one in (EFSGDM, SAEF) for name in SOME],
)
def test_the_model_less_the_mean_residual_moves_by_the_mean_momentum(identity, algorithm, name):
    trajectory = run(algorithm(COMPRESSORS[name]), rounds=rounds_with(name))
    ahead = trajectory.common - torch.stack([e.mean(0) for e in trajectory.of("residual")])
    momenta = torch.stack(
        [one.lr * m.mean(0) for one, m in zip(trajectory.rounds, trajectory.of("momentum_buffer")[1:])]
    )
    identity("22  x - mean e moves by -lr mean m (EF, SAEF, DEF)", difference(ahead[1:], ahead[:-1] - momenta))


@pytest.mark.parametrize("algorithm, coefficient", [(EFSGDM, 0.0), (SAEF, 1.0), (DEF, 0.3), (DEFA, 0.3)])
def test_gradients_are_taken_at_the_detached_point(identity, algorithm, coefficient):
    error = 0.0
    for one in run(algorithm(COMPRESSORS["RBGS"])).rounds:
        expected = one.state["params"] - coefficient * one.state["residual"]
        error = max(error, difference(one.points[0].expand_as(expected), expected))
    identity("8   gradient point = x - lambda e", error)


def test_def_and_def_a_train_alike_and_report_each_others_point(identity):
    plain, averaged = run(DEF(COMPRESSORS["RBGS"])), run(DEFA(COMPRESSORS["RBGS"]))
    assert difference(plain.common, averaged.common) == 0.0
    x = plain.common[-1]
    ahead = x - plain.end["residual"].mean(0)
    assert difference(x, ahead) > 1e-3
    a, b = plain.trainer, averaged.trainer
    points = [(a.model(), x), (a.other_models()["x - mean e"], ahead), (b.model(), ahead), (b.other_models()["x"], x)]
    identity("    DEF reports x, DEF-A x - mean e, each both", max(difference(*pair) for pair in points))


def test_averaging_the_residuals_keeps_their_mean(identity):
    saef = run(SAEF(COMPRESSORS["top-k"], average_residual_every=3))
    spread = [difference(e, e.mean(0, keepdim=True).expand_as(e)) for e in saef.of("residual")]
    assert max(spread[::3]) == 0.0
    assert min(spread[1::3]) > 0.0
    ahead = saef.common - torch.stack([e.mean(0) for e in saef.of("residual")])
    momenta = torch.stack([one.lr * m.mean(0) for one, m in zip(saef.rounds, saef.of("momentum_buffer")[1:])])
    identity("22  the same with averaged residuals (SAEF)", difference(ahead[1:], ahead[:-1] - momenta))


@pytest.mark.parametrize("per_tensor", [True, False])
def test_ef_signsgd_by_its_formula(identity, per_tensor):
    trajectory = run(EFSignSGD(per_tensor=per_tensor))
    parts = [slice(0, 8), slice(8, 12)] if per_tensor else [slice(0, 12)]
    e, x, error = torch.zeros(4, 12, dtype=torch.float64), trajectory.common[0], 0.0
    for t, one in enumerate(trajectory.rounds):
        p = one.lr * one.gradients[0] + e
        c = torch.cat([p[:, part].abs().mean(1, keepdim=True) * p[:, part].sign() for part in parts], 1)
        e, x = p - c, x - c.mean(0)
        error = max(error, difference(x, trajectory.common[t + 1]))
    identity("    EF-signSGD = formula", error)


def test_ef_signsgd_is_error_feedback_with_signs_and_no_momentum(identity):
    general = run(EFSGDM(build("sign", PROBLEM.layout, per_tensor=True), momentum=0.0))
    identity("    EF-signSGD = EF-SGDM(sign, beta = 0)", difference(run(EFSignSGD()).common, general.common))


def test_uncompressed_doublesqueeze_is_sgd(identity):
    identity("19  DoubleSqueeze(I) = SGD", difference(run(DoubleSqueeze(IDENTITY)).common, run(SGD()).common))


@pytest.mark.parametrize("name", SOME + ["qsgd, contractive", "random-k, own seeds"])
def test_doublesqueeze_moves_by_what_the_server_sent_and_both_residuals_account_for_the_rest(identity, name):
    """w - lr (mean u + s) moves by -lr mean g while lr is constant; here by parts, at any rate."""
    squeezed = run(DoubleSqueeze(COMPRESSORS[name]), rounds=rounds_with(name))
    held = torch.stack([u.mean(0) for u in squeezed.of("residual")]) + torch.cat(squeezed.of("server_residual"))
    error = 0.0
    for t, one in enumerate(squeezed.rounds):
        step = (squeezed.common[t] - squeezed.common[t + 1]) / one.lr
        error = max(error, difference(step + held[t + 1], one.gradients[0].mean(0) + held[t]))
    identity("19  DoubleSqueeze: step + residuals = mean g + residuals before", error, 1e-11)


def test_doublesqueeze_sends_as_little_back_as_it_gets():
    squeezed = run(DoubleSqueeze(COMPRESSORS["top-k"]))
    assert all(int((one.answers[0] != 0).sum()) <= 2 for one in squeezed.rounds)
