"""Who keeps a run's evaluations elsewhere: TensorBoard, Weights & Biases. Imported only where they are asked for."""

from __future__ import annotations

import hashlib
import importlib
import tomllib
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from simgmc.core.errors import SimgmcError, reason, show_value
from simgmc.results.directory.own_files import TENSORBOARD, WANDB
from simgmc.results.directory.records import SeriesKey
from simgmc.results.directory.rows import append, replace
from simgmc.results.directory.run_directory import RunDirectory

Point = tuple[int, float, Mapping[str, float]]
"""An evaluation: round, simulated seconds, values by name."""


class Tracker(Protocol):
    """Who keeps series. What was kept before a run was stopped is there when it goes on."""

    def is_whole(self, key: SeriesKey) -> bool:
        """Whether all of this series is there."""

    def rounds(self, key: SeriesKey) -> Counter[int]:
        """Of a series that is not whole the rounds whose evaluations are there, and how many of each."""

    def add(self, key: SeriesKey, point: Point) -> None:
        """Keep one evaluation of a series whose training is under way, at once."""

    def complete(self, key: SeriesKey, points: Sequence[Point]) -> None:
        """Keep these, what is missing of a series; it is whole then."""

    def close(self) -> None:
        """No more comes for now."""


class TensorBoard:
    """A folder of event files for each series; step: the round, wall time: simulated seconds."""

    _WHOLE = ".whole"
    """How the name of the event file ends that came last."""

    def __init__(self, directory: RunDirectory):
        needed("tensorboard", "tensorboard")
        self._folder = directory.path / TENSORBOARD
        self._open: dict[SeriesKey, Any] = {}

    def _of(self, key: SeriesKey) -> Path:
        name = quote(key.words.replace("/", " per "), safe=" ()+=,@")
        return self._folder / (name if len(name) < 200 else f"{name[:180]}-{_digest(key.words)}")

    def is_whole(self, key: SeriesKey) -> bool:
        """By the name of an event file, which appears with all that is in it."""
        return any(self._of(key).glob(f"*{self._WHOLE}"))

    def rounds(self, key: SeriesKey) -> Counter[int]:
        """As the event files say, also those of a process that was killed."""
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # loads much

        files = sorted(self._of(key).glob("events.out.tfevents.*"))
        events = (event for file in files for event in EventFileLoader(str(file)).Load())
        return Counter(event.step for event in events for one in event.summary.value if one.tag == "epoch")

    def add(self, key: SeriesKey, point: Point) -> None:
        """Written to the disk."""
        from torch.utils.tensorboard import SummaryWriter  # loads tensorboard

        if key not in self._open:
            self._open[key] = SummaryWriter(str(self._of(key)))
        _write(self._open[key], [point])
        self._open[key].flush()

    def complete(self, key: SeriesKey, points: Sequence[Point]) -> None:
        """Written under a name that nobody reads, and moved once it is whole."""
        from torch.utils.tensorboard import SummaryWriter  # loads tensorboard

        if key in self._open:
            self._open.pop(key).close()
        partial = self._folder / ".partial"
        for left in partial.glob("*"):
            left.unlink()
        with SummaryWriter(str(partial), filename_suffix=self._WHOLE) as writer:
            _write(writer, points)
        place = self._of(key)
        place.mkdir(parents=True, exist_ok=True)
        for file in partial.glob("*"):
            file.rename(place / file.name)
        partial.rmdir()

    def close(self) -> None:
        """The event files that are open."""
        while self._open:
            self._open.popitem()[1].close()


def _write(writer: Any, points: Sequence[Point]) -> None:
    for number, seconds, values in points:
        for name, value in values.items():
            writer.add_scalar(name, value, number, walltime=seconds)


class WeightsAndBiases:
    """A W&B run for each series, in a project named as the scenario; its axis is the simulated time.

    What W&B has been sent is written down in the run directory: a line for each evaluation, ``series,round``, and one
    for a series that is whole. The first line names the run, so that one that is overwritten has other W&B runs.
    """

    _AXIS = "sim_time_s"
    _WHOLE = "whole"

    def __init__(self, directory: RunDirectory):
        self._wandb = needed("wandb", "wandb")
        self._directory = directory
        self._scenario = tomllib.loads(directory.scenario_text())
        self._ledger = directory.path / WANDB
        if not self._ledger.is_file():
            replace(self._ledger, f"{uuid.uuid4().hex}\n".encode())
        self._name, *lines = self._ledger.read_text(encoding="utf-8").splitlines()
        self._sent: dict[str, Counter[int]] = {}
        self._whole: set[str] = set()
        for series, _, what in (line.partition(",") for line in lines):
            if what == self._WHOLE:
                self._whole.add(series)
            elif what.isdigit():
                self._sent.setdefault(series, Counter())[int(what)] += 1
        self._open: dict[SeriesKey, Any] = {}

    def is_whole(self, key: SeriesKey) -> bool:
        """By what is written down of it."""
        return self._id(key) in self._whole

    def rounds(self, key: SeriesKey) -> Counter[int]:
        """By what is written down of them."""
        return self._sent.get(self._id(key), Counter())

    def add(self, key: SeriesKey, point: Point) -> None:
        """To its W&B run, which goes on where there was one."""
        self._log(key, point)
        append(self._ledger, f"{self._id(key)},{point[0]}\n")

    def complete(self, key: SeriesKey, points: Sequence[Point]) -> None:
        """Its W&B run is finished then."""
        for point in points:
            self._log(key, point)
        if key in self._open:
            self._open.pop(key).finish()
        append(self._ledger, f"{self._id(key)},{self._WHOLE}\n")

    def close(self) -> None:
        """The W&B runs that are open."""
        while self._open:
            self._open.popitem()[1].finish()

    def _id(self, key: SeriesKey) -> str:
        return _digest(f"{self._name}/{key.words}")

    def _log(self, key: SeriesKey, point: Point) -> None:
        if key not in self._open:
            self._open[key] = self._begin(key)
        number, seconds, values = point
        self._open[key].log({self._AXIS: seconds, "round": number, **values})

    def _begin(self, key: SeriesKey) -> Any:
        try:
            run = self._wandb.init(
                project=self._scenario.get("name", "simgmc"), name=key.words, group=key.method, config=self._scenario,
                id=self._id(key), resume="allow", dir=str(self._directory.path), reinit="create_new",
            )  # fmt: skip
        except Exception as error:  # no account, no network
            raise SimgmcError(f'log = "wandb": W&B does not begin a run: {reason(error)}') from None
        run.define_metric(self._AXIS)
        run.define_metric("*", step_metric=self._AXIS)
        return run


TRACKERS: dict[str, type[TensorBoard] | type[WeightsAndBiases]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


def tracker(name: str) -> type[TensorBoard] | type[WeightsAndBiases]:
    """One of :data:`TRACKERS`. Raises SimgmcError for another name."""
    if name not in TRACKERS:
        raise SimgmcError(f"log = {show_value(name)}: must be one of {', '.join(map(show_value, TRACKERS))}")
    return TRACKERS[name]


def needed(module: str, extra: str) -> Any:
    """A module that an extra brings. Raises SimgmcError where it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise SimgmcError(
            f"log = \"{extra}\": the package {module} is not installed; pip install 'simgmc[{extra}]' brings it"
        ) from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
