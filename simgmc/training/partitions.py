"""Who holds which training samples: IID, Dirichlet over labels, shards of sorted labels.

All workers hold equally many samples, n // K, and no sample belongs to two workers. The
n mod K samples that are left over belong to nobody; which ones they are is drawn anew for
every seed, so no label is favoured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from simgmc.errors import SimgmcError
from simgmc.randomness import generator
from simgmc.training.registry import Entry, Option, lookup


def iid(labels: np.ndarray, workers: int, rng: np.random.Generator) -> list[np.ndarray]:
    """A random permutation cut into equal pieces."""
    size = len(labels) // workers
    return np.split(rng.permutation(len(labels))[: workers * size], workers)


def dirichlet(
    labels: np.ndarray, workers: int, rng: np.random.Generator, alpha: float
) -> list[np.ndarray]:
    """Each worker draws its label proportions from Dirichlet(alpha, ..., alpha).

    Every worker then draws its n // K samples, label by label, in those proportions
    (Acar et al. 2021, FedDyn; flwr-datasets' InnerDirichletPartitioner). All workers draw at
    the same time: when a label is asked for more often than it has samples, lots decide who
    gets them, and whoever went short draws again among the labels that are left. So no
    worker is served first, and sizes are equal as in the GMC paper's |D_k| = |D| / K.
    """
    size = len(labels) // workers
    names, label_of = np.unique(labels, return_inverse=True)
    stock = np.bincount(label_of, minlength=len(names))
    # a tiny alpha underflows to zero for all but one label, or even for all of them
    wishes = rng.dirichlet(np.full(len(names), float(alpha)), size=workers)
    wishes = np.nan_to_num(wishes, nan=0.0)
    counts = np.zeros((workers, len(names)), dtype=np.int64)
    while (short := size - counts.sum(axis=1)).any():
        left = stock - counts.sum(axis=0)
        asked = np.zeros_like(counts)
        for worker in np.flatnonzero(short):
            chance = wishes[worker] * (left > 0)
            if chance.sum() < 1e-12:
                chance = left.astype(float)  # nothing left of what it wants: as the rest comes
            asked[worker] = rng.multinomial(short[worker], chance / chance.sum())
        for label in np.flatnonzero(asked.sum(axis=0) > left):
            asked[:, label] = rng.multivariate_hypergeometric(asked[:, label], left[label])
        counts += asked
    pieces: list[list[np.ndarray]] = [[] for _ in range(workers)]
    for label in range(len(names)):
        pool = rng.permutation(np.flatnonzero(label_of == label))
        ends = np.cumsum(counts[:, label])
        for worker, piece in enumerate(np.split(pool[: ends[-1]], ends[:-1])):
            pieces[worker].append(piece)
    return [np.concatenate(piece) for piece in pieces]


def shards(
    labels: np.ndarray, workers: int, rng: np.random.Generator, shards_per_worker: int
) -> list[np.ndarray]:
    """Samples sorted by label and cut into K * shards_per_worker runs, dealt out at random.

    McMahan et al. 2017 (two shards of 300 digits per client). Where n // K is not a multiple of
    ``shards_per_worker``, some of every worker's shards are one sample longer than the others.
    """
    size = len(labels) // workers
    if shards_per_worker > size:
        raise SimgmcError(
            f"shards: shards_per_worker = {shards_per_worker} must be at most {size}, "
            f"the samples of one worker ({len(labels)} samples, {workers} workers)"
        )
    kept = rng.permutation(len(labels))[: workers * size]
    kept = kept[np.argsort(labels[kept], kind="stable")]
    slot = np.arange(workers * shards_per_worker)
    lengths = size // shards_per_worker + (slot % shards_per_worker < size % shards_per_worker)
    order = rng.permutation(slot)
    runs = np.split(kept, np.cumsum(lengths[order])[:-1])
    owned: list[list[np.ndarray]] = [[] for _ in range(workers)]
    for place, run in zip(order, runs, strict=True):
        owned[place // shards_per_worker].append(run)
    return [np.concatenate(piece) for piece in owned]


def contiguous(labels: np.ndarray, workers: int, rng: np.random.Generator) -> list[np.ndarray]:
    """One stretch of consecutive samples per worker, dealt out at random."""
    size = len(labels) // workers
    pieces = np.split(np.arange(workers * size), workers)
    return [pieces[place] for place in rng.permutation(workers)]


@dataclass(frozen=True)
class Partition(Entry):
    """A registered way to hand out the training samples."""

    assign: Callable[..., list[np.ndarray]] = iid
    by_label: bool = False
    """Whether it looks at labels, so that each sample must have one."""
    equal: bool = True
    """Whether all workers hold equally many samples."""


PARTITIONS: dict[str, Partition] = {
    entry.name: entry
    for entry in (
        Partition("iid", "every worker a random sample of the data", "standard", assign=iid),
        Partition(
            "contiguous",
            "each worker one stretch of consecutive samples: of a text, its own part",
            "standard for text",
            assign=contiguous,
        ),
        Partition(
            "dirichlet",
            "label proportions of each worker from Dirichlet(alpha), equal sizes",
            "Acar et al. 2021 (FedDyn); Shi et al. (GMC) with alpha 0.1",
            {
                "alpha": Option(
                    "concentration; small means few labels per worker",
                    float, 0.1, minimum=0, above=True,
                )
            },
            assign=dirichlet, by_label=True,
        ),
        Partition(
            "shards",
            "each worker a few runs of the label-sorted data",
            "McMahan et al. 2017 (FedAvg)",
            {"shards_per_worker": Option("runs of the sorted data per worker", int, 2)},
            assign=shards, by_label=True,
        ),
    )
}


def partition(
    name: str, labels: np.ndarray, workers: int, seed: int, **options: Any
) -> tuple[np.ndarray, ...]:
    """Hand out the training samples.

    Args:
        name: an entry of :data:`PARTITIONS`.
        labels: (n,) integer label of every training sample.
        workers: K.
        seed: same seed, same partition.
        options: of the entry; ``alpha`` for dirichlet, ``shards_per_worker`` for shards.

    Returns:
        K arrays (n // K,) int64 of sorted indices into ``labels``, no index in two of them.

    Raises:
        SimgmcError: unknown name or option, a value that is not valid, more workers than samples.
    """
    entry = lookup("partition", name, PARTITIONS)
    options = entry.resolve(options)
    if not 1 <= workers <= len(labels):
        raise SimgmcError(
            f"workers = {workers} must be between 1 and {len(labels)}, the number of training samples"
        )
    owned = entry.assign(np.asarray(labels), workers, generator(seed, "partition"), **options)
    return tuple(np.sort(piece).astype(np.int64) for piece in owned)


def label_counts(labels: np.ndarray, owned: tuple[np.ndarray, ...], classes: int) -> np.ndarray:
    """(K, classes) int64: how many samples of each label every worker holds."""
    return np.stack([np.bincount(labels[piece], minlength=classes) for piece in owned])
