"""Datasets: where their files are, that they are the published ones, and how to read them.

Plain numpy: :func:`require_files` answers without torch and without reading a file.
Images are kept as published (bytes) and normalised when a batch is taken, with the
training set's published mean and standard deviation, per channel.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.core.files import read_bytes
from simgmc.core.own_code.imports import call, find
from simgmc.core.randomness import generator
from simgmc.core.registry import Entry, ImportPath, Option, Registry
from simgmc.workloads.data import published_images
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.data.libsvm import class_numbers, count_features, read_libsvm
from simgmc.workloads.data.published_files import File, Form, find_form, read_form
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


def require_files(names: Iterable[str], data_dir: str | os.PathLike | None = None) -> None:
    """Make sure that every file of these data sets is there and has its published size.

    Quick: reads no contents (checksums are compared when a data set is loaded).

    Raises:
        SimgmcError: unknown data set, or a file missing or of another size; says which file, where
            it was looked for and how to get it.
    """
    for name in names:
        entry = DATASETS[name]
        if entry.forms:
            find_form(entry.name, entry.forms, data_dir, entry.details)


def load_dataset(
    name: str, data_dir: str | os.PathLike | None = None, collate: str | None = None, **options: Any
) -> Dataset:
    """Read a data set, every published file checked against its checksum.

    ``collate``: the import path of what makes samples of one's own a batch.

    Raises:
        SimgmcError: unknown name or option; a file missing, damaged or unreadable.
    """
    entry = DATASETS[name]
    options = entry.resolve(options)
    contents = None
    if entry.forms:
        contents = read_form(entry.name, *find_form(entry.name, entry.forms, data_dir, entry.details), entry.details)
    return entry.read(options if collate is None else {**options, "collate": collate}, contents)


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


def _read_a9a(contents: Mapping[str, bytes]) -> list[np.ndarray]:
    parts = []
    for path, content in contents.items():
        values, labels = read_libsvm(content, path, 123)
        parts += [values, class_numbers(labels, path)]
    return parts


_BLOCK = Option("characters of one sample", int, 64)

DATASETS: Registry[DatasetEntry] = Registry(
    "dataset",
    (
        DigitsEntry(
            "digits",
            "1797 handwritten digits, 8x8 grey, 10 classes; 1437 train / 360 test; no download",
            "Alpaydin and Kaynak 1998 (UCI), bundled with scikit-learn",
            sample_shape=(1, 8, 8), train=1437, test=360,
        ),
        DatasetEntry(
            "mnist",
            "70,000 handwritten digits, 28x28 grey, 10 classes; 60,000 train / 10,000 test",
            "LeCun, Cortes, Burges 1998",
            sample_shape=(1, 28, 28), train=60_000, test=10_000,
            forms=published_images.MNIST, mean=(0.1307,), std=(0.3081,),
            details=(
                "To get it: the four files that yann.lecun.com/exdb/mnist lists (mirrored with torchvision and "
                "TensorFlow), compressed or not, into the folder mnist of the data directory."
            ),
        ),
        DatasetEntry(
            "fashion-mnist",
            "70,000 pictures of clothing, 28x28 grey, 10 classes; 60,000 train / 10,000 test",
            "Xiao, Rasul, Vollgraf 2017",
            sample_shape=(1, 28, 28), train=60_000, test=10_000,
            forms=published_images.FASHION_MNIST, mean=(0.2860,), std=(0.3530,),
            details=(
                "To get it: the four .gz files that the GitHub project zalandoresearch/fashion-mnist "
                "links under 'Get the Data', into the folder fashion-mnist of the data directory."
            ),
        ),
        DatasetEntry(
            "cifar10",
            "60,000 colour pictures, 32x32, 10 classes; 50,000 train / 10,000 test",
            "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
            sample_shape=(3, 32, 32), train=50_000, test=10_000,
            forms=published_images.CIFAR10, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616),
            details=(
                "To get it: 'CIFAR-10 binary version (suitable for C programs)' on Alex Krizhevsky's "
                "CIFAR page at the University of Toronto (cs.toronto.edu/~kriz/cifar.html), the archive or its "
                "folder cifar-10-batches-bin, into the data directory; the Python version will do as well."
            ),
        ),
        DatasetEntry(
            "cifar100",
            "60,000 colour pictures, 32x32, 100 classes; 50,000 train / 10,000 test",
            "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
            sample_shape=(3, 32, 32), classes=100, train=50_000, test=10_000,
            forms=published_images.CIFAR100, mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762),
            details=(
                "To get it: 'CIFAR-100 binary version (suitable for C programs)' on Alex Krizhevsky's "
                "CIFAR page at the University of Toronto (cs.toronto.edu/~kriz/cifar.html), the archive or its "
                "folder cifar-100-binary, into the data directory; the Python version will do as well."
            ),
        ),
        TextEntry(
            "tiny-shakespeare",
            "1,115,394 characters of Shakespeare's plays, 65 different; next-character prediction, the last tenth for "
            "the test",
            "Karpathy 2015, The Unreasonable Effectiveness of Recurrent Neural Networks; public domain",
            {"block": _BLOCK},
            classes=65, train=1_115_394, test=111_539,
            forms=tuple(
                Form((File(path, 1_115_394, "md5", "6fb458f1232090904fb40fe944165e91"),), dict)
                for path in ("text/tinyshakespeare.txt", "tinyshakespeare/input.txt")
            ),
            details=(
                "To get it: input.txt from the folder data/tinyshakespeare of the GitHub project karpathy/char-rnn, "
                "as text/tinyshakespeare.txt into the data directory."
            ),
        ),
        DatasetEntry(
            "a9a",
            "census records, 123 binary features, 2 classes (income above 50,000 dollars); 32,561 train / 16,281 test",
            "Becker and Kohavi 1996 (UCI Adult); Platt 1998; LIBSVM data",
            sample_shape=(123,), classes=2, train=32_561, test=16_281,
            forms=(
                Form(
                    (
                        File("libsvm/a9a", 2_329_875, "md5", "fb3596510d780aaf76a06dc721d49662"),
                        File("libsvm/a9a.t", 1_164_628, "md5", "f0bb16cf1ee3e80ff560e9d132ee647e"),
                    ),
                    _read_a9a,
                ),
            ),
            details=(
                "To get it: a9a and a9a.t from the page 'LIBSVM Data: Classification (Binary Class)' "
                "(csie.ntu.edu.tw/~cjlin/libsvmtools/datasets), into the folder libsvm of the data directory."
            ),
        ),
        SyntheticEntry(
            "synthetic",
            "Gaussian classes around random centres, as many and as large as asked for; no download",
            "standard",
            {
                "features": Option("values of one sample", int, 32),
                "classes": Option("classes, equally frequent", int, 10, at_least=2),
                "train": Option("training samples", int, 2000),
                "test": Option("test samples", int, 500),
                "noise": Option("standard deviation around a centre; centres are standard normal", float, 1.0,
                at_least=0),
            },
        ),
        LibsvmEntry(
            "libsvm",
            "two LIBSVM files of one's own: LABEL INDEX:VALUE ..., labels are the classes",
            "Chang and Lin 2011, LIBSVM",
            {key: Option(f"the {what} file", Path) for key, what in (("train", "training"), ("test", "test"))},
        ),
        TextEntry(
            "text",
            "a UTF-8 text file of one's own, by characters; next-character prediction, the last tenth for the test",
            "standard",
            {"path": Option("the file", Path), "block": _BLOCK},
        ),
        ImportEntry(
            "import",
            "any torch.utils.data.Dataset of one's own, by import path",
            "one's own",
            {
                "train": ImportPath("makes the training set; a table may hold its arguments", arguments=True),
                "test": ImportPath("makes the test set; a table may hold its arguments", arguments=True),
                "mean": Scale("subtracted from the values, of each channel", default=None),
                "std": Scale("divides them then, of each channel", default=None),
                "classes": Option("how many there are; else one more than the largest label", int, None),
                "folder": Option("where modules are looked for first; else the scenario's", Path, None),
            },
        ),
        GivenEntry(
            "given",
            "torch data sets handed to simgmc.run in Python",
            "one's own",
            {"digest": Option("of their contents", str)},
        ),
    ), listed="datasets",)  # fmt: skip
