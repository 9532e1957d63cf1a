"""What compressors there are: names, sources, options and their limits. Plain data, imports no torch.

A compressor is a frozen dataclass with a field for each of its options and a call ``(vector, random)
-> message``, see :class:`simgmc.compression.compressor.Compressor`; its entry here is all that there is
to say beside it. Values are checked against the entry alone, when a scenario is read or a compressor
is built, so that ``simgmc list`` and scenarios know everything without loading torch; the classes trust it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from simgmc.compression.compressor import Compressor
from simgmc.compression.wire.formats import FIXED_INDEX_FORMATS, FLOAT_BYTES, INDEX_FORMATS, LEVEL_FORMATS
from simgmc.core.declared import OWN, described_class, options_of, require_class
from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Entry, Option, Part, Registry

Options = Mapping[str, Any]
"""An entry's options with their values."""


@dataclass(frozen=True)
class CompressorEntry(Entry):
    """A registered compressor."""

    target: str = ""
    """``module:class`` that implements it, below :mod:`simgmc.compression`; empty for one's own."""
    own: type[Compressor] | None = None
    """The class of one's own."""
    summable: Callable[[Options], bool] = lambda options: False
    """Whether, with these options, messages cover the same coordinates on every worker."""
    unites: Callable[[Options], bool] = lambda options: False
    """Whether the size of a sum of its messages is known on its way: each kept coordinate has a fixed size."""
    conflict: Callable[[Options], str | None] = lambda options: None
    """Why options do not go together, each valid alone; None where they do."""
    needs_layout: Callable[[Options], bool] = lambda options: bool(options.get("per_tensor"))
    """Whether it must know where the model's tensors lie."""

    def resolve(self, given: Options) -> dict[str, Any]:
        """As :meth:`Entry.resolve`; also refuses options that do not go together."""
        resolved = super().resolve(given)
        if problem := self.conflict(resolved):
            raise SimgmcError(f"{self.name}: {problem}")
        return resolved


def _always(options: Options) -> bool:
    return True


def _fixed_size(options: Options) -> bool:
    return options["indices"] in FIXED_INDEX_FORMATS and not options["exempt_vectors"]


def _density_or_count(options: Options) -> str | None:
    one = (options["density"] is None) != (options["count"] is None)
    return None if one else "needs either a density or a count (exactly one of the two)"


def _vote_of_signs(options: Options) -> str | None:
    unscaled = options["scale"] == "none"
    return None if unscaled or not options["vote"] else 'vote needs scale = "none", a majority\'s sign has no magnitude'


def _composition(options: Options) -> str | None:
    sparsify, quantise = options["sparsify"], options["quantise"]
    if quantise["per_tensor"]:
        return "per_tensor belongs to sparsify, its kept values are one vector"
    if quantise.get("vote"):
        return "a majority vote needs the signs of all coordinates"
    if quantise.get("share_scale"):
        return "share_scale needs the same coordinates on all workers"
    if "bucket" in quantise and not _SPARSIFIERS[sparsify["name"]].summable(sparsify):
        return "buckets need a sparsifier with shared coordinates"
    return None


def _parts(entries: Registry[CompressorEntry]) -> Registry[CompressorEntry]:
    """The same as parts of a composition: what is exempt from compression, the composition says for both."""

    def part(entry: CompressorEntry) -> CompressorEntry:
        return replace(entry, options={key: option for key, option in entry.options.items() if key not in _EXEMPT})

    return Registry(entries.kind, map(part, entries.values()))


_MAX_COORDINATES = 2**31 - 1
"""Coordinates: more than any vector has."""
_FLOATS = {"values": Option("float format of a value", str, "fp32", tuple(FLOAT_BYTES))}
_INDICES = {
    "indices": Option("how indices are written", str, "32-bit", INDEX_FORMATS),
}
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
            conflict=_density_or_count,
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
            conflict=_density_or_count,
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
            summable=lambda options: options["seed"] == "shared",
            unites=_fixed_size,
            conflict=_density_or_count,
        ),
        CompressorEntry(
            "rbgs",
            "a block of consecutive coordinates from a shared random start, no indices sent",
            "Vogels et al. 2019; Xu and Huang 2022",
            _KEEP | _FLOATS | _EXEMPT,
            "sparsification.random_sparse:RBGS",
            summable=_always,
            conflict=_density_or_count,
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
            summable=_always,
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
                "zeros": Option(
                    "positive: the sign of 0 is +; masked: 0 is a third symbol, 1.6 bits in place of one",
                    str,
                    "positive",
                    ("positive", "masked"),
                ),
                **_EXEMPT,
            },
            "quantisation.quantise:ScaledSign",
            conflict=_vote_of_signs,
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
                "coding": Option("how levels are written", str, "fixed", LEVEL_FORMATS),
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
                "coding": Option("how levels are written", str, "trits", LEVEL_FORMATS),
                **_EXEMPT,
            },
            "quantisation.quantise:Ternary",
        ),
    ),
)


def _own(name: str, found: Any) -> CompressorEntry:
    """A class of one's own; what it exempts from compression is said as for any other."""
    require_class(name, found, Compressor, "__call__")
    summary, details = described_class(found)
    same = bool(getattr(found, "summable", False))
    return CompressorEntry(
        name,
        summary,
        getattr(found, "source", OWN),
        {**_EXEMPT, **options_of(found)},
        own=found,
        summable=lambda options: same and not options.get("exempt_vectors"),
        needs_layout=lambda options: False,
        details=details,
    )


COMPRESSORS: Registry[CompressorEntry] = Registry(
    "compressor",
    (
        CompressorEntry(
            "identity", "no compression: every coordinate", "-", _FLOATS, "identity:Identity", summable=_always
        ),
        *_SPARSIFIERS.values(),
        *_QUANTISERS.values(),
        CompressorEntry(
            "low-rank",
            "each worker's matrices as two thin factors from one power iteration",
            "Vogels et al. 2019 (the pieces of PowerSGD)",
            {"rank": Option("rank of the factors", int, 2)},
            "low_rank:LowRank",
            needs_layout=_always,
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
        CompressorEntry(
            "composed",
            "a sparsifier, then a quantiser on the values it keeps",
            "Basu et al. 2019 (Qsparse-local-SGD)",
            {
                "sparsify": Part("the sparsifier, with its options", entries=_parts(_SPARSIFIERS)),
                "quantise": Part("the quantiser of the kept values, with its options", entries=_parts(_QUANTISERS)),
                **_EXEMPT,
            },
            "composed:Composed",
            conflict=_composition,
        ),
    ),
    _own,
    "simgmc.compressors",
    listed="compressors",
)
