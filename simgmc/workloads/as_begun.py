"""The user's own objects beside the model (a loss, a metric, samples, a schedule), and whether they are as they were.

What they keep is one for all workers, and lies where no checkpoint reaches: a training that is stopped would go on as
another. So a state is written only as long as they are as they were when it began, and a training that is stopped
after that begins again.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from simgmc.workloads.gradients.held import OUTSIDE, Outside
from simgmc.workloads.gradients.snapshot import Snapshot


class AsBegun:
    """How some of the user's objects were when this was made, by what they are called."""

    def __init__(self, **objects: Any):
        self._objects = {name: one for name, one in objects.items() if one is not None}
        self._began = self._now() if self._objects else None

    def state(self) -> dict[str, Outside]:
        """What a state has to say of them: nothing as long as they are as they were."""
        found = () if self._began is None else self._began.changed(self._now())
        names = dict.fromkeys(name for path in found for name in re.findall(r"^[\w. ]+", path))
        return {OUTSIDE: Outside(tuple(names))} if names else {}

    def _now(self) -> Snapshot:
        seen = Snapshot()
        for name, one in self._objects.items():
            seen.look(name, one, (name, ""))
        seen.look_around()
        return seen


def digest(values: Any, so_far: int = 0) -> int:
    """Of all numbers in nested values, in order: other ones have another, but for one case in four thousand million."""
    for one in tree_leaves(values):
        if isinstance(one, Tensor) and one.layout is torch.strided and not one.is_quantized:
            one = one.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        if isinstance(one, (np.ndarray, np.generic, bool, int, float)):
            so_far = zlib.crc32(np.ascontiguousarray(one), so_far)
    return so_far
