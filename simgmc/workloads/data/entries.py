"""The kinds of data sets: what is known of one before it is read, and how it is read.

Images are kept as published (bytes) and normalised when a batch is taken, with the
training set's published mean and standard deviation, per channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.core.files import read_bytes
from simgmc.core.own_code.imports import call, find
from simgmc.core.randomness import generator
from simgmc.core.registry import Entry, Option
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.data.libsvm import class_numbers, count_features, read_libsvm
from simgmc.workloads.data.published_files import Form
from simgmc.workloads.data.text import read_text_blocks


@dataclass(frozen=True)
class Facts:
    """What is known of a data set before it is read; None is known afterwards."""

    sample_shape: tuple[int, ...] | None
    classes: int | None
    train: int | None
    test: int | None
    tokens: bool = False


@dataclass(frozen=True)
class DatasetEntry(Entry):
    """A registered data set; sizes of published ones are known before anything is read."""

    sample_shape: tuple[int, ...] = ()
    classes: int = 10
    train: int = 0
    test: int = 0
    forms: tuple[Form, ...] = ()
    """In which files it is published; the first form that is there is read, and ``details`` says where they
    come from.
    """
    mean: tuple[float, ...] = (0.0,)
    """Of the training images' channels, black 0 and white 1."""
    std: tuple[float, ...] = (1 / 255,)

    def facts(self, options: Mapping[str, Any]) -> Facts:
        """What is known before it is read, with options from :meth:`resolve`."""
        return Facts(self.sample_shape, self.classes, self.train, self.test)

    def read(self, options: Mapping[str, Any], contents: Any) -> Dataset:
        """The data set; ``contents`` is what its form read, where it has files."""
        return Dataset(self.name, *contents, self.classes, 255 * np.array(self.mean), 255 * np.array(self.std))


_MAX_FILE = 8 * 2**30
"""Bytes of a data file of one's own."""


def _read_file(name: str, path: str) -> bytes:
    try:
        place = Path(path).expanduser()
    except RuntimeError as error:
        raise SimgmcError(f"dataset {name!r}: {path}: {error}") from None
    return read_bytes(place, f"file of dataset {name!r}", _MAX_FILE)


@dataclass(frozen=True)
class DigitsEntry(DatasetEntry):
    """The digits that come with scikit-learn."""

    def read(self, options: Mapping[str, Any], contents: None) -> Dataset:
        from sklearn.datasets import load_digits  # takes a second to load

        bunch = load_digits()
        images, labels = bunch.images.astype(np.uint8)[:, None], bunch.target.astype(np.int64)
        # 360 of 1797 for the test, every digit in proportion, the same 360 for ever
        share = np.bincount(labels) * 360 / len(labels)
        held = np.floor(share).astype(int)
        held[np.argsort(held - share, kind="stable")[: 360 - held.sum()]] += 1
        rng = generator(0, "digits, test split")
        test = np.sort(
            np.concatenate([rng.permutation(np.flatnonzero(labels == digit))[: held[digit]] for digit in range(10)])
        )
        train = np.setdiff1d(np.arange(len(labels)), test)
        mean, std = images[train].mean(), images[train].std()
        return Dataset(
            "digits", images[train], labels[train], images[test], labels[test], 10, np.array([mean]), np.array([std])
        )


@dataclass(frozen=True)
class SyntheticEntry(DatasetEntry):
    """Gaussian classes around random centres: the same samples for the same options."""

    def facts(self, options: Mapping[str, Any]) -> Facts:
        return Facts((options["features"],), options["classes"], options["train"], options["test"])

    def read(self, options: Mapping[str, Any], contents: None) -> Dataset:
        features, classes = options["features"], options["classes"]
        centres = generator(0, "synthetic, centres").standard_normal((classes, features))
        parts = []
        for number, split in enumerate(("train", "test")):
            rng = generator(0, "synthetic, samples", number)
            labels = rng.permutation(np.arange(options[split]) % classes)
            values = centres[labels] + options["noise"] * rng.standard_normal((options[split], features))
            parts += [values.astype(np.float32), labels]
        return Dataset(self.name, *parts, classes)


