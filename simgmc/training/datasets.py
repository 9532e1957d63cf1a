"""Datasets: where their files are, that they are the published ones, and how to read them.

Plain numpy: :func:`require_files` answers without torch and without reading a file.
Images are kept as published (bytes) and normalised when a batch is taken, with the
training set's published mean and standard deviation, per channel.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from simgmc.errors import SimgmcError
from simgmc.randomness import generator
from simgmc.training.libsvm import class_numbers, read_libsvm
from simgmc.training.registry import Entry, lookup

DATA_VARIABLE = "SIMGMC_DATA"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set in memory.

    ``train_images`` and ``test_images`` are (n, channels, height, width) or (n, features), bytes or
    floats; a model sees ``(image - mean) / std`` with ``mean`` and ``std`` (channels,) or scalar,
    in the units of the images. Labels are (n,) int64 in 0 .. classes - 1.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int
    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))
    std: np.ndarray = field(default_factory=lambda: np.ones(1))

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, e.g. (3, 32, 32)."""
        return self.train_images.shape[1:]


@dataclass(frozen=True)
class File:
    """A published file: its path in the data directory, size in bytes, and checksum."""

    path: str
    nbytes: int
    algorithm: str
    checksum: str


@dataclass(frozen=True)
class DatasetEntry(Entry):
    """A registered data set; sizes are known before anything is read."""

    sample_shape: tuple[int, ...] = ()
    classes: int = 10
    train: int = 0
    test: int = 0
    files: tuple[File, ...] = ()
    obtain: str = ""
    read: Callable[[Mapping[str, bytes]], Dataset] = lambda contents: None


def data_directory(argument: str | os.PathLike | None = None) -> Path | None:
    """The data directory: the argument, else the environment variable SIMGMC_DATA, else None."""
    chosen = argument or os.environ.get(DATA_VARIABLE)
    if not chosen:
        return None
    try:
        return Path(chosen).expanduser()
    except RuntimeError:
        raise SimgmcError(f"data directory {str(chosen)!r}: there is no such user; give the whole path") from None


def require_files(names: Iterable[str], data_dir: str | os.PathLike | None = None) -> None:
    """Make sure that every file of these data sets is there and has its published size.

    Quick: reads no contents (checksums are compared when a data set is loaded).

    Raises:
        SimgmcError: unknown data set, or a file missing or of another size; says which file, where
            it was looked for and how to get it.
    """
    for name in names:
        entry = lookup("dataset", name, DATASETS)
        directory = data_directory(data_dir)
        if not entry.files:
            continue
        if directory is None:
            raise SimgmcError(
                f"dataset {name!r} needs a data directory: give --data-dir or set {DATA_VARIABLE}. "
                f"It must hold {_listing(entry)}. {entry.obtain}"
            )
        missing = [file for file in entry.files if not (directory / file.path).is_file()]
        if missing:
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise SimgmcError(
                f"dataset {name!r}: missing {missing[0].path}{others}, looked for in "
                f"{directory.absolute()} (--data-dir or {DATA_VARIABLE} names another place). "
                f"{entry.obtain}"
            )
        for file in entry.files:
            found = (directory / file.path).stat().st_size
            if found != file.nbytes:
                raise SimgmcError(
                    f"dataset {name!r}: {directory.absolute() / file.path} is damaged: {found} bytes, "
                    f"the published file has {file.nbytes}. {entry.obtain}"
                )


def load_dataset(name: str, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Read a data set, every file checked against its published checksum.

    Raises:
        SimgmcError: unknown name; a file missing, damaged or unreadable.
    """
    require_files([name], data_dir)
    entry = lookup("dataset", name, DATASETS)
    directory = data_directory(data_dir)
    contents = {}
    for file in entry.files:
        path = directory / file.path
        try:
            contents[file.path] = path.read_bytes()
        except OSError as error:
            raise SimgmcError(f"dataset {name!r}: cannot read {path}: {error.strerror}") from error
        if hashlib.new(file.algorithm, contents[file.path]).hexdigest() != file.checksum:
            raise SimgmcError(
                f"dataset {name!r}: {path.absolute()} is damaged: its {file.algorithm} differs from the "
                f"published {file.checksum}. {entry.obtain}"
            )
    return entry.read(contents)


def _listing(entry: DatasetEntry) -> str:
    return ", ".join(file.path for file in entry.files)


def read_cifar_rows(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 binary version: rows of 3073 bytes, the label, then the R, G, B planes.

    Returns:
        (n, 3, 32, 32) uint8 images and (n,) int64 labels.
    """
    if len(content) % 3073 or not content:
        raise SimgmcError(f"{name}: {len(content)} bytes are not rows of 3073")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    labels = rows[:, 0].astype(np.int64)
    if labels.max() > 9:
        raise SimgmcError(f"{name}: label {labels.max()} is not in 0 .. 9")
    return rows[:, 1:].reshape(-1, 3, 32, 32), labels


def read_idx(content: bytes, name: str) -> np.ndarray:
    """An idx file of unsigned bytes, compressed with gzip.

    Two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the values.
    """
    try:
        raw = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise SimgmcError(f"{name}: not a readable gzip file: {error}") from error
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or len(raw) < 4 + 4 * raw[3]:
        raise SimgmcError(f"{name}: not an idx file of unsigned bytes")
    shape = tuple(np.frombuffer(raw, ">u4", raw[3], 4).tolist())
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])
    if len(values) != np.prod(shape, dtype=np.int64):
        raise SimgmcError(f"{name}: {len(values)} values, its header promises {shape}")
    return values.reshape(shape)


