"""The same messages on a GPU."""

import pytest
import torch

from simgmc.compression import build
from tests.compression.cases import CASES, compressor
from tests.compression.vectors import LAYOUT, adversarial, gaussian, randomness

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
DRAWS_ON_DEVICE = ("qsgd", "ternary", "composed")
"""Round at random with the device's own generator."""


@pytest.mark.parametrize("case", CASES)
def test_size_law_and_round_trip_on_the_device(case):
    message = compressor(case)(gaussian(4, LAYOUT.d).cuda(), randomness())
    for one in (message, message.mean()):
        payloads = [one.encode(row) for row in range(one.rows)]
        assert one.nbytes.tolist() == [len(payload) for payload in payloads]
        assert one.dense().is_cuda and torch.equal(one.decode(payloads).dense(), one.dense())
    vector = gaussian(4, LAYOUT.d).cuda()
    assert torch.equal(message.subtract_from(vector), vector - message.dense())


@pytest.mark.parametrize("case", [case for case, (name, _) in CASES.items() if name not in DRAWS_ON_DEVICE])
@pytest.mark.parametrize("kind", ["gaussian", "ties", "one empty row"])
def test_the_device_sends_what_the_cpu_sends(case, kind):
    vector = adversarial(LAYOUT.d)[kind]
    ours, theirs = (compressor(case)(one, randomness()).dense().cpu() for one in (vector.cuda(), vector))
    assert torch.allclose(ours, theirs, atol=1e-4 if case == "low rank" else 1e-5)


@pytest.mark.parametrize("density", [0.001, 0.01, 0.3])
def test_exact_top_k_is_the_cpus_to_the_bit(density):
    vector = gaussian(3, 200_000).round(decimals=2)  # full of ties
    compress = build("top-k", density=density)
    assert torch.equal(compress(vector.cuda(), randomness()).dense().cpu(), compress(vector, randomness()).dense())
