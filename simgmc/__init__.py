"""Real gradients, real messages, simulated networks."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["run"]


def __getattr__(name: str) -> Any:
    """``simgmc.run`` (see :func:`simgmc.api.run`), loaded when it is asked for."""
    if name == "run":
        from simgmc.api import run  # loads torch

        return run
    raise AttributeError(f"module 'simgmc' has no attribute {name!r}")
