"""Who holds which training samples: IID, Dirichlet over labels, shards of sorted labels, sizes, a file.

No sample belongs to two workers. Unless a partition says otherwise all workers hold equally many,
n // K; the n mod K samples that are left over belong to nobody, and which ones they are is
drawn anew for every seed, so no label is favoured.

Where sizes differ (``quantity-skew``, ``file``, ``dirichlet`` per class), every worker still draws
minibatches of the same size; whoever holds less than one takes all that it holds every time. Workers weigh
n_k / n in averages (McMahan et al. 2017), so that every sample counts alike; with ``weights = "equal"`` a sample of
a worker that holds few counts for more. An epoch is as many gradients as give n samples in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from simgmc.core.declared import Part, require_class
from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.errors import guarded
from simgmc.core.randomness import generator
from simgmc.core.registry import Entry, Option, Registry
from simgmc.workloads.partitions.index_files import read_index_file

_MAX_DRAWS = 1000
"""Attempts at a partition in which everybody holds enough."""


def iid(labels: np.ndarray, workers: int, rng: np.random.Generator) -> list[np.ndarray]:
    """A random permutation cut into equal pieces."""
    size = len(labels) // workers
    return np.split(rng.permutation(len(labels))[: workers * size], workers)


def dirichlet(
    labels: np.ndarray, workers: int, rng: np.random.Generator, alpha: float, definition: str, minimum: int | None
) -> list[np.ndarray]:
    """Label proportions from Dirichlet(alpha, ..., alpha), in one of three published ways.

    - ``sequential``: each worker draws proportions of labels and then its n // K samples in those
      proportions, one worker after the other (in an order drawn by lot); a label that is used up is
      struck out and the others take its part. Hsu, Qi, Brown 2019, arXiv 1909.06335, which the
      GMC paper cites, with its |D_k| = |D| / K.
    - ``equal-size``: the same proportions and sizes, but all workers draw at the same time: where
      a label is asked for more often than it has samples, lots decide, and whoever went short
      draws again among the labels that are left. Nobody is served first, so proportions are
      milder. Acar et al. 2021 (FedDyn).
    - ``per-class``: the samples of every label are divided among the workers in proportions of its own,
      so that sizes differ; all is drawn again until everybody holds ``minimum`` samples.
      Yurochkin et al. 2019, arXiv 1905.12022; Li et al. 2022 (``noniid-labeldir``).
    """
    names, label_of = np.unique(labels, return_inverse=True)
    stock = np.bincount(label_of, minlength=len(names))
    if definition == "per-class":
        counts = _divided_by_class(stock, workers, rng, alpha, minimum)
    else:
        # a tiny alpha underflows to zero for all but one label, or even for all of them
        wishes = np.nan_to_num(rng.dirichlet(np.full(len(names), float(alpha)), size=workers), nan=0.0)
        served = _served_in_turn if definition == "sequential" else _served_at_once
        counts = served(stock, wishes, len(labels) // workers, rng)
    pieces: list[list[np.ndarray]] = [[] for _ in range(workers)]
    for label in range(len(names)):
        pool = rng.permutation(np.flatnonzero(label_of == label))
        ends = np.cumsum(counts[:, label])
        for worker, piece in enumerate(np.split(pool[: ends[-1]], ends[:-1])):
            pieces[worker].append(piece)
    return [np.concatenate(piece) for piece in pieces]


def _chances(wish: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(labels,): a worker's proportions among the labels that are left; theirs, where it wants none of them."""
    chance = wish * (left > 0)
    if chance.sum() < 1e-12:
        chance = left.astype(float)
    return chance / chance.sum()


