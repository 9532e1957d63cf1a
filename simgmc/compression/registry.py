"""Every compressor by the name that scenarios use. Imports no torch."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simgmc.errors import SimgmcError
from simgmc.layout import Layout


@dataclass(frozen=True)
class Parameter:
    """One parameter of a compressor, as a scenario file may set it."""

    name: str
    type: type
    default: Any
    """``None``: optional, or one of a pair; ``REQUIRED``: must be given."""
    summary: str
    choices: tuple[str, ...] = ()


REQUIRED = object()


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
_INDICES = Parameter("indices", str, "32-bit", "how indices are written", ("32-bit", "log2"))
_KEEP = (
    Parameter("density", float, None, "fraction of the coordinates to keep, in (0, 1]; or count"),
    Parameter("count", int, None, "number of coordinates to keep; or density"),
    Parameter("per_tensor", bool, False, "select in each tensor instead of in the whole vector"),
)

_ENTRIES = (
    Entry("identity", "no compression: every coordinate", "-", "identity:Identity", (_FLOATS,), _always),
    Entry(
        "top-k",
        "the k coordinates of largest magnitude, exactly",
        "Aji and Heafield 2017; Stich et al. 2018",
        "top_k:TopK",
        (*_KEEP, _FLOATS, _INDICES),
    ),
    Entry(
        "sampled-top-k",
        "coordinates above a threshold estimated from a random sample: about k of them",
        "Lin et al. 2018 (DGC); the GMC paper, 5.1",
        "top_k:SampledTopK",
        (
            *_KEEP,
            Parameter("sample", float, 0.01, "fraction of the coordinates that is sampled"),
            Parameter("sampling", str, "uniform", "random subset, or strided as in DGC's code", ("uniform", "strided")),
            Parameter("correct", bool, False, "repair the threshold as DGC's code does (0.8 k to k are sent)"),
            Parameter("limit", float, 10.0, "without correction, send at most this many times k"),
            _FLOATS,
            _INDICES,
        ),
    ),
    Entry(
        "threshold",
        "every coordinate of at least a given magnitude",
        "Strom 2015; Sahu et al. 2021",
        "top_k:Threshold",
        (Parameter("threshold", float, REQUIRED, "smallest magnitude that is sent"), _FLOATS, _INDICES),
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
        ),
        lambda parameters: parameters["seed"] == "shared",
    ),
    Entry(
        "rbgs",
        "a block of consecutive coordinates from a shared random start, no indices sent",
        "Vogels et al. 2019; Xu and Huang 2022",
        "random_sparse:RBGS",
        (*_KEEP, _FLOATS),
        _always,
    ),
    Entry(
        "grbs",
        "one aligned block of each tensor, chosen by the shared seed, no indices sent",
        "Xie et al. 2020 (CSER)",
        "random_sparse:GRBS",
        (
            Parameter("ratio_in", int, 1, "blocks along a tensor's first axis"),
            Parameter("ratio_out", int, 1, "blocks along a tensor's second axis"),
            Parameter("ratio_layer", float, 1.0, "a tensor takes part with probability 1/ratio_layer"),
            _FLOATS,
        ),
        _always,
    ),
)

COMPRESSORS: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def check(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with every default filled in; raises :class:`SimgmcError` on a mistake.

    Finds unknown names, wrong types and unknown choices without importing torch; ranges
    and combinations are checked by :func:`build`.
    """
    entry = COMPRESSORS.get(name)
    if entry is None:
        raise SimgmcError(f"compressor {name!r} is unknown; {_nearest(name, COMPRESSORS)}")
    known = {parameter.name: parameter for parameter in entry.parameters}
    for key, value in parameters.items():
        if key not in known:
            raise SimgmcError(f"compressor {name!r} has no parameter {key!r}; {_nearest(key, known)}")
        _check_value(name, known[key], value)
    missing = [key for key, parameter in known.items() if parameter.default is REQUIRED and key not in parameters]
    if missing:
        raise SimgmcError(f"compressor {name!r} needs the parameter {missing[0]!r}: {known[missing[0]].summary}")
    if "density" in known and (parameters.get("density") is None) == (parameters.get("count") is None):
        raise SimgmcError(f"compressor {name!r} needs either a density or a count (exactly one of the two)")
    return {key: parameters.get(key, parameter.default) for key, parameter in known.items()}


def build(name: str, layout: Layout | None = None, **parameters: Any) -> Any:
    """The compressor of this name: a callable ``(vector (..., d), random) -> Message``.

    ``layout`` is the model's; compressors that work per tensor need it.
    """
    resolved = check(name, parameters)
    module, _, implementation = COMPRESSORS[name].target.partition(":")
    cls = getattr(importlib.import_module(f"simgmc.compression.{module}"), implementation)
    if "layout" in cls.__dataclass_fields__:
        resolved["layout"] = layout
    try:
        return cls(**resolved)
    except SimgmcError as error:
        raise SimgmcError(f"compressor {name!r}: {error}") from None


def _check_value(name: str, parameter: Parameter, value: Any) -> None:
    if value is None and parameter.default is None:
        return
    accepted = (int, float) if parameter.type is float else parameter.type
    if not isinstance(value, accepted) or (isinstance(value, bool) and parameter.type is not bool):
        kind = {float: "a number", int: "a whole number", bool: "true or false", str: "a string"}[parameter.type]
        raise SimgmcError(f"compressor {name!r}: {parameter.name} = {value!r} is not {kind}")
    if parameter.choices and value not in parameter.choices:
        raise SimgmcError(
            f"compressor {name!r}: {parameter.name} = {value!r} is unknown; {_nearest(value, parameter.choices)}"
        )


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(str(word), list(known), 1)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(known)
