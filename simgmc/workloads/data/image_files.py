"""Readers of the files in which labelled images are published: CIFAR (binary and Python), idx. Plain numpy."""

from __future__ import annotations

import gzip
import io
import pickle
import zlib
from typing import Any

import numpy as np

from simgmc.core.errors import SimgmcError


def read_cifar_rows(content: bytes, name: str, labels: int = 1, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR binary version: rows of the labels, a byte each, then the R, G, B planes of 1024 bytes.

    Args:
        labels: bytes of labels before each image; the last is the one that counts (CIFAR-100 has the
            coarse label, then the fine one).
        classes: the labels go from 0 to one below it.

    Returns:
        (n, 3, 32, 32) uint8 images and (n,) int64 labels.
    """
    width = 3072 + labels
    if len(content) % width or not content:
        raise SimgmcError(f"{name}: {len(content)} bytes are not rows of {width}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, width)
    return rows[:, labels:].reshape(-1, 3, 32, 32), _checked(rows[:, labels - 1], name, classes)


def read_cifar_pickle(
    content: bytes, name: str, key: str = "labels", classes: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR Python version: a pickled table with ``data`` (n, 3072) uint8 and the labels under ``key``.

    A pickle can run any code: only what numpy arrays are made of is let through.

    Returns:
        (n, 3, 32, 32) uint8 images and (n,) int64 labels.
    """
    try:
        table = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # whatever a damaged pickle leads to
        raise SimgmcError(f"{name}: not a readable CIFAR batch: {error}") from error
    if not isinstance(table, dict) or "data" not in table or key not in table:
        raise SimgmcError(f"{name}: not a CIFAR batch: it needs the entries 'data' and {key!r}")
    images, labels = np.asarray(table["data"]), np.asarray(table[key])
    if (
        images.dtype != np.uint8
        or images.shape != (len(labels), 3072)
        or not len(labels)
        or labels.dtype.kind not in "iu"
    ):
        raise SimgmcError(
            f"{name}: 'data' {images.dtype} {images.shape} and {key!r} {labels.shape} are not n rows of 3072 bytes and "
            "n whole numbers"
        )
    return images.reshape(-1, 3, 32, 32), _checked(labels, name, classes)


class _ArrayUnpickler(pickle.Unpickler):
    """Knows numpy arrays and nothing else that could run code."""

    _KNOWN = {
        ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
        ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    }  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR batch needs")
        return super().find_class(module, name)


def read_idx(content: bytes, name: str) -> np.ndarray:
    """An idx file of unsigned bytes, compressed with gzip or not.

    Two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the values.
    """
    raw = content
    if not content.startswith(b"\0\0"):
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


def read_idx_pair(
    images: bytes, labels: bytes, names: tuple[str, str], classes: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 1, height, width) uint8 and labels (n,) int64 from two idx files of equal length."""
    values, numbers = read_idx(images, names[0]), read_idx(labels, names[1])
    if values.ndim != 3 or numbers.ndim != 1 or len(values) != len(numbers):
        raise SimgmcError(
            f"{names[0]} {values.shape} and {names[1]} {numbers.shape} are not n images and their n labels"
        )
    return values[:, None], _checked(numbers, names[1], classes)


def _checked(labels: np.ndarray, name: str, classes: int) -> np.ndarray:
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise SimgmcError(
            f"{name}: label {labels.max() if labels.max() >= classes else labels.min()} is not in 0 .. {classes - 1}"
        )
    return labels.astype(np.int64)
