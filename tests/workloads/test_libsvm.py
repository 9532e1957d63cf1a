"""LIBSVM files: what they hold, and what is refused."""

import numpy as np
import pytest

from simgmc.core.errors import SimgmcError
from simgmc.workloads.data.libsvm import class_numbers, read_libsvm


def test_a_file_is_read_as_it_is_written():
    values, labels = read_libsvm(b"-1 1:1 3:0.5 \n+1 2:-2e-1\n1\n\n", "small", 4)
    np.testing.assert_array_equal(values, np.float32([[1, 0, 0.5, 0], [0, -0.2, 0, 0], [0, 0, 0, 0]]))
    assert labels.tolist() == [-1.0, 1.0, 1.0]
    assert class_numbers(labels, "small").tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "small: holds no samples"),
        (b"1 1:1\nx 2:1", "small, line 2: not LABEL"),
        (b"1 1:1:1", "small, line 1: not LABEL"),
        (b"1 5:1", "line 1: indices must ascend from 1 to at most 4"),
        (b"1 0:1", "indices must ascend"),
        (b"1 2:1 2:1", "indices must ascend"),
        (b"1 2:nan", "not finite"),
        ("1 ½:1".encode(), "line 1: not LABEL"),
    ],
)
def test_a_broken_line_is_named(content, says):
    with pytest.raises(SimgmcError) as refusal:
        read_libsvm(content, "small", 4)
    assert says in str(refusal.value)


def test_labels_of_more_than_two_classes_are_refused():
    with pytest.raises(SimgmcError, match="labels must be -1 and"):
        class_numbers(np.array([1.0, 2.0, 3.0]), "small")
    assert class_numbers(np.array([0.0, 1.0]), "small").tolist() == [0, 1]
