"""A run's evaluations in TensorBoard or Weights & Biases, whose clock then is the simulated one.

Both packages are imported only where they are asked for. Every series is logged whole, as soon as its training is
finished; what was logged before a run was stopped is not logged again.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from simgmc.core.errors import SimgmcError, show_value
from simgmc.results.directory.run_directory import RunDirectory, SeriesKey

OFTEN = 5.0
"""Seconds between two looks into the run directory, at least."""
TENSORBOARD = "tensorboard"
"""The folder of a run that its event files are in."""

Point = tuple[int, float, Mapping[str, float]]
"""An evaluation: round, simulated seconds, values by name."""


class Tracker(Protocol):
    """Who keeps series."""

    def has(self, key: SeriesKey) -> bool:
        """Whether this series was logged before."""

    def log(self, key: SeriesKey, points: Sequence[Point]) -> None:
        """Keep a series."""


class TensorBoard:
    """A folder of event files for each series; step: the round, wall time: simulated seconds."""

    def __init__(self, directory: RunDirectory):
        _needed("tensorboard", "tensorboard")
        self._folder = directory.path / TENSORBOARD

    def _of(self, key: SeriesKey) -> Path:
        name = quote(key.words.replace("/", " per "), safe=" ()+=,@")
        return self._folder / (name if len(name) < 200 else f"{name[:180]}-{_digest(key.words)}")

    def has(self, key: SeriesKey) -> bool:
        """Whether there is an event file of it."""
        return any(self._of(key).glob("events.out.tfevents.*"))

    def log(self, key: SeriesKey, points: Sequence[Point]) -> None:
        """Written under a name that nobody reads, and moved once it is whole."""
        from torch.utils.tensorboard import SummaryWriter  # loads tensorboard

        partial = self._folder / ".partial"
        for left in partial.glob("*"):
            left.unlink()
        with SummaryWriter(str(partial)) as writer:
            for number, seconds, values in points:
                for name, value in values.items():
                    writer.add_scalar(name, value, number, walltime=seconds)
        whole = self._of(key)
        whole.mkdir(parents=True, exist_ok=True)
        for file in partial.glob("*"):
            file.rename(whole / file.name)
        partial.rmdir()


class WeightsAndBiases:
    """A W&B run for each series, in a project named as the scenario; its axis is the simulated time."""

    def __init__(self, directory: RunDirectory):
        self._wandb = _needed("wandb", "wandb")
        self._directory = directory
        self._scenario = tomllib.loads(directory.scenario_text())

    def has(self, key: SeriesKey) -> bool:
        """They are not asked; a series that comes twice is the same W&B run."""
        return False

    def log(self, key: SeriesKey, points: Sequence[Point]) -> None:
        """Values beside round and simulated seconds."""
        axis = "sim_time_s"
        run = self._wandb.init(
            project=self._scenario.get("name", "simgmc"), name=key.words, group=key.method, config=self._scenario,
            id=_digest(f"{self._directory.path.resolve()}/{key.words}"), resume="allow", dir=str(self._directory.path),
        )  # fmt: skip
        run.define_metric(axis)
        run.define_metric("*", step_metric=axis)
        for number, seconds, values in points:
            run.log({axis: seconds, "round": number, **values})
        run.finish()


TRACKERS: dict[str, type[TensorBoard] | type[WeightsAndBiases]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


class Tracking:
    """Logs what a run directory has, again and again while a run goes on; ``names``: of :data:`TRACKERS`.

    Raises SimgmcError for a name or a package that there is not.
    """

    def __init__(self, names: Sequence[str], directory: RunDirectory):
        self._directory, self._looked = directory, -math.inf
        self._trackers: list[Tracker] = [_tracker(name)(directory) for name in dict.fromkeys(names)]
        self._logged = set[SeriesKey]()

    def catch_up(self, at_last: bool = False) -> None:
        """Log the series that have come since; ``at_last``: also where that was looked for a moment ago."""
        if not self._trackers or (not at_last and time.monotonic() - self._looked < OFTEN):
            return
        for key, points in self._new():
            for tracker in self._trackers:
                if not tracker.has(key):
                    tracker.log(key, points)
            self._logged.add(key)
        self._looked = time.monotonic()

    def _new(self) -> Iterator[tuple[SeriesKey, list[Point]]]:
        evaluations = self._directory.evaluations()
        others = self._directory.other_rows()
        for key in self._directory.finished_among(evaluations):
            if key in self._logged:
                continue
            further: dict[int, list[dict[str, float]]] = {}
            for row in others.get(key, ()):
                of_round = further.setdefault(row.round, [{}])
                if row.name in of_round[-1]:  # the next evaluation of the same round
                    of_round.append({})
                of_round[-1][row.name] = row.value
            points: list[Point] = []
            for one in evaluations[key]:
                more = further.get(one.round, [{}])
                own = {
                    "epoch": one.epoch, "train_loss": one.train_loss, "test_loss": one.test_loss,
                    "test_accuracy": one.test_accuracy, "bytes_up": one.bytes_up, "bytes_down": one.bytes_down,
                    "rcc": one.rcc,
                }  # fmt: skip
                known = {name: float(value) for name, value in own.items() if value is not None}
                points.append((one.round, one.sim_time_s, known | (more.pop(0) if len(more) > 1 else more[0])))
            yield key, points


def check(names: Sequence[str]) -> None:
    """Raises SimgmcError for a name or a package that there is not: before anything is computed."""
    for name in names:
        _tracker(name)
        _needed(name, name)


def _tracker(name: str) -> type[TensorBoard] | type[WeightsAndBiases]:
    if name not in TRACKERS:
        raise SimgmcError(f"log = {show_value(name)}: must be one of {', '.join(map(show_value, TRACKERS))}")
    return TRACKERS[name]


def _needed(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise SimgmcError(
            f"log = \"{extra}\": the package {module} is not installed; pip install 'simgmc[{extra}]' brings it"
        ) from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
