"""What compressors there are: names, parameters, sources. Plain data, imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

REQUIRED = object()
"""The default of a parameter that must be given."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a compressor, as a scenario file may set it."""

    name: str
    type: type
    default: Any
    """``None``: optional, or one of a pair; ``REQUIRED``: must be given."""
    summary: str
    choices: tuple[str, ...] = ()
    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def limit(self) -> float:
        """The largest number accepted: ``at_most``, or what is far beyond any use but fits every number format."""
        return self.at_most if self.at_most is not None else 2**31 - 1 if self.type is int else 1e30

    @property
    def range(self) -> str:
        """The accepted numbers, in words."""
        bounds = (("above", self.above), ("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    def accepts(self, number: float) -> bool:
        """Whether a number lies in the range and the limit (NaN and infinity never do)."""
        return (
            -self.limit <= number <= self.limit
            and (self.above is None or number > self.above)
            and (self.at_least is None or number >= self.at_least)
        )


@dataclass(frozen=True)
class Entry:
    """A compressor as ``simgmc list compressors`` shows it."""

    name: str
    summary: str
    source: str
    target: str
    """``module:class`` that implements it."""
    parameters: tuple[Parameter, ...]
    summable: Callable[[Mapping[str, Any]], bool] = lambda parameters: False
    """Whether, with these parameters, messages cover the same coordinates on every worker."""


def _always(parameters: Mapping[str, Any]) -> bool:
    return True


_FLOATS = Parameter("values", str, "fp32", "float format of a value", ("fp32", "fp16", "bf16"))
_INDICES = Parameter(
    "indices",
    str,
    "32-bit",
    "how indices are written",
    ("32-bit", "log2", "delta-gamma", "delta-delta", "golomb-rice", "bitmap", "auto"),
)
_CODINGS = ("fixed", "trits", "elias-dense", "elias-sparse", "auto")
_EXEMPT = Parameter("exempt_vectors", bool, False, "send tensors of one dimension (biases, norms) uncompressed")
_KEEP = (
    Parameter("density", float, None, "fraction of the coordinates to keep; or count", above=0, at_most=1),
    Parameter("count", int, None, "number of coordinates to keep; or density", at_least=1),
    Parameter("per_tensor", bool, False, "select in each tensor instead of in the whole vector"),
)
_SCALES = (
    Parameter("per_tensor", bool, False, "a scale for each tensor instead of one for the vector"),
    Parameter("bucket", int, None, "a scale for every so many coordinates", at_least=1),
)

_ENTRIES = (
    Entry("identity", "no compression: every coordinate", "-", "identity:Identity", (_FLOATS,), _always),
    Entry(
        "top-k",
        "the k coordinates of largest magnitude, exactly",
        "Aji and Heafield 2017; Stich et al. 2018",
        "top_k:TopK",
        (*_KEEP, _FLOATS, _INDICES, _EXEMPT),
    ),
    Entry(
        "sampled-top-k",
        "coordinates above a threshold estimated from a random sample: about k of them",
        "Lin et al. 2018 (DGC); the GMC paper, 5.1",
        "sampled_top_k:SampledTopK",
        (
            *_KEEP,
            Parameter("sample", float, 0.01, "fraction of the coordinates that is sampled", above=0, at_most=1),
            Parameter("sampling", str, "uniform", "random subset, or strided as in DGC's code", ("uniform", "strided")),
            Parameter("correct", bool, False, "repair the threshold as DGC's code does (0.8 k to k are sent)"),
            Parameter("limit", float, 10.0, "without correction, send at most this many times k", at_least=1),
            _FLOATS,
            _INDICES,
            _EXEMPT,
        ),
    ),
    Entry(
        "threshold",
        "every coordinate of at least a given magnitude",
        "Strom 2015; Sahu et al. 2021",
        "threshold:Threshold",
        (
            Parameter("threshold", float, REQUIRED, "smallest magnitude that is sent", at_least=0),
            _FLOATS,
            _INDICES,
            _EXEMPT,
        ),
    ),
    Entry(
        "random-k",
        "k coordinates drawn at random, the same on all workers or each worker its own",
        "Stich et al. 2018",
        "random_sparse:RandomK",
        (
            *_KEEP,
            Parameter("seed", str, "shared", "shared: same coordinates everywhere, no indices sent", ("shared", "own")),
            Parameter("unbiased", bool, False, "scale by d/k, so that the expectation is the vector"),
            _FLOATS,
            _INDICES,
            _EXEMPT,
        ),
        lambda parameters: parameters["seed"] == "shared",
    ),
    Entry(
        "rbgs",
        "a block of consecutive coordinates from a shared random start, no indices sent",
        "Vogels et al. 2019; Xu and Huang 2022",
        "random_sparse:RBGS",
        (*_KEEP, _FLOATS, _EXEMPT),
        _always,
    ),
    Entry(
        "grbs",
        "one aligned block of each tensor, chosen by the shared seed, no indices sent",
        "Xie et al. 2020 (CSER)",
        "random_sparse:GRBS",
        (
            Parameter("ratio_in", int, 1, "blocks along a tensor's first axis", at_least=1),
            Parameter("ratio_out", int, 1, "blocks along a tensor's second axis", at_least=1),
            Parameter("ratio_layer", float, 1.0, "a tensor takes part with probability 1/ratio_layer", at_least=1),
            _FLOATS,
            _EXEMPT,
        ),
        _always,
    ),
    Entry(
        "sign",
        "the sign of every coordinate, times the mean magnitude of its group or alone",
        "Karimireddy et al. 2019 (EF-signSGD); Bernstein et al. 2018 (signSGD)",
        "quantise:ScaledSign",
        (
            *_SCALES,
            Parameter("scale", str, "mean", "mean: scaled by the mean magnitude; none: signs alone", ("mean", "none")),
            Parameter("vote", bool, False, "with scale = none: the average is the majority's sign, one bit"),
            _EXEMPT,
        ),
    ),
    Entry(
        "qsgd",
        "every coordinate rounded at random to a few levels of its group's norm, unbiased",
        "Alistarh et al. 2017 (QSGD); infinity norm as in Liu et al. 2021 (LEAD)",
        "quantise:StochasticLevels",
        (
            *_SCALES,
            Parameter("levels", int, 127, "levels above zero; 127 makes 8 bits", at_least=1, at_most=2**24 - 1),
            Parameter("norm", str, "2", "2-norm or infinity norm of a group", ("2", "inf")),
            Parameter("contractive", bool, False, "shrink to a (biased) contraction, for error feedback"),
            Parameter("coding", str, "fixed", "how levels are written", _CODINGS),
            _EXEMPT,
        ),
    ),
    Entry(
        "ternary",
        "every coordinate 0 or plus or minus its group's largest magnitude, at random, unbiased",
        "Wen et al. 2017 (TernGrad)",
        "quantise:Ternary",
        (
            *_SCALES,
            Parameter("clip", float, 2.5, "clip to so many standard deviations first; 0: do not", at_least=0),
            Parameter("share_scale", bool, False, "all workers use the largest of their scales: sums are whole numbers"),
            Parameter("coding", str, "trits", "how levels are written", _CODINGS),
            _EXEMPT,
        ),
    ),
    Entry(
        "low-rank",
        "each worker's matrices as two thin factors from one power iteration",
        "Vogels et al. 2019 (the pieces of PowerSGD)",
        "low_rank:LowRank",
        (Parameter("rank", int, 2, "rank of the factors", at_least=1),),
    ),
    Entry(
        "lattice",
        "every coordinate's lattice number modulo 2^bits, decoded near a reference point",
        "Davies et al. 2021; Nadiradze et al. 2021 (SwarmSGD)",
        "lattice:Lattice",
        (
            Parameter("side", float, REQUIRED, "distance between lattice points", above=0),
            Parameter("bits", int, 8, "bits a coordinate", at_least=1, at_most=30),
            Parameter("dither", bool, False, "shift the lattice at random (shared seed): unbiased"),
        ),
    ),
    Entry(
        "composed",
        "a sparsifier, then a quantiser on the values it keeps",
        "Basu et al. 2019 (Qsparse-local-SGD)",
        "composed:Composed",
        (
            Parameter("sparsify", dict, REQUIRED, "the sparsifier, as { name = ..., ... }"),
            Parameter("quantise", dict, REQUIRED, "the quantiser of the kept values, as { name = ..., ... }"),
            _EXEMPT,
        ),
    ),
)

COMPRESSORS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
