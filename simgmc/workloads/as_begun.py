"""The user's own objects beside the model (a loss, a metric, samples, a schedule), and whether they are as they were.

What they keep is one for all workers, and lies where no checkpoint reaches: a training that is stopped would go on as
another. So a state is written only as long as they are as they were when it began, and a training that is stopped
after that begins again.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from simgmc.core.errors import SimgmcError
from simgmc.workloads.gradients.held import OUTSIDE, Outside
from simgmc.workloads.gradients.snapshot import Snapshot
from simgmc.workloads.workload import Beginning

BESIDE = "beside the workers"
"""Under this name a trainer's state has what :meth:`AsBegun.state` says of the schedule and of the workload."""
FIXED = "what is not trained"
"""Under this name a state has the :func:`digest` of what a training never changes."""


class AsBegun:
    """How some of the user's objects were when this was made, by what they are called.

    ``fixed``: gives what a training never changes and no state holds.
    """

    def __init__(self, fixed: Callable[[], Any] | None = None, **objects: Any):
        self._fixed = fixed
        self._objects = {name: one for name, one in objects.items() if one is not None}
        self._began = self._now() if self._objects else None

    def changed(self) -> list[str]:
        """Paths of what is no longer as it was."""
        return [] if self._began is None else self._began.changed(self._now())

    def state(self) -> dict[str, Any]:
        """What a checkpoint has of them: no file takes it unless they are as they were."""
        found = self.changed()
        names = dict.fromkeys(name for path in found for name in re.findall(r"^[\w. ]+", path))
        said: dict[str, Any] = {OUTSIDE: Outside(tuple(names))} if names else {}
        return said if self._fixed is None else {FIXED: self._digest, **said}

    def check(self, state: Mapping[str, Any]) -> None:
        """Raises SimgmcError where a checkpoint is of a training with something else that is fixed."""
        if self._fixed is not None and state.get(FIXED, self._digest) != self._digest:
            raise SimgmcError(
                "the samples, or what of the model is not trained, are others than those with which the training "
                "began: they come out otherwise each time they are made (a generator without a seed?): give it a seed, "
                "and begin anew with --overwrite"
            )

    @functools.cached_property
    def _digest(self) -> int:
        return 0 if self._fixed is None else digest(self._fixed())

    def _now(self) -> Snapshot:
        seen = Snapshot()
        for name, one in self._objects.items():
            seen.look(name, one, (name, ""))
        seen.look_around()
        return seen


def beside(schedule: Beginning, workload: Beginning | None) -> list[dict[str, Any]]:
    """What a trainer's state has under :data:`BESIDE`."""
    return [schedule.state(), {} if workload is None else workload.state()]


def check_beside(workload: Beginning | None, state: Mapping[str, Any]) -> None:
    """Raises SimgmcError where a trainer's state is of other fixed things."""
    if workload is not None and BESIDE in state:
        workload.check(state[BESIDE][1])


def digest(values: Any) -> int:
    """Of all numbers in nested values, in order: other ones have another, but for one case in four thousand million."""
    so_far = 0
    for one in tree_leaves(values):
        if isinstance(one, Tensor) and one.layout is torch.strided and not one.is_quantized:
            one = one.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        if isinstance(one, (np.ndarray, np.generic, bool, int, float)):
            so_far = zlib.crc32(np.ascontiguousarray(one), so_far)
    return so_far
