"""Samples that are no single array each: kept as their data set gives them, and made a batch when they are taken."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import default_collate

from simgmc.core.own_code.errors import guarded
from simgmc.core.randomness import generator
from simgmc.workloads.data.dataset import RawSamples
from simgmc.workloads.data.inputs import in_parts, on
from simgmc.workloads.seeding import drawing_from

ONE_AT_A_TIME = threading.Lock()
"""Of what draws from the process's generators."""


def own(sample: Any) -> Any:
    """The same with tensors and arrays of its own: a data set may give one buffer again and again."""

    def copied(one: Any) -> Any:
        if isinstance(one, Tensor):
            return one.detach().clone()
        return one.copy() if isinstance(one, np.ndarray) else one

    return tree_map(copied, sample)


def batch_of(raw: RawSamples, index: list[int], seed: int, anew: bool = False) -> tuple[Any, Any]:
    """Inputs and targets of these samples, collated as ``torch.utils.data.DataLoader`` does it; draws by the seed.

    ``anew``: samples that draw random numbers are read again.
    """
    place = f"dataset, {len(index)} {raw.split} samples from number {index[0]}"

    def taken() -> list[Any]:
        if anew and raw.anew is not None:
            return [guarded(place, "reading them failed", lambda: raw.anew[one]) for one in index]  # noqa: B023
        # a function may change what it is given
        return [own(raw.samples[one]) if raw.collate else raw.samples[one] for one in index]

    hint = "" if raw.collate else '; samples of unequal shapes need a function that pads them: collate = "my_data:pad"'
    with ONE_AT_A_TIME, drawing_from(seed):
        made = guarded(place, f"collating them failed{hint}", lambda: (raw.collate or default_collate)(taken()))
    return in_parts(f"{place}, collated", made)


class CollatedSamples:
    """Samples of several inputs or unequal shapes; see :class:`simgmc.workloads.data.minibatches.Samples`.

    Whole numbers keep their type, floating-point numbers are ``dtype``.
    """

    tokens = channels_last = False

    anew = None

    def __init__(self, raw: RawSamples, device: torch.device, dtype: torch.dtype):
        self._raw, self.device, self._dtype = raw, device, dtype

    def __len__(self) -> int:
        return len(self._raw.samples)

    def take(self, index: Tensor, seed: int | None = None) -> tuple[Any, Any]:
        """Inputs and targets of these samples (n,); without a seed what is drawn depends on the first of them."""
        chosen, anew = index.tolist(), seed is not None
        if seed is None:
            seed = int(generator(0, "collate", chosen[0]).integers(2**63))
        inputs, targets = batch_of(self._raw, chosen, seed, anew)
        return on(inputs, self.device, self._dtype), on(targets, self.device, self._dtype)
