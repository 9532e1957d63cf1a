"""From a name and options to a compressor. Imports torch only to build one."""

from __future__ import annotations

import importlib
from typing import Any

from simgmc.compression.catalogue import COMPRESSORS
from simgmc.core.errors import SimgmcError
from simgmc.core.layout import Layout


def build(name: str, layout: Layout | None = None, **options: Any) -> Any:
    """The compressor of this name: a callable ``(vector (..., d), random) -> Message``.

    ``layout`` is the model's; what works per tensor needs it.

    Raises:
        SimgmcError: an unknown name, options that are not valid or do not go together.
    """
    resolved = COMPRESSORS[name].resolve(options)
    if resolved.pop("exempt_vectors", False):
        from simgmc.compression.exemption import DenseExemption, without_vectors

        if layout is None:
            raise SimgmcError(f"{name}: exempt_vectors needs the layout of the model's tensors")
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
        raise SimgmcError(f"compressor {name}: {error}") from None
