"""Names, parameters and mistakes."""

import inspect
import subprocess
import sys

import pytest

from simgmc.compression import COMPRESSORS, build
from simgmc.core.errors import SimgmcError
from simgmc.core.registry import REQUIRED
from tests.compression.vectors import LAYOUT

BASE = {
    "threshold": {"threshold": 0.1},
    "lattice": {"side": 0.1},
    "composed": {"sparsify": {"name": "top-k", "density": 0.1}, "quantise": {"name": "sign"}},
}


def minimal(name):
    keep = {"density": 0.1} if "density" in COMPRESSORS[name].options else {}
    return {**keep, **BASE.get(name, {})}


def test_the_registry_imports_no_torch():
    code = (
        "import sys, simgmc.compression as c; c.COMPRESSORS['top-k'].resolve({'density': 0.1}); assert 'torch' not in "
        "sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_what_the_catalogue_says_is_what_the_class_takes(name):
    compress = build(name, LAYOUT, **minimal(name))
    accepted = inspect.signature(type(compress)).parameters
    options = COMPRESSORS[name].options
    for key, option in options.items():
        if key != "exempt_vectors":
            assert accepted[key].default == (inspect.Parameter.empty if option.default is REQUIRED else option.default)
    assert set(accepted) <= {*options, "layout"}


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
    ],
)
def test_mistakes_are_named_with_what_would_be_right(name, parameters, message):
    with pytest.raises(SimgmcError, match=message):
        COMPRESSORS[name].resolve(parameters)


@pytest.mark.parametrize("name", [name for name, entry in COMPRESSORS.items() if "per_tensor" in entry.options])
def test_per_tensor_needs_a_layout(name):
    with pytest.raises(SimgmcError, match="layout"):
        build(name, **minimal(name), per_tensor=True)


def test_checked_parameters_build_the_same_compressor():
    for name in COMPRESSORS:
        resolved = COMPRESSORS[name].resolve(minimal(name))
        assert COMPRESSORS[name].resolve(resolved) == resolved
        assert build(name, LAYOUT, **resolved) == build(name, LAYOUT, **minimal(name))
