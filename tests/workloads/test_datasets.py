"""Dataset readers on the published files, and on small ones written in the official formats."""

import dataclasses
import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simgmc.core.errors import SimgmcError
from simgmc.workloads.data.catalogue import DATASETS, load_dataset, require_files
from simgmc.workloads.data.image_files import read_cifar_rows, read_idx
from simgmc.workloads.data.published_files import File, data_directory
from tests.places import PUBLISHED_DATA

needs_shared = pytest.mark.skipif(not PUBLISHED_DATA.is_dir(), reason="the published files are not here")


@pytest.fixture(autouse=True)
def no_data_directory_from_outside(monkeypatch):
    monkeypatch.delenv("SIMGMC_DATA", raising=False)


def check_against_entry(data):
    entry = DATASETS[data.name]
    assert data.sample_shape == entry.sample_shape and data.classes == entry.classes
    assert data.train_images.shape == (entry.train, *entry.sample_shape)
    assert data.test_images.shape == (entry.test, *entry.sample_shape)
    for images, labels in (
        (data.train_images, data.train_labels),
        (data.test_images, data.test_labels),
    ):
        assert images.dtype == np.uint8 and labels.dtype == np.int64
        assert len(images) == len(labels)
        assert np.unique(labels).tolist() == list(range(entry.classes))
    pixels = data.train_images.transpose(1, 0, 2, 3).reshape(entry.sample_shape[0], -1)
    np.testing.assert_allclose(pixels.mean(1), data.mean, atol=0.02)
    np.testing.assert_allclose(pixels.std(1), data.std, atol=0.05)


def test_digits_are_split_by_label_the_same_way_every_time():
    data, again = load_dataset("digits"), load_dataset("digits")
    check_against_entry(data)
    assert (data.test_images == again.test_images).all()
    share = np.bincount(data.test_labels) / np.bincount(np.concatenate([data.train_labels, data.test_labels]))
    assert abs(share - 360 / 1797).max() < 0.004
    assert data.train_images.max() == 16


@needs_shared
def test_fashion_mnist_as_published():
    data = load_dataset("fashion-mnist", PUBLISHED_DATA)
    check_against_entry(data)
    assert data.train_labels[:5].tolist() == [9, 0, 0, 3, 0]
    assert (np.bincount(data.train_labels) == 6000).all()


@pytest.fixture(scope="session")
def cifar10_directory(tmp_path_factory):
    """CIFAR-10 laid out as published (it is packed in the shared data)."""
    directory = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, PUBLISHED_DATA / "unpack.py", directory, "cifar10"], check=True)
    return directory


@needs_shared
@pytest.mark.slow
def test_cifar10_as_published(cifar10_directory, monkeypatch):
    monkeypatch.setenv("SIMGMC_DATA", str(cifar10_directory))
    require_files(["cifar10", "digits"])
    data = load_dataset("cifar10")
    check_against_entry(data)
    assert data.train_labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert (np.bincount(data.train_labels) == 5000).all()


