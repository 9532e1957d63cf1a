"""Compressors on a device: the CPU's messages, nothing of them elsewhere, and few waits of the host."""

import pytest
import torch

from simgmc.compression import build
from tests.compression.cases import CASES, REFUSED, compressor
from tests.compression.vectors import LAYOUT, adversarial, gaussian, randomness
from tests.far_device import FAR, FarDevice
from tests.far_device import uniforms_of_the_host as uniforms

INPUTS = {kind: adversarial(LAYOUT.d)[kind] for kind in ("one empty row", "ties", "80 octaves", "subnormal")}


@pytest.mark.parametrize("case", CASES)
def test_a_message_on_a_device_is_the_cpus_bit_for_bit_and_stays_there(case, monkeypatch):
    monkeypatch.setattr("simgmc.compression.quantisation.quantise.uniforms", uniforms)
    for kind, vector in INPUTS.items():
        if (case, kind) in REFUSED:
            continue
        near = compressor(case)(vector, randomness())
        with FarDevice():
            there = vector.to(FAR)
            far = compressor(case)(there, randomness())
            for ours, theirs in ((far, near), (far.mean(), near.mean())):
                assert ours.dense().device == FAR and torch.equal(ours.dense().cpu(), theirs.dense()), kind
                payloads = [theirs.encode(row) for row in range(theirs.rows)]
                assert [
                    ours.encode(row) for row in range(ours.rows)
                ] == payloads and ours.nbytes.tolist() == theirs.nbytes.tolist()
                assert torch.equal(ours.decode(payloads).dense().cpu(), theirs.dense())
            assert torch.equal(far.subtract_from(there).cpu(), near.subtract_from(vector)), kind
            assert torch.equal(far.unsent(there).cpu(), near.unsent(vector)), kind


@pytest.mark.parametrize(
    ("name", "options", "waits"),
    [
        ("identity", {}, 1),
        ("sign", {"per_tensor": True}, 1),
        ("qsgd", {"bucket": 50}, 1),
        ("rbgs", {"density": 0.1}, 1),
        ("top-k", {"density": 0.1}, 4),
        ("threshold", {"threshold": 1.0}, 4),
        ("sampled-top-k", {"density": 0.1}, 4),
    ],
)
def test_the_host_waits_as_often_for_many_workers_as_for_few(name, options, waits, monkeypatch):
    monkeypatch.setattr("simgmc.compression.quantisation.quantise.uniforms", uniforms)
    for rows in (2, 7):
        vector = gaussian(rows, LAYOUT.d)
        with FarDevice() as device:
            there = vector.to(FAR)
            device.waits.clear()
            message = build(name, LAYOUT, **options)(there, randomness(rows))
            assert device.waits.total() == waits, device.waits
            device.waits.clear()
            message.subtract_from(there), message.unsent(there), message.dense()
            assert device.waits.total() == 0, device.waits


@pytest.mark.parametrize("sampling", ["uniform", "strided"])
@pytest.mark.parametrize("correct", [False, True])
def test_a_sampled_threshold_that_misses_is_mended_on_a_device_as_on_the_cpu(sampling, correct):
    d, k = 20_011, 40
    steep = torch.exp(-torch.arange(d) / 4.0)[torch.randperm(d, generator=torch.Generator().manual_seed(0))]
    spiked = torch.zeros(d).index_fill(0, torch.arange(0, d, 7), 1e-3) + torch.arange(d) * 1e-9 * (
        torch.arange(d) % 7 == 0
    )
    late = torch.full((d,), 0.12).index_fill(0, torch.arange(0, d, 700), 1.0)  # within reach after ten times 0.8 alone
    vector = torch.stack(
        [*gaussian(8, d), steep, spiked, torch.zeros(d), torch.ones(d), steep.flip(0), spiked.flip(0), *[late] * 4]
    )
    compress = build("sampled-top-k", count=k, sampling=sampling, correct=correct, limit=3)
    kinds = set()
    for round in range(8):
        near = compress(vector, randomness(len(vector), round=round))
        with FarDevice():
            far = compress(vector.to(FAR), randomness(len(vector), round=round))
            assert [far.encode(row) for row in range(far.rows)] == [near.encode(row) for row in range(near.rows)]
        firsts = [near.row(row)[0][-1] < k for row in range(14, 18)]
        kinds |= {"first"} if any(firsts) else set()
        kinds |= {
            0 if n == 0 else 1 if n < 0.8 * k else 2 if n < k else 3 if n == k else 4 if n < 3 * k else 5
            for n in near.counts
        }
    assert kinds >= ({0, 3, "first"} if correct else {0, 1, 4, 5}), kinds
