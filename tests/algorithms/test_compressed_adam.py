"""1-bit Adam, 0/1 Adam, EF21 and Adam with error feedback against their papers' formulas, written again."""

from __future__ import annotations

import pytest
import torch

from simgmc.algorithms import ALGORITHMS
from simgmc.algorithms.optimizers import SGD, Adam, AdamW
from simgmc.compression import build
from simgmc.core.errors import SimgmcError
from simgmc.training.stacked import StackedTrainer
from tests.algorithms.test_optimizers import DECAY, STEPS, Cast, rate, train

K = Cast().workers
B1, B2, EPS = 0.9, 0.95, 1e-8
PLAIN = Adam(betas=(B1, B2), eps=EPS, bias_correction=False)
IDENTITY, TOP = build("identity"), build("top-k", count=5)
WARMUP = 7


def gradients(x, t):
    """(K, d): of the workers' own losses at x, (d,) or (K, d)."""
    return Cast().gradients(torch.atleast_2d(x), t)[0]


def lr(t):
    return rate(t / Cast().batches_per_epoch)


def sign(v):
    """Each row's signs times the mean magnitude of each tensor."""
    rows = torch.atleast_2d(v)
    parts = [p.abs().mean(1, keepdim=True) * torch.where(p < 0, -1.0, 1.0) for p in rows.split(Cast().layout.sizes, 1)]
    return torch.cat(parts, 1).reshape(v.shape)


def top(v):
    """The five largest of each row."""
    rows = torch.atleast_2d(v)
    kept = torch.zeros_like(rows).scatter(1, rows.abs().topk(5).indices, 1.0)
    return (rows * kept).reshape(v.shape)


class BothWays:
    """An average with compression and error feedback on both ways."""

    def __init__(self, compress):
        self.compress, self.e, self.s = compress, 0.0, 0.0

    def __call__(self, vectors):
        sent = self.compress(vectors + self.e)
        self.e = vectors + self.e - sent
        mean = sent.mean(0) + self.s
        back = self.compress(mean)
        self.s = mean - back
        return back


def test_1_bit_adam_is_its_papers_algorithm_1(identity):
    found = train(ALGORITHMS["1-bit-adam"](optimizer=PLAIN, warmup_rounds=WARMUP), Cast(), decay=0.0)
    x, m, v, average = Cast().initial_parameters(), 0.0, 0.0, BothWays(sign)
    for t in range(STEPS):
        g = gradients(x, t)
        if t < WARMUP:
            m, v = B1 * m + (1 - B1) * g.mean(0), B2 * v + (1 - B2) * g.mean(0) ** 2
        else:
            m = average(B1 * m + (1 - B1) * g)
        x = x - lr(t) * m / (v.sqrt() + EPS)
        identity("    1-bit Adam = Algorithm 1", (found[t] - x).abs().max())


