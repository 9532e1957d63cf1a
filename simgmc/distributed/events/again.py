"""The order of events that a training on real processes has kept, and the same training again by it."""

from __future__ import annotations

import io

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.distributed import measured
from simgmc.distributed.events.order import Event, OrderedPrograms, from_array, in_order, to_array
from simgmc.experiment.assembly import build_per_worker_trainer
from simgmc.experiment.asynchronous import AsynchronousTraining
from simgmc.results.directory.rows import replace
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.workloads.workload import Workload


def write_order(directory: RunDirectory, training_key: str, events: list[Event]) -> None:
    """Keep the order of a training's events: ``measured/KEY.order.npy``.

    Raises SimgmcError where it cannot be written.
    """
    content = io.BytesIO()
    np.save(content, to_array(in_order(events)))
    replace(measured.file_of(directory, training_key).with_suffix(".order.npy"), content.getvalue())


def read_order(directory: RunDirectory, training_key: str) -> list[Event]:
    """The events of a training in their order. Raises SimgmcError where they were not kept."""
    file = measured.file_of(directory, training_key).with_suffix(".order.npy")
    try:
        return from_array(np.load(file, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise SimgmcError(f"{file}: cannot be read: {error}") from None


def again(training: AsynchronousTraining, workload: Workload, events: list[Event]) -> OrderedPrograms:
    """The same training once more by its order of events; the programs as they stand at its end."""
    programs = build_per_worker_trainer(training, workload, OrderedPrograms)
    assert isinstance(programs, OrderedPrograms)
    for event in events:
        programs.happen(event)
    return programs
