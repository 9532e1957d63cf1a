"""Every compressor, with the options that change what it sends."""

from __future__ import annotations

from simgmc.compression import build
from tests.compression.vectors import LAYOUT

KEEP = {"density": 0.05}
CASES = {
    "identity": ("identity", {}),
    "identity fp16": ("identity", {"values": "fp16"}),
    "identity bf16": ("identity", {"values": "bf16"}),
    "top-k": ("top-k", KEEP),
    "top-k per tensor": ("top-k", {"count": 3, "per_tensor": True}),
    "top-k log2 fp16": ("top-k", {**KEEP, "indices": "log2", "values": "fp16"}),
    "top-k gamma bf16": ("top-k", {**KEEP, "indices": "delta-gamma", "values": "bf16"}),
    "top-k delta": ("top-k", {**KEEP, "indices": "delta-delta"}),
    "top-k rice": ("top-k", {**KEEP, "indices": "golomb-rice"}),
    "top-k bitmap": ("top-k", {**KEEP, "indices": "bitmap"}),
    "top-k auto": ("top-k", {**KEEP, "indices": "auto", "exempt_vectors": True}),
    "sampled": ("sampled-top-k", KEEP),
    "sampled, corrected": ("sampled-top-k", {**KEEP, "correct": True, "sampling": "strided"}),
    "threshold": ("threshold", {"threshold": 1.0}),
    "random-k shared": ("random-k", KEEP),
    "random-k own": ("random-k", {**KEEP, "seed": "own", "per_tensor": True}),
    "random-k unbiased": ("random-k", {**KEEP, "seed": "own", "unbiased": True}),
    "rbgs": ("rbgs", KEEP),
    "rbgs per tensor": ("rbgs", {**KEEP, "per_tensor": True, "exempt_vectors": True, "values": "bf16"}),
    "grbs": ("grbs", {"ratio_in": 3, "ratio_out": 2, "ratio_layer": 2.0}),
    "sign": ("sign", {}),
    "sign per tensor": ("sign", {"per_tensor": True, "exempt_vectors": True}),
    "sign alone": ("sign", {"scale": "none"}),
    "majority": ("sign", {"scale": "none", "vote": True}),
    "sign masked": ("sign", {"zeros": "masked", "per_tensor": True}),
    "majority masked": ("sign", {"scale": "none", "vote": True, "zeros": "masked"}),
    "qsgd 8 bits": ("qsgd", {}),
    "qsgd dense": ("qsgd", {"levels": 23, "coding": "elias-dense", "bucket": 100}),
    "qsgd sparse": ("qsgd", {"levels": 4, "coding": "elias-sparse", "per_tensor": True}),
    "qsgd inf": ("qsgd", {"levels": 2, "norm": "inf", "bucket": 64, "per_tensor": True, "contractive": True}),
    "qsgd auto": ("qsgd", {"levels": 300, "coding": "auto"}),
    "ternary": ("ternary", {}),
    "ternary shared": ("ternary", {"share_scale": True, "per_tensor": True, "clip": 0.0}),
    "ternary auto": ("ternary", {"coding": "auto"}),
    "low rank": ("low-rank", {"rank": 2}),
    "lattice": ("lattice", {"side": 0.01}),
    "lattice dithered": ("lattice", {"side": 0.01, "bits": 5, "dither": True}),
    "top-k of levels": (
        "composed",
        {
            "sparsify": {"name": "top-k", **KEEP, "indices": "auto"},
            "quantise": {"name": "qsgd", "levels": 4, "coding": "auto"},
        },
    ),
    "top-k of signs": ("composed", {"sparsify": {"name": "top-k", **KEEP}, "quantise": {"name": "sign"}}),
    "block of levels": (
        "composed",
        {"sparsify": {"name": "rbgs", **KEEP}, "quantise": {"name": "qsgd", "bucket": 10}, "exempt_vectors": True},
    ),
    "own random of trits": (
        "composed",
        {"sparsify": {"name": "random-k", **KEEP, "seed": "own"}, "quantise": {"name": "ternary"}},
    ),
}
REFUSED = {("lattice", "huge"), ("lattice dithered", "huge"), ("random-k unbiased", "huge")}
"""Lattice numbers beyond 2^52; d/k times the vector beyond the largest float."""


def compressor(case):
    name, parameters = CASES[case]
    return build(name, LAYOUT, **parameters)
