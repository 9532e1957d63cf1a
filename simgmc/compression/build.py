"""From a name and options to a compressor. Imports torch only to build one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from simgmc.compression.catalogue import COMPRESSORS
from simgmc.compression.compressor import Compressor
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout
from simgmc.core.own_code.errors import guarded


def build(name: str, layout: Layout | None = None, **options: Any) -> Compressor:
    """The compressor of this name: a callable ``(vector (..., d), random) -> Message``.

    ``layout`` is the model's; what works per tensor needs it.

    Raises:
        SimgmcError: an unknown name, options that are not valid or do not go together.
    """
    return build_adapted(name, layout, options, lambda own: own)


def build_adapted(
    name: str, layout: Layout | None, options: Mapping[str, Any], adapt: Callable[[Compressor], Compressor]
) -> Compressor:
    """As :func:`build`; ``adapt`` gives what one of one's own is used through."""
    entry = COMPRESSORS[name]
    resolved = entry.resolve(options)
    if resolved.pop("exempt_vectors", False):
        from simgmc.compression.exemption import DenseExemption, without_vectors  # loads torch

        if layout is None:
            raise SimgmcError(f"{name}: exempt_vectors needs the layout of the model's tensors")
        inner = build_adapted(name, without_vectors(layout), resolved, adapt)
        return DenseExemption(compressor=inner, layout=layout)
    if layout is None and entry.needs_layout(resolved):
        raise SimgmcError(f"{name}: needs the layout of the model's tensors")
    for part in ("sparsify", "quantise"):
        if part in resolved:
            resolved[part] = build(layout=layout, **resolved[part])
    own = entry.own
    if own is not None:
        return adapt(guarded(name, "making it failed", lambda: own(**resolved)))
    module, _, implementation = entry.target.partition(":")
    cls = getattr(importlib.import_module(f"simgmc.compression.{module}"), implementation)
    if not resolved.pop("per_tensor", True):
        layout = None
    if "layout" in cls.__dataclass_fields__:
        resolved["layout"] = layout
    return cls(**resolved)
