"""``partition.csv``: how many samples of each label every worker has, a row per worker of each partition.

It is written when the run begins, so that whoever reports on it later can draw the picture
without the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.results.directory.rows import line, read_bytes, read_table
from simgmc.results.directory.run_directory import RunDirectory

FILE = "partition.csv"
_COLUMNS = ("partition", "unit", "worker")


@dataclass(frozen=True)
class PartitionTable:
    """What the workers hold under one partition."""

    name: str
    """Of the partition, with its options."""
    counts: np.ndarray
    """(workers, labels) int: samples; one column where samples have no single label."""
    unit: str = "samples"

    @property
    def sizes(self) -> np.ndarray:
        """(workers,): samples of each worker."""
        return self.counts.sum(axis=1)

    def finding(self) -> str:
        """What the picture shows, in a line.

        The effective number of labels is 1 / sum of squared shares; the total variation between a worker's
        shares and those of all data is half the sum of their differences (0: alike, 1: nothing in common).
        """
        sizes, labels = self.sizes, self.counts.shape[1]
        least, most = int(sizes.min()), int(sizes.max())
        text = f"each holds {most:,} {self.unit}"
        if least < most:
            text = f"from {least:,} to {most:,} {self.unit}, the largest {most / max(least, 1):.3g} times the smallest"
        if labels == 1:
            return text
        share = self.counts / np.maximum(sizes, 1)[:, None]
        effective = float(np.median(1 / np.maximum((share**2).sum(axis=1), 1e-300)))
        apart = float(np.abs(share - self.counts.sum(axis=0) / sizes.sum()).sum(axis=1).mean() / 2)
        return (
            f"{text}; the median worker in effect sees {effective:.2g} of {labels} labels; "
            f"total variation from the whole data {apart:.2f} on average"
        )


def write_partition_table(directory: RunDirectory, tables: Sequence[PartitionTable]) -> None:
    """The file, where there is anything to tell; partitions with fewer labels than others leave the rest empty."""
    if not tables:
        return
    labels = max(table.counts.shape[1] for table in tables)
    lines = [line([*_COLUMNS, *(f"label {number}" for number in range(labels))])]
    for table in tables:
        rest = [""] * (labels - table.counts.shape[1])
        for worker, row in enumerate(table.counts.tolist()):
            lines.append(line([table.name, table.unit, str(worker), *map(str, row), *rest]))
    file, content = directory.path / FILE, "".join(lines).encode()
    if not file.is_file() or read_bytes(file) != content:
        directory.replace(file, content)


def read_partition_table(directory: RunDirectory) -> list[PartitionTable]:
    """What :func:`write_partition_table` wrote; nothing where there is no such file.

    Raises SimgmcError where it is damaged.
    """
    file = directory.path / FILE
    if not file.is_file():
        return []
    _, rows = read_table(file)
    found: list[tuple[str, str, list[list[int]]]] = []
    try:
        for name, unit, worker, *counts in rows:
            if worker == "0":
                found.append((name, unit, []))
            *same, rows_so_far = found[-1]
            rows_so_far.append([int(count) for count in counts if count])
            if same != [name, unit] or int(worker) != len(rows_so_far) - 1:
                raise ValueError(worker)
        return [PartitionTable(name, np.array(counts), unit) for name, unit, counts in found]
    except (ValueError, IndexError):
        raise SimgmcError(
            f"{file} is damaged: its rows are not those of workers 0, 1, 2 ... of a partition; "
            "remove it to report without it"
        ) from None
