"""Who holds which training samples: IID, Dirichlet over labels, shards of sorted labels, sizes, a file.

No sample belongs to two workers. Unless a partition says otherwise all workers hold equally many,
n // K; the n mod K samples that are left over belong to nobody, and which ones they are is
drawn anew for every seed, so no label is favoured.

Where sizes differ (``quantity-skew``, ``file``), every worker still draws minibatches of the same
size and weighs the same in the average, as in the methods' papers: a sample of a worker
that holds few counts for more. An epoch is then as many gradients as give n samples in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import generator
from simgmc.core.registry import Entry, Option, Registry
from simgmc.workloads.partitions.index_files import read_index_file


def iid(labels: np.ndarray, workers: int, rng: np.random.Generator) -> list[np.ndarray]:
    """A random permutation cut into equal pieces."""
    size = len(labels) // workers
    return np.split(rng.permutation(len(labels))[: workers * size], workers)


def dirichlet(labels: np.ndarray, workers: int, rng: np.random.Generator, alpha: float) -> list[np.ndarray]:
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


def shards(labels: np.ndarray, workers: int, rng: np.random.Generator, shards_per_worker: int) -> list[np.ndarray]:
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
    """One segment of consecutive samples per worker, dealt out at random."""
    size = len(labels) // workers
    pieces = np.split(np.arange(workers * size), workers)
    return [pieces[place] for place in rng.permutation(workers)]


def quantity_skew(
    labels: np.ndarray, workers: int, rng: np.random.Generator, alpha: float, minimum: int
) -> list[np.ndarray]:
    """Random samples, but sizes in proportions drawn from Dirichlet(alpha, ..., alpha).

    Li et al. 2022 ("Federated Learning on Non-IID Data Silos"), q ~ Dir(beta). All n samples are
    handed out: ``minimum`` to each worker first, the rest in those proportions.
    """
    spare = len(labels) - workers * minimum
    if spare < 0:
        raise SimgmcError(
            f"quantity-skew: minimum = {minimum} must be at most {len(labels) // workers}, "
            f"the samples of one worker if all are alike ({len(labels)} samples, {workers} workers)"
        )
    share = np.nan_to_num(rng.dirichlet(np.full(workers, float(alpha))))
    if share.sum() <= 0:  # a tiny alpha underflows: one worker has it all
        share[rng.integers(workers)] = 1.0
    exact = spare * share / share.sum()
    sizes = np.floor(exact).astype(np.int64)
    sizes[np.argsort(sizes - exact, kind="stable")[: spare - sizes.sum()]] += 1
    return np.split(rng.permutation(len(labels)), np.cumsum(sizes + minimum)[:-1])


def from_file(labels: np.ndarray, workers: int, rng: np.random.Generator, path: str) -> list[np.ndarray]:
    """What a file says; see :mod:`simgmc.workloads.partitions.index_files`."""
    return read_index_file(path, workers, len(labels))


@dataclass(frozen=True)
class Partition(Entry):
    """A registered way to hand out the training samples."""

    assign: Callable[..., list[np.ndarray]] = iid
    by_label: bool = False
    """Whether it looks at labels, so that each sample must have one."""
    equal: bool = True
    """Whether all workers hold equally many samples."""


PARTITIONS: Registry[Partition] = Registry(
    "partition",
    (
        Partition("iid", "every worker a random sample of the data", "standard", assign=iid),
        Partition(
            "contiguous",
            "each worker one segment of consecutive samples: of a text, its own part",
            "standard for text",
            assign=contiguous,
        ),
        Partition(
            "dirichlet",
            "label proportions of each worker from Dirichlet(alpha), equal sizes",
            "Acar et al. 2021 (FedDyn); Shi et al. (GMC) with alpha 0.1",
            {"alpha": Option("concentration; small means few labels per worker", float, 0.1, above=0)},
            assign=dirichlet, by_label=True,
        ),
        Partition(
            "shards",
            "each worker a few runs of the label-sorted data",
            "McMahan et al. 2017 (FedAvg)",
            {"shards_per_worker": Option("runs of the sorted data per worker", int, 2)},
            assign=shards, by_label=True,
        ),
        Partition(
            "quantity-skew",
            "random samples, but worker sizes from Dirichlet(alpha); workers weigh the same all the same",
            "Li et al. 2022, Federated Learning on Non-IID Data Silos",
            {
                "alpha": Option("concentration; small means few workers hold most", float, 0.5, above=0),
                "minimum": Option("samples that every worker holds at least", int, 50),
            },
            assign=quantity_skew, equal=False,
        ),
        Partition(
            "file",
            "as an index file says: .npz, .json, .csv or .txt, one list of indices per worker",
            "one's own",
            {"path": Option("the file", Path)},
            assign=from_file, equal=False,
        ),
    ),
)  # fmt: skip


def partition(name: str, labels: np.ndarray, workers: int, seed: int, **options: Any) -> tuple[np.ndarray, ...]:
    """Hand out the training samples.

    Args:
        name: an entry of :data:`PARTITIONS`.
        labels: (n,) integer label of every training sample.
        workers: K.
        seed: same seed, same partition.
        options: of the entry; ``alpha`` for dirichlet, ``shards_per_worker`` for shards.

    Returns:
        K arrays int64 of sorted indices into ``labels``, no index in two of them; each (n // K,)
        unless the entry is not ``equal``.

    Raises:
        SimgmcError: unknown name or option, a value that is not valid, more workers than samples.
    """
    entry = PARTITIONS[name]
    options = entry.resolve(options)
    if not 1 <= workers <= len(labels):
        raise SimgmcError(f"workers = {workers} must be between 1 and {len(labels)}, the number of training samples")
    if entry.by_label and np.ndim(labels) != 1:
        raise SimgmcError(
            f"partition {name!r} goes by labels, and these samples have more than one each; give iid or contiguous"
        )
    owned = entry.assign(np.asarray(labels), workers, generator(seed, "partition"), **options)
    return tuple(np.sort(piece).astype(np.int64) for piece in owned)


def label_counts(labels: np.ndarray, owned: tuple[np.ndarray, ...], classes: int) -> np.ndarray:
    """(K, classes) int64: how many samples of each label every worker holds."""
    return np.stack([np.bincount(labels[piece], minlength=classes) for piece in owned])
