"""The arithmetic in which gradients are computed.

Parameters, gradients and everything that methods do with them stay float32; only the products
and convolutions inside a model's forward and backward pass may be coarser. Evaluation never is.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from simgmc.core.errors import SimgmcError

# The newer settings are not in all versions that simgmc runs with.
warnings.filterwarnings("ignore", message="Please use the new API settings to control TF32 behavior")

PRECISIONS = ("float32", "tf32", "bfloat16")
"""``float32``: full single precision. ``tf32``: factors of 10 bits of mantissa, on CUDA. ``bfloat16``:
autocast, activations of 8 bits of significand where torch.amp holds that safe."""


def check_precision(name: str, device: torch.device) -> None:
    """Raises SimgmcError for a precision that the device does not have."""
    if name not in PRECISIONS:
        raise SimgmcError(f"precision {name!r} is unknown; valid: {', '.join(PRECISIONS)}")
    if name == "tf32" and device.type != "cuda":
        raise SimgmcError(
            f"workload.precision = 'tf32': a {device.type} device has none; choose 'float32' or 'bfloat16', or run on "
            "CUDA (--device cuda)"
        )


def autocast(name: str, device: torch.device) -> contextlib.AbstractContextManager:
    """The context in which a pass of that precision runs, for the thread that enters it."""
    if name != "bfloat16":
        return contextlib.nullcontext()
    # without the cache of cast weights: graphs capture each cast, and no pass sees another one's
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


@contextlib.contextmanager
def kernels(name: str, device: torch.device) -> Iterator[None]:
    """CUDA kernels that add in a fixed order, chosen by rule and not by timing; TF32 only where asked for."""
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before, tf32 = (cudnn.benchmark, cudnn.deterministic), _tf32()
    cudnn.benchmark, cudnn.deterministic = False, True
    for backend, _, finer in tf32:
        backend.allow_tf32 = name == "tf32"
        for operation, _ in finer:
            operation.fp32_precision = "tf32" if name == "tf32" else "ieee"
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
        for backend, allowed, finer in tf32:
            backend.allow_tf32 = allowed
            for operation, chosen in finer:
                operation.fp32_precision = chosen


def _tf32() -> list[tuple[Any, bool, list[tuple[Any, str]]]]:
    """Where TF32 is allowed: backends, whether they allow it, and the newer settings of their operations.

    Where someone has made the newer settings alone, torch raises when it is asked for the older ones.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    found = []
    for backend, operations in ((cudnn, [getattr(cudnn, one, None) for one in ("conv", "rnn")]), (matmul, [matmul])):
        try:
            allowed = backend.allow_tf32
        except RuntimeError:
            allowed = False
        found.append(
            (backend, allowed, [(one, one.fp32_precision) for one in operations if hasattr(one, "fp32_precision")])
        )
    return found
