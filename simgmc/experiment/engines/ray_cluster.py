"""Trainings as tasks of a Ray cluster: Ray says where each runs, and runs it again where its machine is gone.

Data sets go through Ray's object store, once to each machine, where tasks share them. A training under way is saved in
the run directory where the machine that trains it sees that; otherwise it begins again if its machine is lost. Asked to
stop, all are saved first, wherever they are.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simgmc.core.errors import SimgmcError, reason
from simgmc.core.interruption import Interruption
from simgmc.experiment.assembly import LoadedAs
from simgmc.experiment.engines.processes import handed_over, notice
from simgmc.experiment.engines.ray_task import TOLD_EVERY, Board, Left, Shared, replace_all, train, write_all
from simgmc.experiment.engines.recipe import Recipe
from simgmc.experiment.engines.reports import Message
from simgmc.experiment.engines.task import Failure, Judge, Task
from simgmc.experiment.training import Progress
from simgmc.results.directory.checkpoint import CHECKPOINTS, Checkpoints
from simgmc.results.directory.outside_files import copies
from simgmc.results.directory.run_directory import RunDirectory, open_run
from simgmc.results.directory.run_lock import LOCK_NAME
from simgmc.workloads.data.dataset import Dataset

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
try:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError:
    raise SimgmcError('--engine ray: Ray is not installed; pip install "simgmc[ray]" brings it') from None

REACHED_WITHIN = 10.0
"""Seconds that the machine of an address may take to answer."""
TIMES = 5
"""How often Ray begins a training anew whose process or machine was lost."""


class RayCluster:
    """Tasks on the cluster of an address; on one of this machine alone, begun for it, where none is given."""

    def __init__(
        self,
        recipe: Recipe,
        datasets: Mapping[LoadedAs, Dataset],
        interruption: Interruption,
        address: str | None = None,
        *,
        threads: int = 1,
        gpus: float | None = None,
        jobs: int | None = None,
        device: str = "cpu",
        judge: Judge | None = None,
    ):
        """``threads`` and ``gpus``: of each training; unless given a GPU where the cluster has any, and the recipe's
        device may be one. ``jobs``: at most so many at once. ``device``: on which this process would compute.

        Raises SimgmcError where there is no cluster, or one that is begun here can have no such training.
        """
        self._recipe, self._datasets, self._judge = handed_over(recipe), datasets, judge
        self._interruption, self._jobs, self._device = interruption, jobs, device
        self._threads = threads
        self._began = not ray.is_initialized()
        if self._began:
            try:
                _knock(address)
                ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
            except Exception as error:  # whatever Ray could not do
                ray.shutdown()
                what = f"--address {address}: no Ray cluster can be reached" if address else "Ray does not begin here"
                raise SimgmcError(f"{what}: {reason(error)}") from None
        has_gpus = recipe.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
        self._gpus = gpus if gpus is not None else float(has_gpus)
        self._waits = self._too_small()
        if self._waits and address is None:
            ray.shutdown()
            raise SimgmcError(self._waits)

    @property
    def words(self) -> str:
        """What is there, and what a training has of it."""
        nodes, found = _nodes(), ray.cluster_resources()
        gpus = f", {found['GPU']:g} GPU{'s' * (found['GPU'] > 1)}" if found.get("GPU") else ""
        share = f" and {self._gpus:g} GPU" if self._gpus else ""
        there = f"{len(nodes)} node{'s' * (len(nodes) > 1)}, {found.get('CPU', 0):g} cores{gpus}"
        return f"{there}; {self._threads} thread{'s' * (self._threads > 1)}{share} for each training"

    def _too_small(self) -> str | None:
        """Why no machine of the cluster can have a training, if none can."""
        needed = {"CPU": float(self._threads), "GPU": float(self._gpus)}
        if any(all(node.get(name, 0) >= amount for name, amount in needed.items()) for node in _nodes()):
            return None
        here = "; ".join(f"{node.get('CPU', 0):g} cores, {node.get('GPU', 0):g} GPUs" for node in _nodes()[:8])
        asked = f"--threads {self._threads}" + (f" --gpus {self._gpus:g}" if self._gpus else "")
        return f"{asked}: no machine of the cluster has so many ({here})"

    def train(self, tasks: Sequence[Task], directory: RunDirectory, progress: Progress) -> list[Failure]:
        """See :class:`simgmc.experiment.engines.task.Engine`."""
        if self._waits:
            progress.warned(f"{self._waits} yet; trainings wait for one that has")
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote(self._judge)
        of_each = {"num_cpus": self._threads, "num_gpus": self._gpus, "max_retries": TIMES, "retry_exceptions": False}
        work = _Work(board, ray.remote(train).options(**of_each), tasks, directory, progress, self._interruption)
        try:
            return self._train(work, directory)
        finally:
            if self._began:
                ray.shutdown()
            else:
                work.cancel()
                ray.kill(board)

    def _train(self, work: _Work, directory: RunDirectory) -> list[Failure]:
        files = {name: Path(copy).read_bytes() for name, copy in copies(directory.path).items()}
        lock = directory.path.absolute() / LOCK_NAME
        seen = str(directory.path.absolute()), str(lock), os.stat(lock).st_ino
        shared = Shared(uuid.uuid4().hex, self._recipe, files, self._judge is not None, self._device, seen)
        names, data = list(self._datasets), [ray.put(one) for one in self._datasets.values()]
        work.given = ray.put(shared), names, data
        try:
            work.work(self._jobs)
        except KeyboardInterrupt:
            notice()
            work.stop()
            raise
        return work.failures


def _knock(address: str | None) -> None:
    """Raises OSError where nobody listens there: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.removeprefix("ray://").strip("[]"), int(port)), REACHED_WITHIN).close()


