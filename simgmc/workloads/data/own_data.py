"""Any ``torch.utils.data.Dataset`` as a data set: every sample is read once, into one array.

Where reading training samples draws random numbers (random transforms), every minibatch reads its own again, by a seed
of its own; the test samples stay as they are drawn at first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils._pytree import tree_flatten
from torch.utils.data import DataLoader, IterableDataset

from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.errors import guarded
from simgmc.workloads.data.collated import batch_of, own
from simgmc.workloads.data.dataset import Dataset, RawSamples
from simgmc.workloads.data.inputs import in_parts
from simgmc.workloads.seeding import drawing_from, drew

MAX_SCALE = 1e30
"""Bound of ``mean`` and ``std``."""


def read_own(
    name: str,
    train: Any,
    test: Any,
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    classes: int | None = None,
    collate: Callable[[list[Any]], Any] | None = None,
    progress: Callable[[str, int, int], None] = lambda split, done, total: None,
) -> Dataset:
    """Two torch data sets as training and test set.

    A sample is a pair: values of one shape (tensor, array or image), and its target, one number or an array of one
    shape: a class as a whole number from 0, or what the loss takes. The model sees floats, and bytes of two
    dimensions or more (images), as floats; other whole numbers of any type (tokens) as they are.

    Or several inputs: a tuple whose last entry is the target, or a dict that has it under ``labels`` (``label``,
    ``target``, ``targets``). The model is then called with them one by one (``model(*inputs)``, ``model(**inputs)``);
    floats are float32 there, everything else is as ``collate`` gives it.

    Args:
        mean, std: what a model sees is ``(value - mean) / std``: numbers, or one for each channel; the
            values as they are if neither is given.
        classes: how many there are; one more than the largest label if None.
        collate: makes a list of samples a batch, a pair of inputs and targets again, as the ``collate_fn`` of torch's
            ``DataLoader``; samples of unequal shapes need one.
        progress: hears of (split, samples read, samples).

    Raises:
        SimgmcError: not a data set of such pairs; says which sample and what is wrong with it.
    """
    if collate is not None or any(map(_is_several, (train, test))):
        stated = [what for what, one in (("mean", mean), ("std", std)) if one is not None]
        if stated:
            raise SimgmcError(
                f"dataset: {' and '.join(stated)}: samples that are several inputs or are collated are taken as they "
                "are; normalise them in the data set"
            )
        return _read_raw(name, train, test, classes, collate, progress)
    read = [_read_split(split, data, progress) for split, data in (("train", train), ("test", test))]
    parts = [part for values, labels, _, _ in read for part in (values, labels)]
    notes = tuple(note for *_, note in read if note)
    for one, (first, second) in {"values": (parts[0], parts[2]), "labels": (parts[1], parts[3])}.items():
        if first.shape[1:] != second.shape[1:]:
            raise SimgmcError(
                f"{name}: {one} of train samples have shape {first.shape[1:]}, those of test samples {second.shape[1:]}"
            )
    tokens = _whole(parts[0])
    if tokens != _whole(parts[2]):
        kinds = [
            f"{split} samples are {'tokens' if _whole(one) else 'values'}"
            for split, one in zip(("train", "test"), parts[::2])
        ]
        raise SimgmcError(f"{name}: {kinds[0]} ({parts[0].dtype}), {kinds[1]} ({parts[2].dtype})")
    if tokens and mean is None and std is None:
        parts[::2] = [values.astype(np.int64, copy=False) for values in parts[::2]]
    elif tokens:
        parts[::2], tokens = (
            [values if values.dtype == np.uint8 else values.astype(np.float32) for values in parts[::2]],
            False,
        )
    if (parts[1].dtype == np.int64) != (parts[3].dtype == np.int64):
        raise SimgmcError(
            f"{name}: targets of train samples are {parts[1].dtype}, those of test samples {parts[3].dtype}"
        )
    if classes is None and parts[1].dtype == np.int64:
        counted = parts if tokens and parts[1].ndim == 2 else parts[1::2]
        found = max(0, max(int(array.max()) for array in counted) + 1)
    else:
        found = classes or 0
    shift = _per_channel("mean", mean, 0.0, parts[0].shape)
    scale = _per_channel("std", std, 1.0, parts[0].shape)
    if not (scale > 1 / MAX_SCALE).all():
        raise SimgmcError(f"{name}: std = {std}: must be above 0, and above {1 / MAX_SCALE:g}")
    anew = _reads_anew(train, parts[0], parts[1]) if read[0][2] else None
    return Dataset(name, *parts, found, shift, scale, tokens, classes is not None, anew, notes)


def _reads_anew(data: Any, values: np.ndarray, labels: np.ndarray) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Reads a sample that is drawn anew; it has to be like the ones that were read at first."""

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        place = f"dataset, train sample {index}"
        x, y = _pair(place, guarded(place, "reading it again failed", lambda: data[index]))
        if x.shape != values.shape[1:] or y.shape != labels.shape[1:]:
            raise SimgmcError(
                f"{place}: has shape {x.shape} and a label of shape {y.shape} when it is read again, "
                f"{values.shape[1:]} and {labels.shape[1:]} before"
            )
        x = x.astype(values.dtype)
        if x.dtype == np.float32 and not np.isfinite(x).all():
            raise SimgmcError(f"{place}: holds a value that is not finite when it is read again")
        return x, y.astype(labels.dtype)

    return read


