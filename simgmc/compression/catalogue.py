"""What compressors there are: names, options, sources. Plain data, imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Entry, Option, Part, Registry


@dataclass(frozen=True)
class CompressorEntry(Entry):
    """A registered compressor."""

    target: str = ""
    """``module:class`` that implements it."""
    summable: Callable[[Mapping[str, Any]], bool] = lambda options: False
    """Whether, with these options, messages cover the same coordinates on every worker."""
    unites: Callable[[Mapping[str, Any]], bool] = lambda options: False
    """Whether it is known what sums of its messages take on their way: a fixed size for every coordinate that is kept."""

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """As :meth:`Entry.resolve`; also refuses options that do not go together."""
        resolved = super().resolve(given)
        if "density" in resolved and (resolved["density"] is None) == (resolved["count"] is None):
            raise SimgmcError(f"{self.name} needs either a density or a count (exactly one of the two)")
        if resolved.get("vote") and resolved["scale"] != "none":
            raise SimgmcError(f'{self.name}: vote needs scale = "none", a majority\'s sign has no magnitude')
        return resolved


@dataclass(frozen=True)
class _Composed(CompressorEntry):
    """The one that is made of two others."""

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        resolved = super().resolve(given)
        sparsify, quantise = resolved["sparsify"], resolved["quantise"]
        for role, part in (("sparsify", sparsify), ("quantise", quantise)):
            if part.pop("exempt_vectors", False):
                raise SimgmcError(f"{self.name}: exempt_vectors belongs to the composition, not to {role}")
        if quantise["per_tensor"]:
            raise SimgmcError(f"{self.name}: per_tensor belongs to sparsify, its kept values are one vector")
        if quantise.get("vote"):
            raise SimgmcError(f"{self.name}: a majority vote needs the signs of all coordinates")
        if quantise.get("share_scale"):
            raise SimgmcError(f"{self.name}: share_scale needs the same coordinates on all workers")
        if "bucket" in quantise and not _SPARSIFIERS[sparsify["name"]].summable(sparsify):
            raise SimgmcError(f"{self.name}: buckets need a sparsifier with shared coordinates")
        return resolved


def _always(options: Mapping[str, Any]) -> bool:
    return True


def _fixed_size(options: Mapping[str, Any]) -> bool:
    return options["indices"] in ("32-bit", "log2") and not options["exempt_vectors"]


_MAX_COORDINATES = 2**31 - 1
"""Coordinates: more than any vector has."""
_FLOATS = {"values": Option("float format of a value", str, "fp32", ("fp32", "fp16", "bf16"))}
_INDICES = {
    "indices": Option(
        "how indices are written",
        str,
        "32-bit",
        ("32-bit", "log2", "delta-gamma", "delta-delta", "golomb-rice", "bitmap", "auto"),
    )
}
_CODINGS = ("fixed", "trits", "elias-dense", "elias-sparse", "auto")
_EXEMPT = {"exempt_vectors": Option("send tensors of one dimension (biases, norms) uncompressed", bool, False)}
_SPARSE = _FLOATS | _INDICES | _EXEMPT
_KEEP = {
    "density": Option("fraction of the coordinates to keep; or count", float, None, above=0, at_most=1),
    "count": Option("number of coordinates to keep; or density", int, None, at_most=_MAX_COORDINATES),
    "per_tensor": Option("select in each tensor instead of in the whole vector", bool, False),
}
_SCALES = {
    "per_tensor": Option("a scale for each tensor instead of one for the vector", bool, False),
    "bucket": Option("a scale for every so many coordinates", int, None, at_most=_MAX_COORDINATES),
}

_SPARSIFIERS = Registry(
    "sparsifier",
    (
        CompressorEntry(
            "top-k",
            "the k coordinates of largest magnitude, exactly",
            "Aji and Heafield 2017; Stich et al. 2018",
            _KEEP | _SPARSE,
            "sparsification.top_k:TopK",
            unites=_fixed_size,
        ),
        CompressorEntry(
            "sampled-top-k",
            "coordinates above a threshold estimated from a random sample: about k of them",
            "Lin et al. 2018 (DGC); the GMC paper, 5.1",
            {
                **_KEEP,
                "sample": Option("fraction of the coordinates that is sampled", float, 0.01, above=0, at_most=1),
                "sampling": Option(
                    "random subset, or strided as in DGC's code", str, "uniform", ("uniform", "strided")
                ),
                "correct": Option("repair the threshold as DGC's code does (0.8 k to k are sent)", bool, False),
                "limit": Option("without correction, send at most this many times k", float, 10.0),
                **_SPARSE,
            },
            "sparsification.sampled_top_k:SampledTopK",
            unites=_fixed_size,
        ),
        CompressorEntry(
            "threshold",
            "every coordinate of at least a given magnitude",
            "Strom 2015; Sahu et al. 2021",
            {"threshold": Option("smallest magnitude that is sent", float, at_least=0, at_most=1e30)} | _SPARSE,
            "sparsification.threshold:Threshold",
            unites=_fixed_size,
        ),
        CompressorEntry(
            "random-k",
            "k coordinates drawn at random, the same on all workers or each worker its own",
            "Stich et al. 2018",
            {
                **_KEEP,
                "seed": Option(
                    "shared: same coordinates everywhere, no indices sent", str, "shared", ("shared", "own")
                ),
                "unbiased": Option("scale by d/k, so that the expectation is the vector", bool, False),
                **_SPARSE,
            },
            "sparsification.random_sparse:RandomK",
            lambda options: options["seed"] == "shared",
            _fixed_size,
        ),
        CompressorEntry(
            "rbgs",
            "a block of consecutive coordinates from a shared random start, no indices sent",
            "Vogels et al. 2019; Xu and Huang 2022",
            _KEEP | _FLOATS | _EXEMPT,
            "sparsification.random_sparse:RBGS",
            _always,
        ),
        CompressorEntry(
            "grbs",
            "one aligned block of each tensor, chosen by the shared seed, no indices sent",
            "Xie et al. 2020 (CSER)",
            {
                "ratio_in": Option("blocks along a tensor's first axis", int, 1),
                "ratio_out": Option("blocks along a tensor's second axis", int, 1),
                "ratio_layer": Option("a tensor takes part with probability 1/ratio_layer", float, 1.0),
                **_FLOATS,
                **_EXEMPT,
            },
            "sparsification.random_sparse:GRBS",
            _always,
        ),
    ),
)

_QUANTISERS = Registry(
    "quantiser",
    (
        CompressorEntry(
            "sign",
            "the sign of every coordinate, times the mean magnitude of its group or alone",
            "Karimireddy et al. 2019 (EF-signSGD); Bernstein et al. 2018 (signSGD)",
            {
                **_SCALES,
                "scale": Option("mean: scaled by the mean magnitude; none: signs alone", str, "mean", ("mean", "none")),
                "vote": Option('with scale = "none": the average is the majority\'s sign, one bit', bool, False),
                **_EXEMPT,
            },
            "quantisation.quantise:ScaledSign",
        ),
        CompressorEntry(
            "qsgd",
            "every coordinate rounded at random to a few levels of its group's norm, unbiased",
            "Alistarh et al. 2017 (QSGD); infinity norm as in Liu et al. 2021 (LEAD)",
            {
                **_SCALES,
                "levels": Option("levels above zero; 127 makes 8 bits", int, 127, at_most=2**24 - 1),
                "norm": Option("2-norm or infinity norm of a group", str, "2", ("2", "inf")),
                "contractive": Option("shrink to a (biased) contraction, for error feedback", bool, False),
                "coding": Option("how levels are written", str, "fixed", _CODINGS),
                **_EXEMPT,
            },
            "quantisation.quantise:StochasticLevels",
        ),
        CompressorEntry(
            "ternary",
            "every coordinate 0 or plus or minus its group's largest magnitude, at random, unbiased",
            "Wen et al. 2017 (TernGrad)",
            {
                **_SCALES,
                "clip": Option("clip to so many standard deviations first; 0: do not", float, 2.5, at_least=0),
                "share_scale": Option(
                    "all workers use the largest of their scales: sums are whole numbers", bool, False
                ),
                "coding": Option("how levels are written", str, "trits", _CODINGS),
                **_EXEMPT,
            },
            "quantisation.quantise:Ternary",
        ),
    ),
)

COMPRESSORS: Registry[CompressorEntry] = Registry(
    "compressor",
    (
        CompressorEntry("identity", "no compression: every coordinate", "-", _FLOATS, "identity:Identity", _always),
        *_SPARSIFIERS.values(),
        *_QUANTISERS.values(),
        CompressorEntry(
            "low-rank",
            "each worker's matrices as two thin factors from one power iteration",
            "Vogels et al. 2019 (the pieces of PowerSGD)",
            {"rank": Option("rank of the factors", int, 2)},
            "low_rank:LowRank",
        ),
        CompressorEntry(
            "lattice",
            "every coordinate's lattice number modulo 2^bits, decoded near a reference point",
            "Davies et al. 2021; Nadiradze et al. 2021 (SwarmSGD)",
            {
                "side": Option("distance between lattice points", float, above=0, at_most=1e30),
                "bits": Option("bits a coordinate", int, 8, at_most=30),
                "dither": Option("shift the lattice at random (shared seed): unbiased", bool, False),
            },
            "quantisation.lattice:Lattice",
        ),
        _Composed(
            "composed",
            "a sparsifier, then a quantiser on the values it keeps",
            "Basu et al. 2019 (Qsparse-local-SGD)",
            {
                "sparsify": Part("the sparsifier, with its options", entries=_SPARSIFIERS),
                "quantise": Part("the quantiser of the kept values, with its options", entries=_QUANTISERS),
                **_EXEMPT,
            },
            "composed:Composed",
        ),
    ),
)