def _nodes() -> list[dict[str, float]]:
    """The resources of each machine."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


class _Work:
    """The tasks of one sweep, and what has become of them."""

    given: tuple[Any, list[LoadedAs], list[Any]]
    """What every task is handed: the shared part, the data sets' names, the data sets."""

    def __init__(
        self,
        board: Any,
        remote: Any,
        tasks: Sequence[Task],
        directory: RunDirectory,
        progress: Progress,
        interruption: Interruption,
    ):
        self._board, self._remote = board, remote
        self._directory, self._progress, self._interruption = directory, progress, interruption
        self._tasks = deque(tasks)
        self._asked: dict[Any, Task] = {}
        """Tasks that Ray has, by what stands for their results."""
        self._open: dict[int, Task] = {}
        """The same by number."""
        self._begun: set[int] = set()
        self._ended: dict[int, tuple[Any, ...]] = {}
        """What is to be told of trainings that have ended, once what they left is here: it may be lost on its way, with
        its machine, and the training begins again."""
        self._warned: set[str] = set()
        self.failures: list[Failure] = []

    def work(self, jobs: int | None) -> None:
        """Until every task is done or has failed."""
        while self._tasks or self._asked:
            while self._tasks and (jobs is None or len(self._asked) < jobs):
                self._ask(self._tasks.popleft())
            self._settle()

    def stop(self) -> None:
        """Let what is under way be saved, and take in what is finished meanwhile."""
        self._tasks.clear()
        self._hear(ray.get(self._board.stop.remote()))
        for one, task in self._asked.items():
            if task.number not in self._begun:
                ray.cancel(one)
        while self._asked:
            self._settle(stopping=True)

    def cancel(self) -> None:
        """Of what is still there nobody wants to know."""
        for one in self._asked:
            ray.cancel(one, force=True)

    def _ask(self, task: Task) -> None:
        shared, names, data = self.given
        found = Checkpoints(self._directory.path / CHECKPOINTS, task.training.key).files
        saved = {file.name: file.read_bytes() for file in found if file.is_file()}
        one = self._remote.remote(shared, self._board, task.number, task.missing, saved, names, *data)
        self._asked[one] = self._open[task.number] = task

    def _settle(self, stopping: bool = False) -> None:
        """Wait for the next task that is over, for a moment, and tell what was heard."""
        done, _ = ray.wait(list(self._asked), num_returns=1, timeout=TOLD_EVERY)
        self._hear(ray.get(self._board.take.remote()))
        for one in done:
            task = self._asked[one]
            with self._interruption.held():
                why = self._result(one, task)
                del self._asked[one], self._open[task.number]
                if task.number in self._ended and not why:
                    self._progress.ended(task.training, *self._ended[task.number])
            if why and not stopping:  # else it will be heard of when the run goes on
                self.failures.append(Failure(task, why))
                self._progress.failed(task.training, why)

    def _hear(self, told: Sequence[Message]) -> None:
        for kind, number, content in told:
            if kind == "warned":
                if content[0] not in self._warned:
                    self._warned.add(content[0])
                    self._progress.warned(*content)
                continue
            if kind == "started":
                self._begun.add(number)
                self._ended.pop(number, None)
            if (
                number in self._open and number in self._begun - self._ended.keys()
            ):  # else of a machine given up for lost
                if kind == "ended":
                    self._ended[number] = tuple(content)
                else:
                    getattr(self._progress, kind)(self._open[number].training, *content)

    def _result(self, one: Any, task: Task) -> str | None:
        """Takes in what a task left; why it failed, if it did."""
        try:
            left: Left = ray.get(one)
        except ray.exceptions.TaskCancelledError:
            return None
        except ray.exceptions.RayError as error:
            return f"Ray: {reason(error).splitlines()[0]}"
        if left.failed and not left.failed[1]:
            raise RuntimeError(f"{task.training.title}: in the process that trained it:\n{left.failed[0]}")
        write_all(self._directory.path / CHECKPOINTS, left.saved)
        if "scenario.toml" in left.files:
            part = self._directory.part(task.training.key)
            replace_all(part, left.files)
            self._directory.take_in(open_run(part))
        if not left.failed and not left.stopped:
            Checkpoints(self._directory.path / CHECKPOINTS, task.training.key).remove()
        return left.failed[0] if left.failed else None
