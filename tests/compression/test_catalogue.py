"""Names, parameters and mistakes."""

import inspect

import pytest

from simgmc.compression import COMPRESSORS, build
from simgmc.core.errors import SimgmcError
from tests.compression.vectors import LAYOUT

BASE = {
    "threshold": {"threshold": 0.1},
    "lattice": {"side": 0.1},
    "composed": {"sparsify": {"name": "top-k", "density": 0.1}, "quantise": {"name": "sign"}},
}


def minimal(name):
    keep = {"density": 0.1} if "density" in COMPRESSORS[name].options else {}
    return {**keep, **BASE.get(name, {})}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_class_takes_the_options_of_its_entry_and_has_no_defaults_of_its_own(name):
    taken = inspect.signature(type(build(name, LAYOUT, **minimal(name)))).parameters
    assert set(taken) - {"layout"} == set(COMPRESSORS[name].options) - {"exempt_vectors", "per_tensor"}
    assert all(one.default is inspect.Parameter.empty for one in taken.values())


@pytest.mark.parametrize(
    "name, parameters, message",
    [
        ("topk", {}, 'did you mean "top-k"'),
        ("top-k", {"densty": 0.1}, 'did you mean "density"'),
        ("top-k", {}, "either a density or a count"),
        ("top-k", {"density": 0.1, "count": 3}, "exactly one"),
        ("top-k", {"density": 0}, "density = 0: must be a number above 0 and at most 1"),
        ("top-k", {"density": 1.5}, "at most 1"),
        ("top-k", {"density": float("nan")}, "must be a number above 0"),
        ("top-k", {"density": "0.1"}, "must be a number above 0"),
        ("top-k", {"count": True}, "must be a whole number"),
        ("top-k", {"count": 2.0}, "must be a whole number"),
        ("top-k", {"count": 0}, "at least 1"),
        ("top-k", {"count": 1, "indices": "golomb"}, 'did you mean "golomb-rice"'),
        ("top-k", {"count": 1, "values": "fp8"}, 'must be one of "fp32", "fp16", "bf16"'),
        ("threshold", {}, 'needs the option "threshold"'),
        ("threshold", {"threshold": float("inf")}, "at least 0"),
        ("qsgd", {"levels": 0}, "at least 1"),
        ("qsgd", {"norm": "1"}, 'must be one of "2", "inf"'),
        ("sign", {"vote": True}, "vote needs scale"),
        ("sampled-top-k", {"count": 1, "limit": 0.5}, "at least 1"),
        ("low-rank", {"rank": 0}, "at least 1"),
        ("grbs", {"ratio_layer": 0.5}, "at least 1"),
        ("lattice", {"side": 1.0, "bits": 31}, "at most 30"),
        ("lattice", {"side": -1.0}, "above 0"),
        ("composed", {"sparsify": {"name": "top-k", "count": 1}}, 'needs the option "quantise", a quantiser: sign'),
        (
            "composed",
            {"sparsify": {"name": "sign"}, "quantise": {"name": "sign"}},
            'sparsify = .*unknown sparsifier "sign"; known: top-k',
        ),
        ("composed", {"sparsify": {"name": "top-k"}, "quantise": {"name": "sign"}}, "density or a count"),
        (
            "composed",
            {"sparsify": {"name": "top-k", "count": 1}, "quantise": {"name": "qsgd", "bucket": 4}},
            "shared coordinates",
        ),
        (
            "composed",
            {"sparsify": {"name": "top-k", "count": 1, "exempt_vectors": True}, "quantise": "sign"},
            'no option "exempt_vectors"',
        ),
        (
            "composed",
            {"sparsify": {"name": "top-k", "count": 1}, "quantise": {"name": "sign", "per_tensor": True}},
            "per_tensor",
        ),
    ],
)
def test_mistakes_are_named_with_what_would_be_right(name, parameters, message):
    with pytest.raises(SimgmcError, match=message):
        COMPRESSORS[name].resolve(parameters)


@pytest.mark.parametrize("name", [name for name, entry in COMPRESSORS.items() if "per_tensor" in entry.options])
def test_per_tensor_needs_a_layout(name):
    with pytest.raises(SimgmcError, match="layout"):
        build(name, **minimal(name), per_tensor=True)


def test_low_rank_and_exempt_tensors_need_a_layout():
    for name, options in (("low-rank", {}), ("sign", {"exempt_vectors": True})):
        with pytest.raises(SimgmcError, match=f"{name}: .*needs the layout"):
            build(name, **options)


def test_checked_parameters_build_the_same_compressor():
    for name in COMPRESSORS:
        resolved = COMPRESSORS[name].resolve(minimal(name))
        assert COMPRESSORS[name].resolve(resolved) == resolved
        assert build(name, LAYOUT, **resolved) == build(name, LAYOUT, **minimal(name))
