"""One-dimensional tensors uncompressed."""

import pytest
import torch

from simgmc.compression import build
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from tests.compression.vectors import LAYOUT, gaussian, randomness

SMALL = sum(size for size, shape in zip(LAYOUT.sizes, LAYOUT.shapes) if len(shape) < 2)


def test_vectors_and_scalars_arrive_unchanged_and_cost_four_bytes_a_value():
    vector = gaussian(3, LAYOUT.d)
    message = build("top-k", LAYOUT, count=10, exempt_vectors=True)(vector, randomness())
    exempt = torch.zeros(LAYOUT.d, dtype=torch.bool)
    for shape, a, b in zip(LAYOUT.shapes, LAYOUT.offsets, LAYOUT.offsets[1:]):
        exempt[a:b] = len(shape) < 2
    assert torch.equal(message.dense()[:, exempt], vector[:, exempt])
    matrices = build("top-k", count=10)(vector[:, ~exempt], randomness()).dense()
    assert torch.equal(message.dense()[:, ~exempt], matrices)
    assert message.nbytes.tolist() == [4 * SMALL + 80] * 3 and message.floats.tolist() == [SMALL + 20] * 3
    assert not message.unsent(vector)[:, exempt].any()


def test_a_density_counts_the_compressed_tensors_only():
    message = build("top-k", LAYOUT, density=0.1, exempt_vectors=True)(gaussian(2, LAYOUT.d), randomness())
    assert message.inner.counts.tolist() == [int(0.1 * (LAYOUT.d - SMALL))] * 2


def test_a_model_of_matrices_alone_is_compressed_as_it_is():
    layout = Layout(("a", "b"), ((4, 5), (3, 2)))
    vector = gaussian(2, layout.d)
    with_option = build("rbgs", layout, count=5, exempt_vectors=True)(vector, randomness())
    assert torch.equal(with_option.dense(), build("rbgs", count=5)(vector, randomness()).dense())


def test_a_model_without_matrices_is_refused():
    with pytest.raises(SimgmcError, match="nothing would be compressed"):
        build("top-k", Layout.flat(10), count=2, exempt_vectors=True)
