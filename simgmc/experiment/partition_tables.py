"""Partition tables of a run: how many samples of each label every worker has, one for each partition of its grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simgmc.core.errors import SimgmcError, reason, show_value
from simgmc.results.directory.partition_table import FILE, PartitionTable, write_partition_table
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.scenario import GridPoint, Scenario
from simgmc.scenario.workload import DataWorkload
from simgmc.workloads.data.catalogue import Dataset
from simgmc.workloads.partitions.catalogue import label_counts, partition


def write_partition_tables(directory: RunDirectory, points: Sequence[GridPoint], load: Any) -> None:
    """Writes down what every worker holds under the first seed; a run that goes on mends the table where it was damaged.

    ``load(name, **options)`` reads a data set. Problems that have none have nothing to tell.
    """
    found = {repr(held): held for held in (_chosen(point.scenario) for point in points) if held}
    write_partition_table(directory, [_table(*held, points[0].scenario.seeds, load) for held in found.values()])


def copy_partition_tables(source: RunDirectory, directory: RunDirectory) -> None:
    """The same in the directory of a replay, where the source has it."""
    file = source.path / FILE
    if file.is_file():
        try:
            directory.replace(directory.path / FILE, file.read_bytes())
        except OSError as error:
            raise SimgmcError(f"{file}: cannot be copied: {reason(error)}") from None


def _chosen(scenario: Scenario) -> tuple | None:
    """What the data set is called, data set, partition (each a name and its options) and workers, where there are any."""
    workload = scenario.workload
    if isinstance(workload, DataWorkload):
        chosen = (
            workload.dataset.title,
            workload.dataset.name,
            workload.dataset.options,
            workload.partition.name,
            workload.partition.options,
        )
    elif "partition" in workload.problem.options:
        options = dict(workload.problem.options["partition"])
        name = workload.problem.options["dataset"]
        chosen = (name, name, {}, options.pop("name"), options)
    else:
        return None
    return (*chosen, workload.workers)


def _table(
    called: str,
    dataset: str,
    dataset_options: dict,
    name: str,
    options: dict,
    workers: int,
    seeds: tuple[int, ...],
    load: Any,
) -> PartitionTable:
    data: Dataset = load(dataset, **dataset_options)
    owned = partition(name, data.train_labels, workers, seeds[0], **options)
    given = {key: value for key, value in options.items() if value is not None}
    shown = {key: Path(value).name if key == "path" else show_value(value) for key, value in given.items()}
    said = f"{name} ({', '.join(f'{key} {value}' for key, value in shown.items())})" if shown else name
    title = f"{called}, {said}, {workers} workers" + (f", seed {seeds[0]}" if len(seeds) > 1 else "")
    if data.train_labels.ndim > 1:
        counts = label_counts(data.train_labels[:, 0] * 0, owned, 1)
        return PartitionTable(title, counts, f"blocks of {data.sample_shape[0]} tokens")
    return PartitionTable(title, label_counts(data.train_labels, owned, data.classes))
