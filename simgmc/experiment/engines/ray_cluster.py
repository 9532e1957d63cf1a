"""Trainings as tasks of a Ray cluster: Ray says where each runs, and runs it again where its machine is gone.

Data sets go through Ray's object store, once to each machine, where tasks share them. A training under way is saved in
the run directory where the machine that trains it sees that; otherwise it begins again if its machine is lost.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simgmc.core.errors import SimgmcError, reason
from simgmc.core.files import reading_copies
from simgmc.core.interruption import Interruption
from simgmc.experiment.assembly import LoadedAs
from simgmc.experiment.engines.processes import handed_over
from simgmc.experiment.engines.recipe import Recipe, Workplace, said_of
from simgmc.experiment.engines.reports import Message, Reports
from simgmc.experiment.engines.task import Failure, Judge, Task
from simgmc.experiment.training import Progress
from simgmc.results.directory.checkpoint import CHECKPOINTS
from simgmc.results.directory.outside_files import copies
from simgmc.results.directory.run_directory import RunDirectory, open_run
from simgmc.results.directory.run_lock import LOCK_NAME
from simgmc.workloads.data.dataset import Dataset

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError:
    raise SimgmcError('--engine ray: Ray is not installed: pip install "simgmc[ray]"') from None

TIMES = 5
"""How often Ray begins a training anew whose process or machine was lost."""
TOLD_EVERY = 1.0
"""Seconds between two messages of rounds that are done, and between two looks at what has happened."""


class RayCluster:
    """Tasks on the cluster of an address; on one of this machine alone, begun for it, where none is given."""

    def __init__(
        self,
        recipe: Recipe,
        datasets: Mapping[LoadedAs, Dataset],
        address: str | None,
        threads: int,
        gpus: float,
        judge: Judge | None = None,
    ):
        """``threads`` and ``gpus``: of each training. Raises SimgmcError where there is no cluster."""
        self._recipe, self._datasets, self._judge = handed_over(recipe), datasets, judge
        self._threads, self._gpus = threads, gpus
        self._began = not ray.is_initialized()
        if self._began:
            try:
                ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
            except Exception as error:  # whatever Ray could not do
                ray.shutdown()
                what = f"--address {address}: no Ray cluster can be reached" if address else "Ray does not begin here"
                raise SimgmcError(f"{what}: {reason(error)}") from None

    @property
    def words(self) -> str:
        """What is there."""
        nodes, found = [node for node in ray.nodes() if node["Alive"]], ray.cluster_resources()
        gpus = f", {found['GPU']:g} GPUs" if found.get("GPU") else ""
        return f"{len(nodes)} node{'s' * (len(nodes) > 1)}, {found.get('CPU', 0):g} cores{gpus}"

    def train(self, tasks: Sequence[Task], directory: RunDirectory, progress: Progress) -> list[Failure]:
        """See :class:`simgmc.experiment.engines.task.Engine`."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        board = ray.remote(_Board).options(num_cpus=0, scheduling_strategy=here).remote(self._judge)
        try:
            return self._train(tasks, directory, progress, board)
        finally:
            if self._began:
                ray.shutdown()
            else:
                ray.kill(board)

    def _train(self, tasks: Sequence[Task], directory: RunDirectory, progress: Progress, board: Any) -> list[Failure]:
        files = {name: Path(copy).read_bytes() for name, copy in copies(directory.path).items()}
        shared = ray.put((uuid.uuid4().hex, self._recipe, files, self._judge is not None, _visible(directory.path)))
        names, data = list(self._datasets), [ray.put(one) for one in self._datasets.values()]
        remote = ray.remote(_train).options(
            num_cpus=self._threads, num_gpus=self._gpus, max_retries=TIMES, retry_exceptions=False
        )
        waiting = {remote.remote(shared, board, task.number, task.missing, names, *data): task for task in tasks}
        under_way, failures = {task.number: task for task in tasks}, list[Failure]()
        begun: set[int] = set()
        try:
            while waiting:
                done, _ = ray.wait(list(waiting), num_returns=1, timeout=TOLD_EVERY)
                for kind, number, content in ray.get(board.take.remote()):
                    if kind == "started":
                        begun.add(number)
                    if kind == "warned":
                        progress.warned(*content)
                    elif number in under_way and number in begun:  # else of a machine that was given up for lost
                        getattr(progress, kind)(under_way[number].training, *content)
                    if kind == "ended":
                        begun.discard(number)
                for one in done:
                    task = waiting.pop(one)
                    under_way.pop(task.number)
                    if why := _result(one, task, directory):
                        failures.append(Failure(task, why))
                        progress.failed(task.training, why)
        except KeyboardInterrupt:
            for one in waiting:
                ray.cancel(one, force=True)
            raise
        return failures


