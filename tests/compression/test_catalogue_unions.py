"""What the catalogue says of unions of supports, against messages."""

import pytest
import torch

from simgmc.compression import COMPRESSORS, build
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness

LAYOUT = Layout(("weight", "bias"), ((20, 10), (20,)))
CHOSEN = [
    *(
        ("top-k", {"density": 0.1, "indices": indices})
        for indices in ("32-bit", "log2", "delta-gamma", "delta-delta", "golomb-rice", "bitmap", "auto")
    ),
    ("top-k", {"density": 0.1, "exempt_vectors": True}),
    ("top-k", {"density": 0.1, "per_tensor": True, "values": "fp16"}),
    ("sampled-top-k", {"density": 0.1}),
    ("threshold", {"threshold": 0.5}),
    ("random-k", {"density": 0.1, "seed": "own"}),
    ("composed", {"sparsify": {"name": "top-k", "density": 0.1}, "quantise": "sign"}),
    *((name, {}) for name in ("sign", "qsgd", "ternary", "low-rank")),
    ("lattice", {"side": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), CHOSEN, ids=str)
def test_the_catalogue_knows_of_which_messages_unions_are_recorded(name, options):
    message = build(name, LAYOUT, **options)(
        torch.randn(4, LAYOUT.d, generator=torch.Generator().manual_seed(0)), Randomness(0, 0, 0, [0, 1, 2, 3])
    )
    entry = COMPRESSORS[name]
    assert (message.partial_sums() is not None) == entry.unites(entry.resolve(options)) and not message.summable