@dataclass(frozen=True)
class TextEntry(DatasetEntry):
    """Characters of a text, in blocks."""

    def facts(self, options: Mapping[str, Any]) -> Facts:
        if not self.forms:
            return Facts((options["block"],), None, None, None, tokens=True)
        cut = self.train - self.test
        return Facts(
            (options["block"],),
            self.classes,
            (cut - 1) // options["block"],
            (self.test - 1) // options["block"],
            tokens=True,
        )

    def read(self, options: Mapping[str, Any], contents: Mapping[str, bytes] | None) -> Dataset:
        if contents is None:
            contents = {options["path"]: _read_file(self.name, options["path"])}
        ((path, content),) = contents.items()
        *parts, classes = read_text_blocks(content, path, options["block"])
        return Dataset(self.name, *parts, classes, tokens=True)


@dataclass(frozen=True)
class LibsvmEntry(DatasetEntry):
    """Two LIBSVM files of one's own."""

    def facts(self, options: Mapping[str, Any]) -> Facts:
        return Facts(None, None, None, None)

    def read(self, options: Mapping[str, Any], contents: None) -> Dataset:
        contents = {options[key]: _read_file(self.name, options[key]) for key in ("train", "test")}
        features = max(count_features(content, path) for path, content in contents.items())
        lines = max(content.count(b"\n") for content in contents.values())
        if features * lines > 2e9:
            raise SimgmcError(
                f"{options['train']}: {lines:,} samples of {features:,} features would need "
                f"{4e-9 * features * lines:.0f} GB as a dense matrix"
            )
        parts = [read_libsvm(contents[options[key]], options[key], features) for key in ("train", "test")]
        known = np.unique(np.concatenate([labels for _, labels in parts]))
        if len(known) > len(parts[0][1]) // 2:
            raise SimgmcError(f"{options['train']}: {len(known)} different labels are not classes")
        numbered = [array for values, labels in parts for array in (values, np.searchsorted(known, labels))]
        return Dataset(self.name, *numbered, len(known))


@dataclass(frozen=True)
class ImportEntry(DatasetEntry):
    """Torch data sets of one's own, by import path."""

    def facts(self, options: Mapping[str, Any]) -> Facts:
        return Facts(None, options["classes"], None, None)

    def read(self, options: Mapping[str, Any], contents: None) -> Dataset:
        # They load torch and rich, which scenarios are checked without.
        from simgmc.core.reading_progress import reading_progress
        from simgmc.workloads.data.own_data import read_own

        splits = []
        for split in ("train", "test"):
            chosen = options[split]
            arguments = dict(chosen) if isinstance(chosen, Mapping) else {"factory": chosen}
            splits.append(call(f"workload.dataset.{split}", arguments.pop("factory"), options["folder"], arguments))
        collate = find("workload.collate", options["collate"]) if "collate" in options else None
        with reading_progress() as progress:
            return read_own(
                self.name,
                *splits,
                **{key: options[key] for key in ("mean", "std", "classes")},
                collate=collate,
                progress=progress,
            )


@dataclass(frozen=True)
class GivenEntry(DatasetEntry):
    """Torch data sets handed to :func:`simgmc.run`."""

    def facts(self, options: Mapping[str, Any]) -> Facts:
        return Facts(None, None, None, None)

    def read(self, options: Mapping[str, Any], contents: None) -> Dataset:
        raise SimgmcError(
            "workload.dataset: its data were given from Python; give them again: simgmc.run(scenario, train=..., "
            "test=...)"
        )


@dataclass(frozen=True)
class Scale(Option):
    """An option that holds a number or one for each channel."""

    kind: Any = list[float]

    @property
    def words(self) -> str:
        """How it is written."""
        return "a number, or a list of one for each channel"

    def accepts(self, value: Any) -> bool:
        """Whether it is written so."""
        each = value if isinstance(value, (list, tuple)) and value else [value]
        return all(isinstance(one, (int, float)) and not isinstance(one, bool) and abs(one) < 1e30 for one in each)


def read_a9a(contents: Mapping[str, bytes]) -> list[np.ndarray]:
    """Values and labels of the training set, then those of the test set."""
    parts = []
    for path, content in contents.items():
        values, labels = read_libsvm(content, path, 123)
        parts += [values, class_numbers(labels, path)]
    return parts