def _read_cifar10(contents: Mapping[str, bytes]) -> Dataset:
    batches = {path: read_cifar_rows(content, path) for path, content in contents.items()}
    test = batches.pop("cifar-10-batches-bin/test_batch.bin")
    images, labels = (np.concatenate(parts) for parts in zip(*batches.values(), strict=True))
    mean, std = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])
    return Dataset("cifar10", images, labels, *test, 10, 255 * mean, 255 * std)


def _read_fashion_mnist(contents: Mapping[str, bytes]) -> Dataset:
    parts = []
    for split in ("train", "t10k"):
        images, labels = (
            read_idx(contents[path], path)
            for path in (
                f"fashion-mnist/{split}-images-idx3-ubyte.gz",
                f"fashion-mnist/{split}-labels-idx1-ubyte.gz",
            )
        )
        parts += [images[:, None], labels.astype(np.int64)]
    return Dataset("fashion-mnist", *parts, 10, 255 * np.array([0.2860]), 255 * np.array([0.3530]))


def _read_digits(contents: Mapping[str, bytes]) -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8)[:, None], bunch.target.astype(np.int64)
    # 360 of 1797 for the test, every digit in proportion, the same 360 for ever
    share = np.bincount(labels) * 360 / len(labels)
    held = np.floor(share).astype(int)
    held[np.argsort(held - share, kind="stable")[: 360 - held.sum()]] += 1
    rng = generator(0, "digits, test split")
    test = np.sort(
        np.concatenate(
            [rng.permutation(np.flatnonzero(labels == digit))[: held[digit]] for digit in range(10)]
        )
    )
    train = np.setdiff1d(np.arange(len(labels)), test)
    mean, std = images[train].mean(), images[train].std()
    return Dataset(
        "digits", images[train], labels[train], images[test], labels[test], 10,
        np.array([mean]), np.array([std]),
    )


def _read_a9a(contents: Mapping[str, bytes]) -> Dataset:
    parts = []
    for path, content in contents.items():
        values, labels = read_libsvm(content, path, 123)
        parts += [values, class_numbers(labels, path)]
    return Dataset("a9a", *parts, 2)


_CIFAR10_SHA1 = {
    "data_batch_1": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "data_batch_2": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "data_batch_3": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "data_batch_4": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "data_batch_5": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    "test_batch": "67eb016db431130d61cd03c7ad570b013799c88c",
}
_FASHION_MNIST_MD5 = {
    "train-images-idx3": (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "train-labels-idx1": (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    "t10k-images-idx3": (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
    "t10k-labels-idx1": (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
}

DATASETS: dict[str, DatasetEntry] = {
    entry.name: entry
    for entry in (
        DatasetEntry(
            "digits",
            "1797 handwritten digits, 8x8 grey, 10 classes; 1437 train / 360 test; no download",
            "Alpaydin and Kaynak 1998 (UCI), bundled with scikit-learn",
            sample_shape=(1, 8, 8), train=1437, test=360, read=_read_digits,
        ),
        DatasetEntry(
            "fashion-mnist",
            "70,000 pictures of clothing, 28x28 grey, 10 classes; 60,000 train / 10,000 test",
            "Xiao, Rasul, Vollgraf 2017",
            sample_shape=(1, 28, 28), train=60_000, test=10_000,
            files=tuple(
                File(f"fashion-mnist/{name}-ubyte.gz", nbytes, "md5", md5)
                for name, (nbytes, md5) in _FASHION_MNIST_MD5.items()
            ),
            obtain=(
                "To get it: the four .gz files that the GitHub project zalandoresearch/fashion-mnist "
                "links under 'Get the Data', into the folder fashion-mnist of the data directory."
            ),
            read=_read_fashion_mnist,
        ),
        DatasetEntry(
            "cifar10",
            "60,000 colour pictures, 32x32, 10 classes; 50,000 train / 10,000 test",
            "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
            sample_shape=(3, 32, 32), train=50_000, test=10_000,
            files=tuple(
                File(f"cifar-10-batches-bin/{name}.bin", 30_730_000, "sha1", sha1)
                for name, sha1 in _CIFAR10_SHA1.items()
            ),
            obtain=(
                "To get it: 'CIFAR-10 binary version (suitable for C programs)' on Alex Krizhevsky's "
                "CIFAR page at the University of Toronto (cs.toronto.edu/~kriz/cifar.html), its folder "
                "cifar-10-batches-bin unpacked into the data directory."
            ),
            read=_read_cifar10,
        ),
        DatasetEntry(
            "a9a",
            "census records, 123 binary features, 2 classes (income above 50,000 dollars); 32,561 train / 16,281 test",
            "Becker and Kohavi 1996 (UCI Adult); Platt 1998; LIBSVM data",
            sample_shape=(123,), classes=2, train=32_561, test=16_281,
            files=(
                File("libsvm/a9a", 2_329_875, "md5", "fb3596510d780aaf76a06dc721d49662"),
                File("libsvm/a9a.t", 1_164_628, "md5", "f0bb16cf1ee3e80ff560e9d132ee647e"),
            ),
            obtain=(
                "To get it: a9a and a9a.t from the page 'LIBSVM Data: Classification (Binary Class)' "
                "(csie.ntu.edu.tw/~cjlin/libsvmtools/datasets), into the folder libsvm of the data directory."
            ),
            read=_read_a9a,
        ),
    )
}