def idx(values):
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return header + values.astype(np.uint8).tobytes()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Small files in the official formats under the real names, registered with their checksums."""
    rng = np.random.default_rng(0)
    truth = {}
    for split, count in (("train", 30), ("t10k", 12)):
        images, labels = rng.integers(0, 256, (count, 28, 28)), rng.permutation(count) % 10
        truth[split] = images, labels
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            path = tmp_path / f"fashion-mnist/{split}-{kind}-ubyte.gz"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(idx(values)))
    for number, name in enumerate((*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")):
        rows = rng.integers(0, 256, (7, 3073), dtype=np.uint8)
        rows[:, 0] = (np.arange(7) + number) % 10
        truth[name] = rows
        path = tmp_path / f"cifar-10-batches-bin/{name}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(rows.tobytes())
    for name in ("fashion-mnist", "cifar10"):
        files = []
        form = DATASETS[name].forms[0]
        for file in form.files:
            content = (tmp_path / file.path).read_bytes()
            digest = hashlib.new(file.algorithm, content).hexdigest()
            files.append(File(file.path, len(content), file.algorithm, digest))
        entry = dataclasses.replace(DATASETS[name], forms=(dataclasses.replace(form, files=tuple(files)),))
        monkeypatch.setitem(DATASETS, name, entry)
    return tmp_path, truth


def test_readers_return_what_the_official_formats_hold(small):
    directory, truth = small
    fashion = load_dataset("fashion-mnist", directory)
    assert (fashion.train_images[:, 0] == truth["train"][0]).all()
    assert (fashion.test_labels == truth["t10k"][1]).all()
    cifar = load_dataset("cifar10", str(directory))
    rows = np.concatenate([truth[f"data_batch_{i}"] for i in range(1, 6)])
    assert (cifar.train_labels == rows[:, 0]).all()
    assert (cifar.test_labels == truth["test_batch"][:, 0]).all()
    # the second byte plane of 1024 is green, row by row
    assert cifar.train_images[9, 1, 3, 5] == rows[9, 1 + 1024 + 3 * 32 + 5]


def test_a_missing_file_is_named_with_where_it_was_looked_for_and_how_to_get_it(small):
    directory, _ = small
    (directory / "cifar-10-batches-bin/data_batch_3.bin").unlink()
    for find in (lambda: require_files(["cifar10"], directory), lambda: load_dataset("cifar10", directory)):
        with pytest.raises(SimgmcError) as caught:
            find()
        message = str(caught.value)
        assert "data_batch_3.bin" in message and str(directory) in message
        assert "--data-dir" in message and "SIMGMC_DATA" in message and "Toronto" in message
        assert "\n" not in message
    require_files(["fashion-mnist", "digits"], directory)


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist"])
def test_without_a_data_directory_the_error_says_how_to_name_one(name):
    with pytest.raises(SimgmcError, match="give --data-dir or set SIMGMC_DATA"):
        require_files([name])


def test_the_argument_goes_before_the_environment(monkeypatch):
    assert data_directory() is None
    monkeypatch.setenv("SIMGMC_DATA", "/from/environment")
    assert data_directory() == Path("/from/environment")
    assert data_directory("/from/argument") == Path("/from/argument")


def test_a_truncated_file_is_found_without_reading_it(small):
    directory, _ = small
    path = directory / "cifar-10-batches-bin/test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SimgmcError, match=r"test_batch.bin is damaged: 21510 bytes.*has 21511"):
        require_files(["cifar10"], directory)


@pytest.mark.parametrize("path", ["cifar-10-batches-bin/test_batch.bin", "fashion-mnist/train-images-idx3-ubyte.gz"])
def test_one_flipped_bit_is_found_when_loading(small, path):
    directory, _ = small
    content = bytearray((directory / path).read_bytes())
    content[len(content) // 2] ^= 1
    (directory / path).write_bytes(content)
    name = "cifar10" if path.startswith("cifar") else "fashion-mnist"
    with pytest.raises(
        SimgmcError,
        match=(
            rf"{Path(path).name} is damaged: its (sha1|md5) is [0-9a-f]+, that of the published file [0-9a-f]+; "
            r"remove it"
        ),
    ):
        load_dataset(name, directory)


def test_an_unknown_dataset_suggests_the_nearest():
    with pytest.raises(SimgmcError, match='did you mean "cifar10"'):
        require_files(["cifar-10"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        gzip.compress(b""),
        gzip.compress(b"\0\0\x08\x03\0\0"),
        gzip.compress(idx(np.zeros((3, 4)))[:-1]),
        gzip.compress(b"\0\0\x0d\x01\0\0\0\0"),
        gzip.compress(idx(np.zeros((3, 4))))[:-9],
    ],
    ids=["empty", "not gzip", "nothing inside", "header cut", "data cut", "unknown type", "gzip cut"],
)
def test_broken_idx_files_are_refused(content):
    with pytest.raises(SimgmcError, match="some.gz"):
        read_idx(content, "some.gz")


def test_broken_cifar_rows_are_refused():
    for content in (b"", bytes(3072), bytes([200]) + bytes(3072)):
        with pytest.raises(SimgmcError, match="some.bin"):
            read_cifar_rows(content, "some.bin")