def _pair(place: str, pair: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise SimgmcError(f"{place}: is {type(pair).__name__}, not a pair (values, label)")
    return _values(place, pair[0]), _labels(place, pair[1])


def _kept_note(split: str, first: Any, again: Any, drawn: bool) -> str:
    """What is said of a data set whose first sample is another when it is read again by the same seed."""
    (before, spec), (now, other) = tree_flatten(first), tree_flatten(again)
    same = spec == other and all(
        np.array_equal(_array(a), _array(b)) or (_array(a) != _array(a)).any()
        for a, b in zip(before, now, strict=True)
        if _is_numbers(a, b)
    )
    if same:
        return ""
    what = f"{split} samples change from one reading to the next, also by something else than the generators of torch, "
    if drawn and split == "train":
        return f"{what}numpy and Python: what the data set keeps itself is one for all workers"
    return f"{what}numpy and Python: they are kept as they were read at first"


def _is_numbers(*parts: Any) -> bool:
    return all(isinstance(one, (Tensor, np.ndarray, int, float)) for one in parts)


def _is_several(data: Any) -> bool:
    """Whether the first sample is more than one array and its target."""
    try:
        with drawing_from(0):
            sample = data[0]
    except Exception:  # which is said when it is read in turn
        return False
    if isinstance(sample, Mapping):
        return True
    if not isinstance(sample, (tuple, list)) or len(sample) < 2:
        return False
    return len(sample) > 2 or any(map(_is_structure, sample))


def _is_structure(part: Any) -> bool:
    """Whether it holds arrays, and is none itself."""
    if isinstance(part, (tuple, list)):
        return any(isinstance(one, (Tensor, np.ndarray, str)) or _is_structure(one) for one in part)
    return isinstance(part, Mapping)


_CHECKED = 64
"""Samples that are collated together when they are read."""


def _read_raw(
    name: str, train: Any, test: Any, classes: int | None, collate: Callable[[list[Any]], Any] | None, progress: Any
) -> Dataset:
    """Samples as they are; every one is collated once, to see that it can be and what its targets are."""
    parts: list[Any] = []
    notes: list[str] = []
    for split, data in (("train", train), ("test", test)):
        what, total = f"dataset, {split}", _length(f"dataset, {split}", data)
        samples: list[Any] = []
        with drawing_from(0):
            for index in range(total):
                place = f"{what} sample {index}"
                samples.append(guarded(place, "reading it failed", lambda: own(data[index])))  # noqa: B023
                progress(split, index + 1, total)
            drawn = drew(0)
        with drawing_from(0):
            again = guarded(f"{what} sample 0", "reading it again failed", lambda: data[0])  # noqa: B023
        notes.append(_kept_note(split, samples[0], again, drawn))
        raw = RawSamples(split, samples, collate, np.zeros(0), data if drawn and split == "train" else None)
        found = []
        for start in range(0, total, _CHECKED):
            _, targets = batch_of(raw, list(range(start, min(start + _CHECKED, total))), 0)
            if isinstance(targets, Tensor):
                found.append(_labels(f"{what} samples from {start}", targets).ravel())
        labels = [_one_number(sample) for sample in samples]
        whole = None not in labels
        raw = replace(raw, targets=np.concatenate(found) if found else raw.targets)
        parts += [raw, np.array(labels) if whole else np.zeros((total, 0), np.float32)]
    of_train = parts[0].targets
    found_classes = int(max(one.targets.max() for one in parts[::2])) + 1 if of_train.dtype.kind == "i" else 0
    return Dataset(name, *parts, max(0, classes or found_classes), classes_stated=classes is not None,
        notes=tuple(filter(None, notes)),
    )  # fmt: skip


def _one_number(sample: Any) -> int | None:
    """The class number of a sample that has one."""
    try:
        target = np.asarray(_array(in_parts("", sample)[1]))
    except Exception:  # a sample that only its collate function knows how to read
        return None
    return int(target) if target.ndim == 0 and target.dtype.kind in "iu" else None


def _length(what: str, data: Any) -> int:
    """How many samples there are. Raises SimgmcError where that is not known."""
    if isinstance(data, DataLoader):
        raise SimgmcError(
            f"{what}: is a DataLoader, but each worker takes minibatches of its own: give its loader.dataset "
            "and its collate_fn as collate; the batch is workload.batch_per_worker, a sampler is a partition"
        )
    if isinstance(data, (IterableDataset, Iterator)):
        raise SimgmcError(
            f"{what}: {type(data).__name__} can only be gone through in its own order, but each worker takes samples "
            "by number: give list(...) of it"
        )
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        raise SimgmcError(
            f"{what}: {type(data).__name__} is not a torch.utils.data.Dataset with a length (it needs __len__ and "
            "__getitem__)"
        )
    total = guarded(what, "its length failed", lambda: len(data))
    if total < 1:
        raise SimgmcError(f"{what}: holds no samples")
    return total


def _whole(values: np.ndarray) -> bool:
    """Whether samples (n, ...) are tokens: whole numbers, but no images of bytes."""
    return values.dtype == np.int64 or (values.dtype == np.uint8 and values.ndim == 2)


def _read_split(
    split: str, data: Any, progress: Callable[[str, int, int], None]
) -> tuple[np.ndarray, np.ndarray, bool, str]:
    """Values (n, ...), labels (n, ...), whether reading them drew random numbers, and what is to be said of it."""
    what = f"dataset, {split}"
    total = _length(what, data)
    values = labels = first = None
    with drawing_from(0):
        for index in range(total):
            place = f"{what} sample {index}"
            pair = guarded(place, "reading it failed", lambda: data[index])  # noqa: B023 - called at once
            x, y = _pair(place, pair)
            first = (x.copy(), y.copy()) if first is None else first
            if values is None:
                dtype = np.uint8 if x.dtype == np.uint8 else np.int64 if x.dtype.kind in "iu" else np.float32
                shape = (total, *x.shape)
                values, labels = guarded(
                    f"{what}: {total:,} samples of shape {x.shape}",
                    "making room failed",
                    functools.partial(_room, shape, dtype, (total, *y.shape), y.dtype),
                )
            if x.shape != values.shape[1:]:
                raise SimgmcError(f"{place}: has shape {x.shape}, sample 0 has {values.shape[1:]}")
            if y.shape != labels.shape[1:]:
                raise SimgmcError(f"{place}: its label has shape {y.shape}, that of sample 0 {labels.shape[1:]}")
            if values.dtype != np.float32 and x.dtype.kind not in "iu":
                raise SimgmcError(f"{place}: holds {x.dtype}, sample 0 whole numbers")
            if values.dtype == np.uint8 and x.dtype != np.uint8:
                raise SimgmcError(f"{place}: holds {x.dtype}, sample 0 bytes")
            if y.dtype != labels.dtype:
                raise SimgmcError(f"{place}: its label is {y.dtype}, that of sample 0 {labels.dtype}")
            values[index], labels[index] = x, y
            progress(split, index + 1, total)
        drawn = drew(0)
    if values.dtype == np.float32:
        finite = np.isfinite(values.reshape(total, -1)).all(axis=1)
        if not finite.all():
            raise SimgmcError(f"{what} sample {int(np.argmin(finite))}: holds a value that is not finite")
    with drawing_from(0):
        again = _pair(f"{what} sample 0", guarded(f"{what} sample 0", "reading it again failed", lambda: data[0]))
    return values, labels, drawn, _kept_note(split, first, again, drawn)


def _room(
    values: tuple[int, ...], dtype: type, labels: tuple[int, ...], label_type: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    return np.empty(values, dtype), np.empty(labels, label_type)


def _values(place: str, x: Any) -> np.ndarray:
    array = guarded(place, "its values cannot be made an array", lambda: _array(x))
    if hasattr(x, "getbands"):  # an image of the Python Imaging Library: rows, columns, channels
        array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    if array.dtype.kind not in "fiub" or not array.ndim or not array.size:
        raise SimgmcError(
            f"{place}: its values are {type(x).__name__} ({array.dtype}, shape {array.shape}), not an array of numbers"
        )
    return array


def _array(x: Any) -> np.ndarray:
    if not isinstance(x, Tensor):
        return np.asarray(x)
    x = x.detach().cpu()
    return (x.float() if x.is_floating_point() and x.itemsize < 4 else x).numpy()


def _labels(place: str, y: Any) -> np.ndarray:
    array = guarded(place, "its label cannot be made an array", lambda: _array(y))
    if array.dtype.kind not in "iufb" or not array.size or (array.dtype == np.uint64 and array.max() >= 2**63):
        shown = f"{str(y)[:40]} ({array.dtype if isinstance(y, (Tensor, np.ndarray)) else type(y).__name__})"
        raise SimgmcError(f"{place}: label {shown} is no number of at most 64 bits, and no array of numbers")
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)


def _per_channel(
    what: str, given: float | Sequence[float] | None, default: float, shape: tuple[int, ...]
) -> np.ndarray:
    found = np.atleast_1d(
        guarded(
            f"dataset: {what} = {str(given)[:40]}",
            "it is no number or list of numbers",
            lambda: np.asarray(default if given is None else given, np.float64),
        )
    )
    if found.ndim > 1 or not (np.abs(found) < MAX_SCALE).all():
        raise SimgmcError(
            f"dataset: {what} = {str(given)[:40]}: give one number, or one for each channel, of less than {MAX_SCALE:g}"
        )
    channels = shape[1]
    if len(found) not in (1, channels):
        raise SimgmcError(f"dataset: {what} = {given}: give one number, or one for each of the {channels} channels")
    return found
