"""The model that a training ends with, as a file: what its last evaluation was of, running statistics included."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from simgmc.core.errors import SimgmcError, reason, show_value, suggestion
from simgmc.experiment.training import Training
from simgmc.experiment.under_way.evaluations import Outcome
from simgmc.results.directory.rows import cell
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.series.read import same_value
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


def read_model(
    directory: RunDirectory, method: str, seed: int | None, at: Mapping[str, Any], into: nn.Module | None = None
) -> dict[str, Tensor] | nn.Module:
    """The tensors of the one model that fits, by name, or the module ``into`` with their values.

    ``at``: values of the grid's keys that make it another training. Raises SimgmcError where none or several fit, or
    the module has other parameters.
    """
    kept = {file: _about(file) for file in sorted((directory.path / "models").glob("*.safetensors"))}
    if not kept:
        raise SimgmcError(f"{directory.path} holds no models")
    wanted = {"method": method} | ({} if seed is None else {"seed": seed})
    for key, value in wanted.items():
        known = list(dict.fromkeys(about[key] for about in kept.values()))
        if value not in known:
            has = suggestion(method, known) if key == "method" else f"it has {', '.join(map(str, sorted(known)))}"
            raise SimgmcError(f"{directory.path}: no model of {key} {show_value(value)}; {has}")
        kept = {file: about for file, about in kept.items() if about[key] == value}
    for key, value in at.items():
        grids = [about["grid"] for about in kept.values()]
        if not any(key in grid for grid in grids):
            raise SimgmcError(f"{directory.path}: {show_value(key)} does not tell models of {method} apart")
        kept = {
            file: about
            for file, about in kept.items()
            if key in about["grid"] and same_value(cell(about["grid"][key]), value)
        }
        if not kept:
            there = ", ".join(dict.fromkeys(show_value(grid.get(key)) for grid in grids))
            raise SimgmcError(f"{directory.path}: no model of {method} at {key} = {show_value(value)}; it has {there}")
    if len(kept) > 1:
        all_of = [
            f"seed {about['seed']}" + (f", at={about['grid']}" if about["grid"] else "") for about in kept.values()
        ]
        raise SimgmcError(f"{directory.path}: {len(kept)} models of {method}: choose seed and at: {'; '.join(all_of)}")
    (file,) = kept
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise SimgmcError(f"{file}: cannot be read: {reason(error)}") from None
    if into is None:
        return tensors
    try:
        into.load_state_dict(tensors)
    except RuntimeError as error:
        raise SimgmcError(f"{file}: does not fit {type(into).__name__}: {' '.join(str(error).split())}") from None
    return into


def _about(file: Path) -> dict[str, Any]:
    """What a model's file says of it."""
    try:
        with safe_open(file, "pt") as opened:
            return json.loads(opened.metadata()["simgmc"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise SimgmcError(f"{file}: is not a model of a run, or it is damaged: {reason(error)}") from None


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