def _result(found: Any, task: Task, directory: RunDirectory) -> str | None:
    """Takes in what a task left; why it failed, if it did."""
    try:
        left = ray.get(found)
    except ray.exceptions.RayError as error:
        return f"Ray: {reason(error).splitlines()[0]}"
    if isinstance(left, tuple):
        why, known = left
        if not known:
            raise RuntimeError(f"{task.training.title}: in the process that trained it:\n{why}")
        return str(why)
    part = directory.part(task.training.key)
    if part.is_dir():
        shutil.rmtree(part)
    # What says that a run is there comes last.
    for name in sorted(left, key=lambda name: name == "scenario.toml"):
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).write_bytes(left[name])
    directory.take_in(open_run(part))
    return None


class _Board:
    """On the machine of the one who asked: what tasks tell, until it is taken; and the judge."""

    def __init__(self, judge: Judge | None):
        self._judge = judge
        self._told: list[Message] = []

    def tell(self, message: Message) -> str | None:
        """Keep a message; what the judge says to it, if it is of an evaluation."""
        self._told.append(message)
        kind, number, content = message
        return self._judge.hears(number, *content) if self._judge is not None and kind == "evaluated" else None

    def take(self) -> list[Message]:
        """What was told since the last time."""
        told, self._told = self._told, []
        return told


def _visible(path: Path) -> tuple[str, str, int]:
    """By what another process knows whether it sees a run directory: its path, its lock's, and that one's number."""
    lock = path.absolute() / LOCK_NAME
    return str(path.absolute()), str(lock), os.stat(lock).st_ino


_workplaces: dict[str, Workplace] = {}
"""Of this process, by the sweep that it works for."""


def _train(
    shared: tuple[str, bytes, dict[str, bytes], bool, tuple[str, str, int]],
    board: Any,
    number: int,
    missing: Sequence[int],
    names: Sequence[LoadedAs],
    *data: Dataset,
) -> dict[str, bytes] | tuple[str, bool]:
    """A task: what the training wrote, by file; or why it failed."""
    sweep, recipe, files, judged, (run, lock, inode) = shared
    latest: list[Any] = []

    def send(message: Message) -> None:
        latest[:] = [board.tell.remote(message)]

    reports = Reports(send, (lambda: ray.get(latest[0])) if judged else None, TOLD_EVERY)
    reports.number = number
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes to shared data
    with tempfile.TemporaryDirectory(prefix="simgmc-") as folder:
        kept = {}
        for place, (name, content) in enumerate(sorted(files.items())):
            kept[name] = Path(folder) / f"{place}-{Path(name).name}"
            kept[name].write_bytes(content)
        sees = os.path.exists(lock) and os.stat(lock).st_ino == inode
        checkpoints = Path(run if sees else folder) / CHECKPOINTS
        try:
            with reading_copies(kept):
                if sweep not in _workplaces:
                    _workplaces.clear()
                    _workplaces[sweep] = Workplace(pickle.loads(recipe), dict(zip(names, data, strict=True)))
                part = Path(folder) / "part"
                _workplaces[sweep].train(number, missing, part, checkpoints, Interruption(), reports)
        except Exception as error:
            return said_of(error)
        left = {str(file.relative_to(part)): file.read_bytes() for file in part.rglob("*") if file.is_file()}
        return left
