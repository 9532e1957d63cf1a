"""Real gradients, real messages, simulated networks."""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "run": "simgmc.api",
    "load": "simgmc.api",
    "replay": "simgmc.api",
    "compare": "simgmc.api",
    "Run": "simgmc.api",
    "Comparison": "simgmc.api",
    "plot": "simgmc.plot",
    "SimgmcError": "simgmc.core.errors",
}
"""Where each public name is defined; it is loaded when it is asked for."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """A public name, from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'simgmc' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    return home if _HOMES[name] == f"simgmc.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
