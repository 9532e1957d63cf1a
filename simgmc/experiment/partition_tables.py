"""Partition tables of a run: how many samples of each label every worker has, one for each partition of its grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from simgmc.core.errors import SimgmcError, reason, show_value
from simgmc.results.directory.partition_table import FILE, PartitionTable, write_partition_table
from simgmc.results.directory.rows import read_bytes
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.scenario import GridPoint, Scenario
from simgmc.scenario.workload import DataWorkload, ProblemWorkload
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.partitions.catalogue import label_counts, partition


class LoadDataset(Protocol):
    """Reads a data set, as :meth:`simgmc.experiment.assembly.WorkloadFactory.load`."""

    def __call__(self, name: str, **options: Any) -> Dataset: ...


@dataclass(frozen=True)
class _Chosen:
    """A data set and how it is divided among the workers."""

    title: str
    """What the data set is called."""
    dataset: str
    dataset_options: dict[str, Any]
    partition: str
    options: dict[str, Any]
    workers: int


def write_partition_tables(directory: RunDirectory, points: Sequence[GridPoint], load: LoadDataset) -> None:
    """Writes down what every worker holds under the first seed; a run that goes on mends a damaged table.

    ``load(name, **options)`` reads a data set. Problems that have none have nothing to tell.
    """
    found = {repr(held): held for held in (_chosen(point.scenario) for point in points) if held}
    write_partition_table(directory, [_table(held, points[0].scenario.seeds, load) for held in found.values()])


def copy_partition_tables(source: RunDirectory, directory: RunDirectory) -> None:
    """The same in the directory of a replay, where the source has it."""
    file = source.path / FILE
    if file.is_file():
        try:
            directory.replace(directory.path / FILE, read_bytes(file))
        except OSError as error:
            raise SimgmcError(f"{file}: cannot be copied: {reason(error)}") from None


def _chosen(scenario: Scenario) -> _Chosen | None:
    """None for a problem without a data set."""
    workload = scenario.workload
    if isinstance(workload, DataWorkload):
        data, divided = workload.dataset, workload.partition
        return _Chosen(data.title, data.name, workload.reading, divided.name, divided.options, workload.workers)
    if isinstance(workload, ProblemWorkload) and "partition" in workload.problem.options:
        options = dict(workload.problem.options["partition"])
        name = workload.problem.options["dataset"]
        return _Chosen(name, name, {}, options.pop("name"), options, workload.workers)
    return None


def _table(chosen: _Chosen, seeds: Sequence[int], load: LoadDataset) -> PartitionTable:
    data = load(chosen.dataset, **chosen.dataset_options)
    owned = partition(chosen.partition, data.train_labels, chosen.workers, seeds[0], **chosen.options)
    given = {key: value for key, value in chosen.options.items() if value is not None}
    shown = {key: Path(value).name if key == "path" else show_value(value) for key, value in given.items()}
    name = chosen.partition
    said = f"{name} ({', '.join(f'{key} {value}' for key, value in shown.items())})" if shown else name
    workers = "1 worker" if chosen.workers == 1 else f"{chosen.workers} workers"
    title = f"{chosen.title}, {said}, {workers}" + (f", seed {seeds[0]}" if len(seeds) > 1 else "")
    if not data.labelled:
        counts = label_counts(np.zeros(len(data.train_labels), np.int64), owned, 1)
        return PartitionTable(
            title,
            counts,
            f"blocks of {data.sample_shape[0]} tokens" if data.tokens and data.sample_shape else "samples",
        )
    return PartitionTable(title, label_counts(data.train_labels, owned, data.classes))
