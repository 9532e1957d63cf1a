"""From a name and parameters to a compressor. Imports torch only to build one."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from simgmc.compression.catalogue import COMPRESSORS, REQUIRED, Parameter
from simgmc.errors import SimgmcError
from simgmc.layout import Layout

_QUANTISERS = ("sign", "qsgd", "ternary")
_SPARSIFIERS = ("top-k", "sampled-top-k", "threshold", "random-k", "rbgs", "grbs")


def check(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with every default filled in; raises :class:`SimgmcError` on a mistake.

    Finds unknown names, wrong types, unknown choices and numbers out of range.
    """
    entry = COMPRESSORS.get(name)
    if entry is None:
        raise SimgmcError(f"compressor {name!r} is unknown; {_nearest(name, COMPRESSORS)}")
    known = {parameter.name: parameter for parameter in entry.parameters}
    for key, value in parameters.items():
        if key not in known:
            raise SimgmcError(f"compressor {name!r} has no parameter {key!r}; {_nearest(key, known)}")
        _check_value(name, known[key], value)
    for key, parameter in known.items():
        if parameter.default is REQUIRED and key not in parameters:
            raise SimgmcError(f"compressor {name!r} needs the parameter {key!r}: {parameter.summary}")
    resolved = {key: parameters.get(key, parameter.default) for key, parameter in known.items()}
    if "density" in known and (resolved["density"] is None) == (resolved["count"] is None):
        raise SimgmcError(f"compressor {name!r} needs either a density or a count (exactly one of the two)")
    if resolved.get("vote") and resolved["scale"] != "none":
        raise SimgmcError(f"compressor {name!r}: vote needs scale = 'none', a majority's sign has no magnitude")
    if name == "composed":
        resolved["sparsify"] = _check_part("sparsify", resolved["sparsify"], _SPARSIFIERS)
        resolved["quantise"] = _check_part("quantise", resolved["quantise"], _QUANTISERS)
        _check_composition(resolved["sparsify"], resolved["quantise"])
    return resolved


def build(name: str, layout: Layout | None = None, **parameters: Any) -> Any:
    """The compressor of this name: a callable ``(vector (..., d), random) -> Message``.

    ``layout`` is the model's; what works per tensor needs it.
    """
    resolved = check(name, parameters)
    if resolved.pop("exempt_vectors", False):
        from simgmc.compression.exemption import DenseExemption, without_vectors

        if layout is None:
            raise SimgmcError(f"compressor {name!r}: exempt_vectors needs the layout of the model's tensors")
        inner = build(name, without_vectors(layout), **resolved)
        return DenseExemption(compressor=inner, layout=layout)
    for part in ("sparsify", "quantise"):
        if part in resolved:
            resolved[part] = build(layout=layout, **resolved[part])
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
        kinds = {float: "a number", int: "a whole number", bool: "true or false", str: "a string", dict: "a table"}
        raise SimgmcError(f"compressor {name!r}: {parameter.name} = {value!r} is not {kinds[parameter.type]}")
    if parameter.choices and value not in parameter.choices:
        raise SimgmcError(
            f"compressor {name!r}: {parameter.name} = {value!r} is unknown; {_nearest(value, parameter.choices)}"
        )
    if parameter.type in (int, float) and not parameter.accepts(value):
        expected = parameter.range or "a finite number"
        if parameter.at_most is None and not abs(value) <= parameter.limit:
            expected += f" and at most {parameter.limit:.10g}"
        raise SimgmcError(f"compressor {name!r}: {parameter.name} = {value!r} must be {expected}")


def _check_part(role: str, given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """A part of a composition, as a table with its name and every default that is set."""
    parameters = dict(given)
    name = parameters.pop("name", None)
    if name not in names:
        raise SimgmcError(f"compressor 'composed': {role} needs a name; {_nearest(str(name), names)}")
    if parameters.get("exempt_vectors"):
        raise SimgmcError(f"compressor 'composed': exempt_vectors belongs to the composition, not to {role}")
    resolved = check(name, parameters)
    resolved.pop("exempt_vectors", None)
    return {"name": name, **{key: value for key, value in resolved.items() if value is not None}}


def _check_composition(sparsify: Mapping[str, Any], quantise: Mapping[str, Any]) -> None:
    if quantise["per_tensor"]:
        raise SimgmcError("compressor 'composed': per_tensor belongs to sparsify, its kept values are one vector")
    if quantise.get("vote"):
        raise SimgmcError("compressor 'composed': a majority vote needs the signs of all coordinates")
    if quantise.get("share_scale"):
        raise SimgmcError("compressor 'composed': share_scale needs the same coordinates on all workers")
    if "bucket" in quantise and not COMPRESSORS[sparsify["name"]].summable(sparsify):
        raise SimgmcError("compressor 'composed': buckets need a sparsifier with shared coordinates")


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(word), list(known), 1)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(known)
