"""Evaluating a training under way: the averaged model, further points, and single workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simgmc.core.errors import DivergenceError
from simgmc.experiment.record import Record, State


class Evaluations:
    """Evaluates models on a workload and keeps what was found in a record.

    ``single_workers``: evaluate the workers' own models too, where they differ. ``listener``
    hears of every state.
    """

    def __init__(
        self,
        workload: Any,
        record: Record,
        divergence_factor: float,
        single_workers: bool,
        listener: Callable[[State], None],
    ):
        self._workload = workload
        self._record = record
        self._divergence_factor = divergence_factor
        self._single_workers = single_workers
        self._listener = listener

    def add(
        self,
        round: int,
        epoch: float,
        train_loss: float | None,
        model: Any,
        points: Mapping[str, Any],
        workers: Sequence[Any],
        others: Mapping[str, float] | None = None,
        **more: Any,
    ) -> None:
        """Evaluate a state of the training and keep it.

        ``model`` (d,) is what counts; ``points``: further ones (d,) by name; ``workers``: every
        worker's own (d,), or none where all hold the same; ``others``: values to keep beside what
        is found. ``more`` are further fields of :class:`~simgmc.experiment.record.State`.

        Raises :class:`~simgmc.core.errors.DivergenceError` for a loss that is not finite, or above
        ``divergence_factor`` times the start's (if that is above 0); the latter is kept before.
        """
        evaluate = self._workload.evaluate
        found = evaluate(model)
        if not math.isfinite(found.loss):
            raise DivergenceError(f"round {round}: the test loss is {found.loss}")
        values = {**found.others, **(others or {})}
        for name, point in points.items():
            there = evaluate(point)
            here = {"test_loss": there.loss, "test_accuracy": there.accuracy, **there.others}
            values |= {f"{metric} at {name}": value for metric, value in here.items() if value is not None}
        if len(workers) > 1:
            values |= self._of_workers(workers)
        state = State(round, epoch, train_loss, found.loss, found.accuracy, others=values, **more)
        self._record.states.append(state)
        self._listener(state)
        start = self._record.states[0].test_loss
        if 0 < start * self._divergence_factor < found.loss:
            raise DivergenceError(
                f"round {round}: the loss is {found.loss:.3g}, more than {self._divergence_factor:g} times that of the start, {start:.3g}"
            )

    def _of_workers(self, workers: Sequence[Any]) -> dict[str, float]:
        """Consensus distance sqrt(mean_k |x_k - mean x|^2); mean and worst over the workers' own models."""
        # In float64: the rounding of a float32 mean would be a distance between workers that hold the same.
        mean = sum(point.double() for point in workers) / len(workers)
        square = sum(float((point.double() - mean).square().sum()) for point in workers) / len(workers)
        values = {"consensus distance": math.sqrt(square)}
        if self._single_workers:
            found = [self._workload.evaluate(point) for point in workers]
            losses = [one.loss for one in found]
            accuracies = [one.accuracy for one in found if one.accuracy is not None]
            values |= {"test_loss mean worker": sum(losses) / len(losses), "test_loss worst worker": max(losses)}
            if accuracies:
                values |= {
                    "test_accuracy mean worker": sum(accuracies) / len(accuracies),
                    "test_accuracy worst worker": min(accuracies),
                }
        return values
