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
    generators = [torch.default_generator]
    if device is not None and device.type == "cuda":
        number = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[number])
    states = [one.get_state() for one in generators]
    numpy, python = np.random.get_state(), random.getstate()  # noqa: NPY002 - what users' code draws from
    try:
        # One by one: torch.manual_seed looks for every kind of device there could be, which takes milliseconds.
        for one in generators:
            one.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        yield
    finally:
        for one, state in zip(generators, states, strict=True):
            one.set_state(state)
        np.random.set_state(numpy)  # noqa: NPY002
        random.setstate(python)


def drawn_so_far(device: torch.device) -> tuple[object, ...]:
    """The state of all of them: equal as long as nobody draws."""
    torch_states = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return (*(state.numpy().tobytes() for state in torch_states), keys.tobytes(), *rest, random.getstate())
