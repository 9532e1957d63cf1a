"""A run with data sets, a model or a loss that are handed over in Python."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.data import Dataset as TorchDataset

from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.code import hand_over
from simgmc.core.reading_progress import reading_progress
from simgmc.experiment.assembly import Given
from simgmc.experiment.header import print_start
from simgmc.experiment.run import run
from simgmc.scenario import ScenarioFile
from simgmc.scenario.code import spelled_out
from simgmc.workloads.data.dataset import Dataset, RawSamples
from simgmc.workloads.data.own_data import read_own
from simgmc.workloads.losses.functions import LossFunction

Numbers = float | Sequence[float]
Model = nn.Module | Callable[[], nn.Module]


def run_given(
    scenario: str | Path | Mapping[str, Any],
    *,
    out: str | Path,
    train: TorchDataset | None,
    test: TorchDataset | None,
    model: Model | None,
    loss: LossFunction | None,
    collate: Callable[[list[Any]], Any] | None,
    mean: Numbers | None,
    std: Numbers | None,
    settings: Mapping[str, Any] | None,
    console: Console,
    **options: Any,
) -> Path:
    """Run a scenario, a file or its content, with these in the place of its own; see :func:`simgmc.run`."""
    dataset, digest = _dataset(train, test, mean, std, collate)
    changes = dict(settings or {})
    handed: dict[str, Any] = {}
    if collate is not None:
        changes["workload.collate"] = path = hand_over(collate)
        handed[path] = collate
    if dataset is not None:
        changes["workload.dataset"] = {"name": "given", "digest": digest}
    if model is not None:
        changes["workload.model"] = {"name": "given", "what": _what(model)}
    if loss is not None:
        if not callable(loss):
            raise SimgmcError(f"loss: {type(loss).__name__} is not a function (output, target)")
        changes["workload.loss"] = {"name": "given", "what": getattr(loss, "__qualname__", type(loss).__qualname__)}
    if isinstance(scenario, Mapping):
        content, parts = spelled_out({"name": "run", **scenario})
        file = ScenarioFile(content, "given in Python", changes.items(), handed=handed | parts)
    else:
        file = ScenarioFile.read(scenario, changes.items(), handed)
    print_start(console, file)
    return run(file, out=out, given=Given(dataset, model, loss), console=console, **options)


def _dataset(
    train: TorchDataset | None,
    test: TorchDataset | None,
    mean: Numbers | None,
    std: Numbers | None,
    collate: Callable[[list[Any]], Any] | None,
) -> tuple[Dataset | None, str]:
    if (train is None) != (test is None):
        raise SimgmcError("give both train and test, or neither")
    if train is None or test is None:
        if collate is not None:
            raise SimgmcError("collate goes with train and test; in a scenario it is workload.collate")
        return None, ""
    with reading_progress() as progress:
        data = read_own("given", train, test, mean=mean, std=std, collate=collate, progress=progress)
    digest = hashlib.sha256(repr((data.mean.tolist(), data.std.tolist())).encode())
    for part in (data.train_images, data.train_labels, data.test_images, data.test_labels):
        for one in tree_leaves(list(part.samples)) if isinstance(part, RawSamples) else [part]:
            if isinstance(one, np.ndarray) and one.dtype != object:
                digest.update(repr((one.shape, one.dtype.str)).encode())
                digest.update(np.ascontiguousarray(one).data)
            else:
                digest.update(pickle.dumps(one.detach().cpu().numpy() if isinstance(one, Tensor) else one))
    return data, digest.hexdigest()[:16]


def _what(model: Model) -> str:
    """The class and the size of a model, for the resolved scenario."""
    if not isinstance(model, nn.Module) and not callable(model):
        raise SimgmcError(f"model: {type(model).__name__} is neither a torch.nn.Module nor a function that makes one")
    made = Given(model=model).build(0)
    trained = sum(p.numel() for p in made.parameters() if p.requires_grad)
    return f"{type(made).__name__}, {trained:,} parameters"
