"""The state of a training on real processes, written by all ranks together with ``torch.distributed.checkpoint``.

Each rank's part is its own; a training goes on with as many ranks as it was begun with. A checkpoint is of use once
the file ``newest`` names it, so one that was cut short is never read. All ranks need to see the directory.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from simgmc.core.errors import SimgmcError, reason
from simgmc.distributed.group import Group, RankLostError
from simgmc.results.directory.rows import replace
from simgmc.training.saved_state import from_arrays, to_arrays

_NEWEST = "newest"


class RankCheckpoints:
    """Those of one training, in a folder of their own."""

    def __init__(self, folder: Path, group: Group, every: float):
        """``every``: seconds of real time between two."""
        self._folder, self._group, self._every = folder, group, every
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for one (what rank 0 finds counts)."""
        return time.monotonic() - self._saved >= self._every

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write every rank's state; the one before is removed then.

        Where a rank holds what no file can, nothing is written, and a training that is stopped begins anew.

        Raises SimgmcError on all ranks where one cannot write: what was saved before is kept.
        """
        try:
            arrays, plain = to_arrays(state)
            kept = True
        except TypeError:
            kept = False
        if not all(self._group.gathered(kept, everywhere=True)):
            return
        parts: dict[str, Tensor] = {
            self._key(key): torch.from_numpy(np.array(array, copy=True)) for key, array in arrays.items()
        }
        parts[self._key("plain")] = _text(json.dumps(plain))
        place = self._folder / name
        try:
            with self._group.lost():
                dcp.save(parts, storage_writer=FileSystemWriter(place), process_group=self._group.objects)
            if self._group.rank == 0:
                replace(self._folder / _NEWEST, name.encode())
        except (CheckpointException, SimgmcError) as error:
            if isinstance(error, RankLostError):
                raise
            if self._group.rank == 0:
                shutil.rmtree(place, ignore_errors=True)
            raise SimgmcError(
                f"cannot write {place}: {_why(error)}; what was saved before is kept: give the same command again once "
                "it can be written"
            ) from None
        if self._group.rank == 0:
            for other in self._folder.iterdir():
                if other.is_dir() and other != place:
                    shutil.rmtree(other, ignore_errors=True)
        self._saved = time.monotonic()

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """This rank's newest state; None where there is none.

        Raises SimgmcError where it is of other ranks, or cannot be read.
        """
        try:
            place = self._folder / (self._folder / _NEWEST).read_text()
        except OSError:
            return None
        try:
            kept = FileSystemReader(place).read_metadata().state_dict_metadata
        except (OSError, EOFError, UnpicklingError) as error:
            raise SimgmcError(f"cannot read {place}: {reason(error)}; begin anew with --overwrite") from None
        ranks = {key.split("/")[0] for key in kept}
        if len(ranks) != self._group.size:
            raise SimgmcError(
                f"{place}: is of {len(ranks)} ranks, and there are {self._group.size}: start as many, or begin anew "
                "with --overwrite"
            )
        mine = {
            key: torch.empty(one.size, dtype=one.properties.dtype)
            for key, one in kept.items()
            if isinstance(one, TensorStorageMetadata) and key.startswith(self._key(""))
        }
        try:
            with self._group.lost():
                dcp.load(mine, storage_reader=FileSystemReader(place), process_group=self._group.objects)
        except CheckpointException as error:
            raise SimgmcError(f"cannot read {place}: {_why(error)}; begin anew with --overwrite") from None
        arrays = {key.removeprefix(self._key("")): one.numpy() for key, one in mine.items()}
        plain = json.loads(arrays.pop("plain").tobytes())
        return from_arrays(arrays, plain, device)

    def remove(self) -> None:
        """The training is finished."""
        if self._group.rank == 0 and self._folder.exists():
            shutil.rmtree(self._folder)

    def _key(self, name: str) -> str:
        return f"rank{self._group.rank}/{name}"


def _why(error: BaseException) -> str:
    """What went wrong on the first of the ranks where something did."""
    if not isinstance(error, CheckpointException):
        return str(error)
    rank, (first, _) = min(error.failures.items(), key=lambda one: one[0])
    if isinstance(first, OSError):
        return f"rank {rank}: {reason(first)}"
    return f"rank {rank}: {str(first).splitlines()[0]} (torch says so where the disk is full)"


def _text(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(text.encode(), np.uint8).copy())
