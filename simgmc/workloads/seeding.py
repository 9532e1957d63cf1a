"""Code that is not ours draws from generators of the whole process: torch's, numpy's and Python's.

They are set before it runs, so that a rerun draws the same, and put back afterwards.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def drawing_from(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Sets every generator by the seed (below 2^63), the device's too; afterwards they are as they were."""
    generators = _of_torch(device)
    states = [one.get_state() for one in generators]
    numpy, python = np.random.get_state(), random.getstate()  # noqa: NPY002 - what users' code draws from
    try:
        draw_from(seed, device)
        yield
    finally:
        for one, state in zip(generators, states, strict=True):
            one.set_state(state)
        np.random.set_state(numpy)  # noqa: NPY002
        random.setstate(python)


def draw_from(seed: int, device: torch.device | None = None) -> None:
    """Set every generator by another seed, within :func:`drawing_from`."""
    # One by one: torch.manual_seed looks for every kind of device there could be, which takes milliseconds.
    for one in _of_torch(device):
        one.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def _of_torch(device: torch.device | None) -> list[torch.Generator]:
    if device is None or device.type != "cuda":
        return [torch.default_generator]
    number = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[number]]


def drew(seed: int, device: torch.device | None = None) -> bool:
    """Whether anybody has drawn since all were set by this seed, as the next draws tell; they are set anew."""
    came = _next_draws(device)
    draw_from(seed, device)
    due = _next_draws(device)
    draw_from(seed, device)
    return came != due


def _next_draws(device: torch.device | None) -> tuple[float, ...]:
    of_torch = (
        int(torch.empty((), dtype=torch.int64, device=one.device).random_(generator=one)) for one in _of_torch(device)
    )
    return *of_torch, np.random.random_sample(), random.random()  # noqa: NPY002
