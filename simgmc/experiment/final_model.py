"""The model that a training ends with, as a file: what its last evaluation was of, running statistics included."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save, save_file
from torch import Tensor

from simgmc.experiment.training import Training
from simgmc.experiment.under_way.evaluations import Outcome
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.training.trainer import Trainer


@dataclass(frozen=True)
class FinalModel:
    """Named tensors on the CPU, as ``load_state_dict`` takes them, and where training stood."""

    tensors: Mapping[str, Tensor]
    round: int
    epoch: float

    def keep(self, directory: RunDirectory, training: Training) -> None:
        """Write it. Tensors of a type that the format has no name for are left out, and named in the file.

        What is said of it is one JSON text: the format keeps several in no order, and the same run is the same bytes.
        """
        tensors = {name: tensor for name, tensor in self.tensors.items() if _can_be_held(tensor)}
        about = {
            "scenario": hashlib.sha256(_settings(directory).encode()).hexdigest(),
            "method": training.method.name,
            "seed": training.seed,
            "grid": training.values,
            "round": self.round,
            "epoch": self.epoch,
            "left out": sorted(self.tensors.keys() - tensors.keys()),
        }

        def write(file: Path) -> None:
            try:
                save_file(tensors, file, {"simgmc": json.dumps(about, default=str)})
            except SafetensorError as error:  # what it says of a full disk
                raise OSError(str(error)) from None

        directory.write_model(training.key, write)


def final_model(trainer: Trainer, outcome: Outcome) -> FinalModel | None:
    """The model of a training that is over; of one that diverged there is none."""
    if outcome.diverged is not None:
        return None
    progress = trainer.progress()
    return FinalModel(trainer.workload.model_state(trainer.model()), progress.round, progress.epoch)


def _settings(directory: RunDirectory) -> str:
    """The resolved scenario without its remarks, which tell of the machine."""
    lines = directory.scenario_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("#"))


def _can_be_held(tensor: Tensor) -> bool:
    try:
        save({"": torch.empty(0, dtype=tensor.dtype)})
    except (KeyError, TypeError, ValueError, SafetensorError):
        return False
    return True
