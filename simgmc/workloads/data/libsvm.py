"""LIBSVM files: one sample a line, a label and the features that are not zero. Plain numpy."""

from __future__ import annotations

import numpy as np

from simgmc.core.errors import SimgmcError


def read_libsvm(content: bytes, name: str, features: int) -> tuple[np.ndarray, np.ndarray]:
    """The samples of a LIBSVM file as a dense matrix.

    Lines are ``LABEL INDEX:VALUE INDEX:VALUE ...``, indices from 1 and ascending within a line.

    Args:
        content: the file.
        name: of the file, for errors.
        features: how many there are; indices above it are refused.

    Returns:
        (n, features) float32 values and (n,) float64 labels.

    Raises:
        SimgmcError: a line that is not of this form; the message says which.
    """
    lines = content.decode("ascii", "replace").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise SimgmcError(f"{name}: holds no samples")
    values, labels = np.zeros((len(lines), features), np.float32), np.zeros(len(lines))
    for number, line in enumerate(lines):
        try:
            label, *pairs = line.split()
            labels[number] = float(label)
            split = [pair.split(":") for pair in pairs]
            columns = [int(index) for index, _ in split]
            here = [float(value) for _, value in split]
        except ValueError:
            raise SimgmcError(f"{name}, line {number + 1}: not LABEL INDEX:VALUE INDEX:VALUE ...") from None
        if columns and not (
            columns[0] >= 1 and columns[-1] <= features and all(a < b for a, b in zip(columns, columns[1:]))
        ):
            raise SimgmcError(f"{name}, line {number + 1}: indices must ascend from 1 to at most {features}")
        if not (np.isfinite(labels[number]) and np.isfinite(here).all()):
            raise SimgmcError(f"{name}, line {number + 1}: a value is not finite")
        values[number, np.array(columns, np.int64) - 1] = here
    return values, labels


def count_features(content: bytes, name: str) -> int:
    """The highest index in a LIBSVM file, at least 1; what is not of the form is left to :func:`read_libsvm`."""
    highest = 1
    for line in content.decode("ascii", "replace").splitlines():
        index = line.rpartition(":")[0].rpartition(" ")[2]
        if index.isdecimal():
            highest = max(highest, int(index))
    if highest > 10_000_000:
        raise SimgmcError(f"{name}: an index of {highest:,} is above 10,000,000 features")
    return highest


def class_numbers(labels: np.ndarray, name: str) -> np.ndarray:
    """(n,) int64: 0 for the label -1 (or 0) and 1 for +1, as binary LIBSVM files write them."""
    if not np.isin(labels, (-1.0, 0.0, 1.0)).all() or {-1.0, 0.0} <= set(labels.tolist()):
        raise SimgmcError(f"{name}: labels must be -1 and +1 (or 0 and 1), found {sorted(set(labels.tolist()))[:5]}")
    return (labels > 0).astype(np.int64)
