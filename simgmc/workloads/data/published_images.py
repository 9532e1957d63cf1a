"""The forms in which CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST are published, with their checksums.

Each form reads as training images, training labels, test images, test labels. Checksums are those
that the data sets' authors give for the archives and the compressed files; unpacked files
without one are checked by size and format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from simgmc.core.errors import SimgmcError
from simgmc.workloads.data.image_files import read_cifar_pickle, read_cifar_rows, read_idx_pair
from simgmc.workloads.data.published_files import File, Form

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _join(contents: Mapping[str, bytes], read: Callable[[bytes, str], tuple[np.ndarray, np.ndarray]]) -> Arrays:
    """All files but the last are training data; the last is the test set."""
    parts = [read(content, path) for path, content in contents.items()]
    train = (np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True))
    return (*train, *parts[-1])


def _cifar(
    folder: str, files: Mapping[str, tuple[int | None, str, str]], archive: File, read: Callable
) -> tuple[Form, Form]:
    """The unpacked folder, and the archive that holds it."""
    paths = tuple(f"{folder}/{name}" for name in files)
    unpacked = tuple(File(path, *known) for path, known in zip(paths, files.values(), strict=True))
    whole = partial(_join, read=read)
    return Form(unpacked, whole), Form((archive,), whole, paths)


_CIFAR10_BINARY = {
    "data_batch_1.bin": (30_730_000, "sha1", "aadd24acce27caa71bf4b10992e9e7b2d74c2540"),
    "data_batch_2.bin": (30_730_000, "sha1", "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795"),
    "data_batch_3.bin": (30_730_000, "sha1", "1dd00a74ab1d17a6e7d73e185b69dbf31242f295"),
    "data_batch_4.bin": (30_730_000, "sha1", "aab85764eb3584312d3c7f65fd2fd016e36a258e"),
    "data_batch_5.bin": (30_730_000, "sha1", "26e2849e66a845b7f1e4614ae70f4889ae604628"),
    "test_batch.bin": (30_730_000, "sha1", "67eb016db431130d61cd03c7ad570b013799c88c"),
}
_CIFAR10_PYTHON = {
    "data_batch_1": (None, "md5", "c99cafc152244af753f735de768cd75f"),
    "data_batch_2": (None, "md5", "d4bba439e000b95fd0a9bffe97cbabec"),
    "data_batch_3": (None, "md5", "54ebc095f3ab1f0389bbae665268c751"),
    "data_batch_4": (None, "md5", "634d18415352ddfa80567beed471001a"),
    "data_batch_5": (None, "md5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    "test_batch": (None, "md5", "40351d587109b95175f43aff81a1287e"),
}
CIFAR10 = (
    *_cifar(
        "cifar-10-batches-bin", _CIFAR10_BINARY,
        File("cifar-10-binary.tar.gz", 170_052_171, "md5", "c32a1d4ab5d03f1284b67883e8d87530"),
        read_cifar_rows,
    ),
    *_cifar(
        "cifar-10-batches-py", _CIFAR10_PYTHON,
        File("cifar-10-python.tar.gz", 170_498_071, "md5", "c58f30108f718f92721af3b95e74349a"),
        read_cifar_pickle,
    ),
)  # fmt: skip
CIFAR100 = (
    *_cifar(
        "cifar-100-binary",
        {"train.bin": (153_700_000, "", ""), "test.bin": (30_740_000, "", "")},
        File("cifar-100-binary.tar.gz", 168_513_733, "md5", "03b5dce01913d631647c71ecec9e9cb8"),
        partial(read_cifar_rows, labels=2, classes=100),
    ),
    *_cifar(
        "cifar-100-python",
        {"train": (None, "md5", "16019d7e3df5f24257cddd939b257f8d"),
        "test": (None, "md5", "f0ef6b0ae62326f3e7ffdfab6717acfc")},
        File("cifar-100-python.tar.gz", 169_001_437, "md5", "eb9058c3a382ffc7106e4002c42a8d85"),
        partial(read_cifar_pickle, key="fine_labels", classes=100),
    ),
)  # fmt: skip

_IDX = {  # name: bytes when unpacked
    "train-images-idx3-ubyte": 47_040_016, "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016, "t10k-labels-idx1-ubyte": 10_008,
}  # fmt: skip
_MNIST_MD5 = {
    "train-images-idx3-ubyte": (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train-labels-idx1-ubyte": (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
    "t10k-images-idx3-ubyte": (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-labels-idx1-ubyte": (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
}
_FASHION_MNIST_MD5 = {
    "train-images-idx3-ubyte": (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    "train-labels-idx1-ubyte": (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    "t10k-images-idx3-ubyte": (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
    "t10k-labels-idx1-ubyte": (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
}


def _read_idx_files(contents: Mapping[str, bytes]) -> Arrays:
    (paths, files) = zip(*contents.items(), strict=True)
    train = read_idx_pair(files[0], files[1], paths[:2])
    test = read_idx_pair(files[2], files[3], paths[2:])
    if train[0].shape[1:] != test[0].shape[1:]:
        raise SimgmcError(
            f"{paths[0]} and {paths[2]}: images of {train[0].shape[2:]} and of {test[0].shape[2:]} pixels"
        )
    return *train, *test


def _idx_forms(folders: tuple[str, ...], checksums: Mapping[str, tuple[int, str]]) -> tuple[Form, ...]:
    """Compressed and unpacked, in each folder."""
    forms = []
    for folder in folders:
        packed = tuple(File(f"{folder}/{name}.gz", nbytes, "md5", md5) for name, (nbytes, md5) in checksums.items())
        forms += [
            Form(packed, _read_idx_files),
            Form(tuple(File(f"{folder}/{name}", size) for name, size in _IDX.items()), _read_idx_files),
        ]
    return tuple(forms)


MNIST = _idx_forms(("mnist", "MNIST/raw"), _MNIST_MD5)
FASHION_MNIST = _idx_forms(("fashion-mnist", "FashionMNIST/raw"), _FASHION_MNIST_MD5)