def _served_in_turn(stock: np.ndarray, wishes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(workers, labels) samples, one worker after the other."""
    counts = np.zeros(wishes.shape, dtype=np.int64)
    left = stock.copy()
    for worker in rng.permutation(len(wishes)):
        while short := size - counts[worker].sum():
            drawn = np.minimum(rng.multinomial(short, _chances(wishes[worker], left)), left)
            counts[worker] += drawn
            left -= drawn
    return counts


def _served_at_once(stock: np.ndarray, wishes: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(workers, labels) samples, all workers at the same time."""
    counts = np.zeros(wishes.shape, dtype=np.int64)
    while (short := size - counts.sum(axis=1)).any():
        left = stock - counts.sum(axis=0)
        asked = np.zeros_like(counts)
        for worker in np.flatnonzero(short):
            asked[worker] = rng.multinomial(short[worker], _chances(wishes[worker], left))
        for label in np.flatnonzero(asked.sum(axis=0) > left):
            asked[:, label] = rng.multivariate_hypergeometric(asked[:, label], left[label])
        counts += asked
    return counts


def _divided_by_class(
    stock: np.ndarray, workers: int, rng: np.random.Generator, alpha: float, minimum: int | None
) -> np.ndarray:
    """(workers, labels) samples: every label's divided in proportions of its own."""
    for _ in range(_MAX_DRAWS):
        shares = np.nan_to_num(rng.dirichlet(np.full(workers, float(alpha)), size=len(stock)), nan=0.0)
        ends = np.floor(shares.cumsum(axis=1) * stock[:, None] + 1e-9).astype(np.int64)
        ends[:, -1] = stock
        counts = np.diff(ends, axis=1, prepend=0).T
        if counts.sum(axis=1).min() >= (minimum or 1):
            return counts
    raise SimgmcError(
        f"dirichlet: alpha = {alpha:g}, minimum = {minimum}: in {_MAX_DRAWS} draws there was always a "
        f"worker of {workers} that holds fewer samples; give a larger alpha, a smaller minimum, or another definition"
    )


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
class PartitionEntry(Entry):
    """A registered way to hand out the training samples."""

    assign: Callable[..., list[np.ndarray]] = iid
    by_label: bool = False
    """Whether it looks at labels, so that each sample must have one."""
    equal: bool = True
    """Whether all workers hold equally many samples."""

    def has_equal_sizes(self, options: Mapping[str, Any]) -> bool:
        """Whether with these options all workers hold equally many samples."""
        return self.equal

    def of_equal_sizes(self) -> PartitionEntry | None:
        """The entry with those options only with which all workers hold equally many samples, if there are any."""
        return self if self.equal else None


@dataclass(frozen=True)
class _Dirichlet(PartitionEntry):
    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """As :meth:`Entry.resolve`; only where sizes differ is there a least one."""
        resolved = super().resolve(given)
        if resolved["definition"] == "per-class":
            resolved["minimum"] = 10 if resolved["minimum"] is None else resolved["minimum"]
        elif resolved["minimum"] is not None:
            raise SimgmcError(
                f'{self.name}: minimum = {resolved["minimum"]} belongs to definition = "per-class"; '
                f'with "{resolved["definition"]}" all workers hold equally many samples'
            )
        return resolved

    def has_equal_sizes(self, options: Mapping[str, Any]) -> bool:
        return options["definition"] != "per-class"

    def of_equal_sizes(self) -> PartitionEntry:
        choices = tuple(one for one in self.options["definition"].choices if one != "per-class")
        return replace(
            self, options={**self.options, "definition": replace(self.options["definition"], choices=choices)}
        )


@dataclass(frozen=True)
class Partition(Part):
    """A partition of one's own: a frozen dataclass of its options, and who holds which samples."""

    by_label: ClassVar[bool] = False
    """Whether it looks at labels, so that each sample must have one."""
    equal_sizes: ClassVar[bool] = False
    """Whether all workers hold equally many samples."""

    def assign(self, labels: np.ndarray, workers: int, draws: np.random.Generator) -> Sequence[np.ndarray]:
        """The numbers of the samples that each worker holds, no sample twice.

        ``labels`` (n,): of every training sample; ``draws``: what to draw from, seeded.
        """
        raise NotImplementedError


def _adopted(name: str, found: Any) -> PartitionEntry:
    """The entry of a partition of one's own. Raises SimgmcError for what is none."""
    require_class(name, found, Partition, "assign")

    def assign(labels: np.ndarray, workers: int, rng: np.random.Generator, **options: Any) -> list[np.ndarray]:
        said = guarded(
            f"partition {name}", "assign failed",
            lambda: [np.asarray(one, dtype=np.int64) for one in found(**options).assign(labels, workers, rng)],
        )  # fmt: skip
        held = np.concatenate(said) if said else np.empty(0, np.int64)
        if len(said) != workers or not all(len(one) for one in said):
            raise SimgmcError(
                f"partition {name}: gives samples to {sum(map(bool, map(len, said)))} of {workers} workers"
            )
        if len(np.unique(held)) < len(held) or held.min() < 0 or held.max() >= len(labels):
            raise SimgmcError(
                f"partition {name}: gives numbers twice, or of no sample; samples are 0 to {len(labels) - 1}"
            )
        if found.equal_sizes and len({len(one) for one in said}) > 1:
            raise SimgmcError(
                f"partition {name}: says equal_sizes, and gives {len(said[0])} and {len(said[-1])} samples"
            )
        return said

    described = found.described(name)
    return PartitionEntry(**described, assign=assign, by_label=found.by_label, equal=found.equal_sizes)


PARTITIONS: Registry[PartitionEntry] = Registry(
    "partition",
    (
        PartitionEntry("iid", "every worker a random sample of the data", "standard", assign=iid),
        PartitionEntry(
            "contiguous",
            "each worker one segment of consecutive samples: of a text, its own part",
            "standard for text",
            assign=contiguous,
        ),
        _Dirichlet(
            "dirichlet",
            "label proportions of each worker from Dirichlet(alpha)",
            "Hsu et al. 2019 (cited by the GMC paper, with alpha 0.1); Acar et al. 2021; Yurochkin et al. 2019",
            {
                "alpha": Option("concentration; small means few labels per worker", float, 0.1, above=0),
                "definition": Option(
                    "sequential: equal sizes, workers draw in turn (Hsu et al. 2019); equal-size: all draw at once, "
                    "which is milder (Acar et al. 2021); per-class: each label is divided, sizes differ (Yurochkin et "
                    "al. 2019)",
                    str,
                    "sequential",
                    ("sequential", "equal-size", "per-class"),
                ),
                "minimum": Option("per-class: samples that every worker holds at least (10)", int, None),
            },
            assign=dirichlet, by_label=True,
        ),
        PartitionEntry(
            "shards",
            "each worker a few runs of the label-sorted data",
            "McMahan et al. 2017 (FedAvg)",
            {"shards_per_worker": Option("runs of the sorted data per worker", int, 2)},
            assign=shards, by_label=True,
        ),
        PartitionEntry(
            "quantity-skew",
            "random samples, but worker sizes from Dirichlet(alpha)",
            "Li et al. 2022, Federated Learning on Non-IID Data Silos",
            {
                "alpha": Option("concentration; small means few workers hold most", float, 0.5, above=0),
                "minimum": Option("samples that every worker holds at least", int, 50),
            },
            assign=quantity_skew, equal=False,
        ),
        PartitionEntry(
            "file",
            "as an index file says: .npz, .json, .csv or .txt, one list of indices per worker",
            "one's own",
            {"path": Option("the file", Path)},
            assign=from_file, equal=False,
        ),
    ),
    _adopted,
    "simgmc.partitions",
    listed="partitions",
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
    if entry.by_label and (np.ndim(labels) != 1 or np.asarray(labels).dtype.kind not in "iu" or np.min(labels) < 0):
        raise SimgmcError(
            f"partition {name!r} goes by labels, and these samples have no class number each; give iid or contiguous"
        )
    owned = entry.assign(np.asarray(labels), workers, generator(seed, "partition"), **options)
    return tuple(np.sort(piece).astype(np.int64) for piece in owned)


def label_counts(labels: np.ndarray, owned: tuple[np.ndarray, ...], classes: int) -> np.ndarray:
    """(K, classes) int64: how many samples of each label every worker holds."""
    return np.stack([np.bincount(labels[piece], minlength=classes) for piece in owned])
