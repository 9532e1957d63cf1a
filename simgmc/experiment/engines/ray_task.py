"""One training as a task of a Ray cluster, on whatever machine Ray runs it."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simgmc.core.files import reading_copies
from simgmc.core.interruption import Interruption
from simgmc.experiment.assembly import LoadedAs
from simgmc.experiment.engines.recipe import Workplace, said_of
from simgmc.experiment.engines.reports import Message, Reports
from simgmc.experiment.engines.task import Judge
from simgmc.results.directory.checkpoint import CHECKPOINTS
from simgmc.workloads.data.dataset import Dataset

TOLD_EVERY = 1.0
"""Seconds between two messages of rounds that are done, and between two looks at what has happened."""


@dataclass(frozen=True)
class Shared:
    """What every task of a sweep is handed; it goes to each machine once."""

    sweep: str
    """Its name, unique."""
    recipe: bytes
    files: Mapping[str, bytes]
    """Files that the scenario names, by their names there."""
    judged: bool
    device: str
    """On which whoever asks would compute."""
    run: tuple[str, str, int]
    """By what another process knows whether it sees the run directory: its path, its lock's, and that one's number."""


@dataclass(frozen=True)
class Left:
    """What a task gives back."""

    files: dict[str, bytes] = field(default_factory=dict)
    """What the training wrote, by name in its run directory."""
    saved: dict[str, bytes] = field(default_factory=dict)
    """The state of one that was stopped, by file, where its machine does not see the run directory."""
    stopped: bool = False
    failed: tuple[str, bool] | None = None
    """Why, and whether that is the user's to mend."""


class Board:
    """An actor on the machine of whoever asks: what tasks tell, until it is taken; what they are told; the judge."""

    def __init__(self, judge: Judge | None):
        self._judge = judge
        self._told: list[Message] = []
        self._stopping = False

    def tell(self, message: Message) -> tuple[bool, str | None]:
        """Keep a message; whether all are to stop, and what the judge says, if it is of an evaluation."""
        self._told.append(message)
        kind, number, content = message
        judged = self._judge is not None and kind == "evaluated"
        return self._stopping, self._judge.hears(number, *content) if judged and self._judge else None

    def take(self) -> list[Message]:
        """What was told since the last time."""
        told, self._told = self._told, []
        return told

    def stop(self) -> list[Message]:
        """Tell all that they are to stop, from now on; what they have told so far."""
        self._stopping = True
        return self.take()


class _Line:
    """What a task says to the board, and what it hears there.

    It waits for answers as for futures: of a task that waits by ``ray.get`` Ray thinks that it needs no core for so
    long, and starts another in its place.
    """

    def __init__(self, board: Any, interruption: Interruption):
        self._board, self._interruption = board, interruption
        self._watched: Future[tuple[bool, str | None]] | None = None
        self._latest: Future[tuple[bool, str | None]] | None = None

    def send(self, message: Message) -> None:
        self._latest = self._board.tell.remote(message).future()
        if self._watched is not None and self._watched.done() and self._watched.result()[0]:
            self._interruption.ask()
        if self._watched is None or self._watched.done():
            self._watched = self._latest

    def verdict(self) -> str | None:
        """What the judge says to the last message."""
        return self._latest.result()[1] if self._latest is not None else None


_workplaces: dict[str, Workplace] = {}
"""Of this process, by the sweep that it works for."""


def train(
    shared: Shared,
    board: Any,
    number: int,
    missing: Sequence[int],
    saved: Mapping[str, bytes],
    names: Sequence[LoadedAs],
    *data: Dataset,
) -> Left:
    """Train the training of this number in the plan.

    ``saved``: its checkpoints, by file; ``names``: what the data sets are loaded as.
    """
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes to shared data
    interruption = Interruption(silent=True)
    line = _Line(board, interruption)
    reports = Reports(line.send, line.verdict if shared.judged else None, TOLD_EVERY)
    reports.number = number
    with tempfile.TemporaryDirectory(prefix="simgmc-") as name:
        folder = Path(name)
        kept = {}
        for place, (original, content) in enumerate(sorted(shared.files.items())):
            kept[original] = folder / f"{place}-{Path(original).name}"
            kept[original].write_bytes(content)
        run, lock, inode = shared.run
        sees = os.path.exists(lock) and os.stat(lock).st_ino == inode
        checkpoints = Path(run if sees else folder) / CHECKPOINTS
        if not sees:
            write_all(checkpoints, saved)
        part = folder / "part"
        try:
            with reading_copies(kept):
                workplace = _workplace(shared, dict(zip(names, data, strict=True)), reports)
                workplace.train(number, missing, part, checkpoints, interruption, reports)
        except KeyboardInterrupt:
            return Left(saved={} if sees else read_all(checkpoints), stopped=True)
        except Exception as error:
            return Left(read_all(part), failed=said_of(error))
        line.verdict()  # what was told is there before the result is
        return Left(read_all(part))


def _workplace(shared: Shared, datasets: Mapping[LoadedAs, Dataset], reports: Reports) -> Workplace:
    """That of this process."""
    if shared.sweep not in _workplaces:
        _workplaces.clear()
        _workplaces[shared.sweep] = found = Workplace(pickle.loads(shared.recipe), datasets)
        if found.device != shared.device:
            reports.warned(f"gradients are computed on {found.device}, not on {shared.device} as said above")
    return _workplaces[shared.sweep]


def read_all(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its path there; none where it is not there."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """These files under a folder, by their paths there; what says that a run is there comes last."""
    for name in sorted(files, key=lambda name: name == "scenario.toml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(files[name])


def replace_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """As :func:`write_all`, in the place of whatever the folder holds."""
    if folder.is_dir():
        shutil.rmtree(folder)
    write_all(folder, files)
