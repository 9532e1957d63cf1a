"""Rank 0's part of an asynchronous training on real processes: what is found, measured and kept."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from simgmc.algorithms.algorithm import Algorithm
from simgmc.core.errors import DivergenceError
from simgmc.distributed import measured
from simgmc.distributed.account import Account
from simgmc.distributed.events.again import write_order
from simgmc.distributed.events.order import from_array
from simgmc.distributed.synchronous import Keeper
from simgmc.experiment.asynchronous import AsynchronousTraining
from simgmc.experiment.final_model import FinalModel
from simgmc.experiment.series import write_all
from simgmc.experiment.under_way.evaluations import Evaluations, Outcome, State
from simgmc.results.directory.details import PARTS
from simgmc.training.as_one import joined_rows
from simgmc.workloads.workload import Workload


class Watch:
    """Rank 0's part: evaluates, keeps the order of events and what was measured, writes."""

    def __init__(self, training: AsynchronousTraining, workload: Workload, keeper: Keeper):
        self._training, self._workload, self._keeper = training, workload, keeper
        self._outcome = Outcome()
        scenario = training.scenario
        factor, single = scenario.workload.divergence_factor, scenario.report.single_workers
        self._evaluations = Evaluations(
            workload, self._outcome, factor, single, lambda state: keeper.progress.evaluated(training, state)
        )
        self._account = Account(workload.workers)
        self._events: list[np.ndarray] = []
        """As ranks have sent them."""
        self._file = measured.file_of(keeper.directory, training.key)
        self._model: torch.Tensor | None = None
        self._evaluated = -1

    def begin(self, gradients: int, state: dict[str, Any] | None) -> None:
        """The training begins, or goes on from a checkpoint."""
        progress = self._keeper.progress
        progress.started(self._training, gradients)
        if state is None:
            self._file.unlink(missing_ok=True)
        else:
            watch = state["watch"]
            self._account, self._evaluated = Account.restored(watch["account"]), watch["evaluated"]
            self._events = [watch["events"]]
            self._outcome.states += [State(**one) for one in watch["states"]]
            if self._file.exists() and self._file.stat().st_size > watch["measured"]:
                os.truncate(self._file, watch["measured"])  # what was measured after the checkpoint happens again
            progress.resumed(self._training, int(self.gradients), f"{int(self.gradients)} gradients a worker")
        measured.append(self._file, [])

    def state(self) -> dict[str, Any]:
        """What :meth:`begin` takes."""
        return {
            "states": [dataclasses.asdict(one) | {"others": dict(one.others)} for one in self._outcome.states],
            "account": self._account.state(),
            "evaluated": self._evaluated,
            "events": np.concatenate(self._events),
            "measured": self._file.stat().st_size,
        }

    @property
    def gradients(self) -> float:
        """Of each worker, on average."""
        return float(self._account.gradients.mean())

    @property
    def gradients_of_all(self) -> int:
        """Of all workers together."""
        return int(self._account.gradients.sum())

    def see(self, every: list[dict[str, Any]], algorithm: Algorithm) -> bool:
        """Take in what ranks have measured, and evaluate what they have held at every look and hold now; whether that
        is in order.
        """
        for one in every:
            self._events.append(one["events"])
            measured.append(self._file, one["measured"])
        looks = list(zip(*(one["looks"] for one in every), strict=True))
        why = next((one["diverged"] for one in every if one["diverged"]), None)
        for look in looks if why is None else looks[:-1]:
            if not self._evaluate(look, algorithm):
                return False
        if why is not None:
            self._take_in(looks[-1], algorithm)
            self.diverged(why)
        return why is None

    def _take_in(self, every: Sequence[dict[str, Any]], algorithm: Algorithm) -> None:
        """What ranks had spent and sent."""
        account = self._account
        for one in every:
            for staleness, count in one["staleness"].items():
                account.staleness[staleness] = account.staleness.get(staleness, 0) + count
        account.stale = algorithm.stale
        account.sent, account.out_of_server = (sum(one["sent"][server] for one in every) for server in (0, 1))
        account.received, account.into_server = (sum(one["received"][server] for one in every) for server in (0, 1))
        every = every[: self._workload.workers]
        account.gradients = np.array([one["gradients"] for one in every])
        for rank, one in enumerate(every):
            spent = {"compute": one["time"] - sum(one["blocked"].values())} | one["blocked"]
            account.seconds[rank] = [spent.get(part, 0.0) for part in PARTS]
        # Each was looked at when it heard of it.
        account.time = float(np.mean([one["time"] for one in every]))

    def _evaluate(self, every: Sequence[dict[str, Any]], algorithm: Algorithm) -> bool:
        """Evaluate what ranks held at one look; whether that is in order."""
        self._take_in(every, algorithm)
        account, workload = self._account, self._workload
        (at_server,) = (one["server"] for one in every if "server" in one)
        every = every[: workload.workers]
        points = [one["point"].to(workload.device) for one in every]
        model = at_server[0].to(workload.device) if algorithm.centralised else torch.stack(points).mean(dim=0)
        if every[0]["buffers"]:
            names = every[0]["buffers"]
            workload.load_state_dict({name: _stacked([one["buffers"][name] for one in every]) for name in names})
        self._model, number = model, int(self.gradients)
        if number:
            self._keeper.progress.round_done(self._training, number - 1, account.time)
        if number == self._evaluated:
            return True
        self._evaluated = number
        metrics = [one["metrics"] for one in every] + [at_server[1]]
        try:
            self._evaluations.add(
                number,
                self.gradients / workload.batches_per_epoch,
                [max(0, int(one) - 1) for one in account.gradients] if account.gradients.any() else None,
                model,
                {
                    name: joined_rows([one["others"][name].to(workload.device) for one in every]).mean(dim=0)
                    for name in every[0]["others"]
                },
                [] if algorithm.centralised else points,
                {name: sum(one.get(name, 0.0) for one in metrics) for one in metrics for name in one},
                time=account.time,
                bytes_up=account.sent,
                bytes_down=account.received,
            )
        except DivergenceError as error:
            self.diverged(str(error))
            return False
        return True

    def diverged(self, why: str) -> None:
        """Training has left the finite numbers, or its loss has grown too large."""
        self._outcome.diverged, self._outcome.diverged_round = why, int(self.gradients)

    def over(self) -> None:
        """Write what came of it, and the order of events."""
        training, directory, outcome = self._training, self._keeper.directory, self._outcome
        if outcome.diverged is None and self._model is not None:
            epoch = self.gradients / self._workload.batches_per_epoch
            model = FinalModel(self._workload.model_state(self._model), self._evaluated, epoch)
            model.keep(directory, training)
        write_order(directory, training.key, from_array(np.concatenate(self._events)))
        series = self._account.series(outcome, int(self.gradients))
        for _ in write_all(directory, [training.series(training.points[0])], [series]):
            pass
        self._keeper.progress.ended(training, outcome)


def _stacked(rows: list[Any]) -> Any:
    return torch.stack(rows) if isinstance(rows[0], torch.Tensor) else rows