def zero_one(compress, κ, begin, double, most, steps=STEPS):
    """Algorithm 1 of the 0/1 Adam paper, v before the step."""
    start = Cast().initial_parameters()
    x, anchor, m, u, v = start.expand(K, -1), start, torch.zeros(K, len(start)), 0.0, torch.zeros(len(start))
    average, total, updates, due, unsent, found = BothWays(compress), 0.0, 0, 0, 0, []
    m, v = m.double(), v.double()
    for t in range(steps):
        g = gradients(x, t)
        if t < begin and t >= due:
            v, due, updates = B2 * v + (1 - B2) * g.mean(0) ** 2, t + 2 ** (updates // κ), updates + 1
        m = B1 * m + (1 - B1) * g
        x, u, total, unsent = x - lr(t) * m / (v.sqrt() + EPS), u + lr(t) * m, total + lr(t), unsent + 1
        interval = 1 if t < begin else min(most, 2 ** (1 + (t - begin) // double))
        if unsent >= interval:
            moved = average(u)
            anchor = anchor - moved / (v.sqrt() + EPS)
            x, m = anchor.expand(K, -1), (moved / total).expand(K, -1)
            u, total, unsent = 0.0, 0.0, 0
        found.append(x.mean(0))
    return torch.stack(found)


def test_0_1_adam_is_its_papers_algorithm_1(identity):
    options = {"variance_scaler": 3, "local_steps_from": 12, "local_steps_double_every": 4, "max_local_steps": 4}
    found = train(ALGORITHMS["0-1-adam"](optimizer=PLAIN, **options), Cast(), decay=0.0)
    identity("    0/1 Adam = Algorithm 1", (found - zero_one(sign, 3, 12, 4, 4)).abs().max())


@pytest.mark.parametrize("name, options", [("1-bit-adam", {"warmup_rounds": 10**6}), ("0-1-adam", {
    "variance_scaler": 10**6, "local_steps_from": 10**6, "compressor": IDENTITY})])  # fmt: skip
@pytest.mark.parametrize("rule", [PLAIN, AdamW(betas=(B1, B2)), Adam(amsgrad=True)], ids=["adam", "adamw", "amsgrad"])
def test_before_anything_is_lost_it_is_the_optimizer_itself(identity, name, options, rule):
    found = train(ALGORITHMS[name](optimizer=rule, **options), Cast())
    off = (found - train(ALGORITHMS["data-parallel"](optimizer=rule), Cast())).abs().max()
    identity(f"    {name} before anything is lost = its optimizer", off)


def test_1_bit_adam_without_compression_is_adam_with_a_frozen_variance(identity):
    rule = AdamW(betas=(B1, B2))
    found = train(ALGORITHMS["1-bit-adam"](optimizer=rule, warmup_rounds=WARMUP, compressor=IDENTITY), Cast())
    x, m, v = Cast().initial_parameters(), 0.0, 0.0
    decays = torch.cat(
        [
            torch.full((n,), DECAY if len(shape) > 1 else 0.0, dtype=torch.float64)
            for n, shape in zip(Cast().layout.sizes, Cast().shapes)
        ]
    )
    for t in range(STEPS):
        g = gradients(x, t).mean(0)
        m = B1 * m + (1 - B1) * g
        if t < WARMUP:
            v = B2 * v + (1 - B2) * g**2
        x = x - lr(t) * decays * x
        frozen = v / (1 - B2 ** min(t + 1, WARMUP))
        x = x - lr(t) * m / (1 - B1 ** (t + 1)) / (frozen.sqrt() + EPS)
        identity("    1-bit Adam without compression = frozen variance", (found[t] - x).abs().max())


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("form", ["sgd", "adam"])
def test_ef21_is_its_papers_algorithm_2(identity, form, momentum):
    rule = SGD(momentum=0.0) if form == "sgd" else PLAIN
    algorithm = ALGORITHMS["ef21"](compressor=TOP, local_momentum=momentum, optimizer=rule)
    found = train(algorithm, Cast(), decay=0.0)
    x, h, m, v, own = Cast().initial_parameters(), 0.0, 0.0, 0.0, None
    for t in range(STEPS):
        g = gradients(x, t)
        own = g if own is None else momentum * own + (1 - momentum) * g
        h = h + top(own - h)
        step = h.mean(0)
        if form == "adam":
            m, v = B1 * m + (1 - B1) * step, B2 * v + (1 - B2) * step**2
            step = m / (v.sqrt() + EPS)
        x = x - lr(t) * step
        identity(f"    EF21, {form} = Algorithm 2", (found[t] - x).abs().max())


def test_ef21_of_exact_gradients_has_estimates_that_become_exact():
    """Its point: what a contractive compressor leaves out fades, where plain compression keeps a bias."""
    workload = Cast(noise=0.0)
    ends = {}
    for name in ("ef21", "qsgd"):
        options = {"optimizer": SGD(momentum=0.0)}
        found = train(ALGORITHMS[name](compressor=TOP, **options), workload, 400, decay=0.0, lr_at=lambda epoch: 0.1)
        ends[name] = float((found[-1] - workload.optimum).norm())
    assert ends["ef21"] < 1e-4 < 1e-2 < ends["qsgd"]


def test_top_k_adam_with_error_feedback_is_comp_ams(identity):
    rule = Adam(betas=(B1, B2), eps=EPS, amsgrad=True, bias_correction=False)
    found = train(ALGORITHMS["ef"](compressor=TOP, optimizer=rule), Cast(), decay=0.0)
    x, e, m, v, largest = Cast().initial_parameters(), 0.0, 0.0, 0.0, torch.zeros(1)
    for t in range(STEPS):
        wanted = gradients(x, t) + e
        e = wanted - top(wanted)
        mean = top(wanted).mean(0)
        m, v = B1 * m + (1 - B1) * mean, B2 * v + (1 - B2) * mean**2
        largest = torch.maximum(largest, v)
        x = x - lr(t) * m / (largest.sqrt() + EPS)
        identity("    top-k Adam with error feedback = Comp-AMS", (found[t] - x).abs().max())


def test_error_feedback_around_adams_step_moves_what_is_owed_exactly(identity):
    """x - mean e moves by -mean of the workers' own AdamW steps, decay aside, for any compressor."""
    found = StackedTrainer(ALGORITHMS["ef-sgdm"](compressor=TOP, optimizer=PLAIN), Cast(), rate)
    m, v = 0.0, 0.0
    for t in range(STEPS):
        before = found.worker.params - found.worker.residual.mean(0)
        g = gradients(found.worker.params[0], t)
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        found.next_round().with_everybody()
        after = found.worker.params - found.worker.residual.mean(0)
        owed = (lr(t) * m / (v.sqrt() + EPS)).mean(0)
        identity("    EF around Adam: x - mean e moves by mean steps", (after - before + owed).abs().max())


def test_messages_are_as_long_as_stated():
    d, tensors = Cast().d, len(Cast().shapes)
    signs = 4 * tensors + -(-d // 8)
    for name, options, expected in (
        ("1-bit-adam", {"warmup_rounds": 2}, [[(4 * d, 4 * d)]] * 2 + [[(signs, signs)]] * 4),
        (
            "0-1-adam",
            {"variance_scaler": 1, "local_steps_from": 3, "local_steps_double_every": 9},
            [[(4 * d, 4 * d), (signs, signs)]] * 2 + [[(signs, signs)], [], [(signs, signs)], []],
        ),
    ):
        trainer = StackedTrainer(ALGORITHMS[name](**options), Cast(), rate)
        for sizes in expected:
            cost = trainer.next_round().with_everybody()
            sent = [(int(one.up[0]), one.down) for one in cost if hasattr(one, "up")]
            assert sent == sizes, name


def test_only_adams_family_can_be_frozen():
    with pytest.raises(SimgmcError, match="an optimizer of the Adam family"):
        ALGORITHMS["1-bit-adam"](optimizer=SGD())
