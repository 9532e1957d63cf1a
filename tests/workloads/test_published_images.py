"""Every form in which CIFAR and MNIST are published, on small files written in the official formats."""

import copyreg
import dataclasses
import gzip
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest

from simgmc.core.errors import SimgmcError
from simgmc.workloads.data.catalogue import DATASETS, load_dataset, require_files
from simgmc.workloads.data.image_files import read_cifar_pickle
from simgmc.workloads.data.published_files import File, unpack

RNG = np.random.default_rng(0)
ROWS = 6
PARTS = {
    "cifar10": [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"],
    "cifar100": ["train", "test"],
}


def batch(classes):
    return RNG.integers(0, 256, (ROWS, 3072), dtype=np.uint8), RNG.integers(0, classes, ROWS), RNG.integers(0, 20, ROWS)


def binary(images, labels, coarse, fine):
    columns = [coarse[:, None], labels[:, None]] if fine else [labels[:, None]]
    return np.hstack([*columns, images]).astype(np.uint8).tobytes()


def python(images, labels, coarse, fine):
    """As Python 2 wrote them: byte keys, protocol 2."""
    table = {b"batch_label": b"a batch", b"data": images}
    table |= (
        {b"fine_labels": labels.tolist(), b"coarse_labels": coarse.tolist()} if fine else {b"labels": labels.tolist()}
    )
    return _python2(table)


def _python2(table):
    """A pickle whose strings are Python 2's byte strings."""

    class Pickler(pickle._Pickler):
        dispatch = pickle._Pickler.dispatch.copy()

        def save_bytes(self, value):
            self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
            self.memoize(value)

        dispatch[bytes] = save_bytes
        dispatch_table = copyreg.dispatch_table.copy()

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(table)
    return stream.getvalue()


FORMS = {"binary": (0, binary, ".bin"), "python": (2, python, "")}


def tar(contents):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path, content in contents.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def lay_out(directory, monkeypatch, name, number, contents):
    """Writes the files of a form and registers them with their sizes and checksums."""
    forms = list(DATASETS[name].forms)
    form = forms[number]
    if form.members:
        contents = {form.files[0].path: tar({"folder/readme.html": b"x"} | contents)}
    assert set(contents) == {file.path for file in form.files}
    files = []
    for file in form.files:
        path = directory / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[file.path])
        known = (file.algorithm, hashlib.new(file.algorithm, contents[file.path]).hexdigest()) if file.checksum else ()
        files.append(File(file.path, None if file.nbytes is None else len(contents[file.path]), *known))
    forms[number] = dataclasses.replace(form, files=tuple(files))
    monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], forms=tuple(forms)))


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    def make(name, version, archive):
        number, write, end = FORMS[version]
        fine = name == "cifar100"
        truth = {part: batch(100 if fine else 10) for part in PARTS[name]}
        folder = DATASETS[name].forms[number].files[0].path.partition("/")[0]
        contents = {f"{folder}/{part}{end}": write(*arrays, fine) for part, arrays in truth.items()}
        lay_out(tmp_path, monkeypatch, name, number + archive, contents)
        return tmp_path, truth

    return make


@pytest.mark.parametrize("archive", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize("version", FORMS)
@pytest.mark.parametrize("name", PARTS)
def test_cifar_reads_the_same_from_every_form(cifar, name, version, archive):
    directory, truth = cifar(name, version, archive)
    require_files([name], directory)
    data = load_dataset(name, directory)
    *train, test = (truth[part] for part in PARTS[name])
    np.testing.assert_array_equal(data.train_images.reshape(-1, 3072), np.concatenate([images for images, *_ in train]))
    np.testing.assert_array_equal(data.train_labels, np.concatenate([labels for _, labels, _ in train]))
    np.testing.assert_array_equal(data.test_images.reshape(-1, 3072), test[0])
    np.testing.assert_array_equal(data.test_labels, test[1])
    assert data.sample_shape == (3, 32, 32) and data.train_labels.dtype == np.int64
    assert data.classes == (100 if name == "cifar100" else 10)


@pytest.mark.parametrize("version", FORMS)
def test_an_archive_with_another_checksum_is_refused_with_both_sums(cifar, version):
    directory, _ = cifar("cifar100", version, True)
    path = directory / f"cifar-100-{version}.tar.gz"
    content = bytearray(path.read_bytes())
    published = hashlib.md5(content).hexdigest()
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(SimgmcError) as caught:
        load_dataset("cifar100", directory)
    message = str(caught.value)
    assert path.name in message and published in message and hashlib.md5(content).hexdigest() in message
    assert "remove it and get it again" in message and "Toronto" in message


def test_published_checksums_of_the_archives():
    # as the CIFAR page gives them, and as torchvision checks them
    known = {
        file.path: file.checksum
        for name in PARTS
        for form in DATASETS[name].forms
        if form.members
        for file in form.files
    }
    assert known == {
        "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
        "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    }


def test_what_is_missing_is_said_with_the_archives_that_would_do(tmp_path):
    with pytest.raises(
        SimgmcError,
        match=(
            r"missing cifar-100-binary/train.bin and 1 more \(or instead cifar-100-binary.tar.gz or "
            r"cifar-100-python.tar.gz\)"
        ),
    ):
        require_files(["cifar100"], tmp_path)


def test_archives_that_are_cut_or_lack_a_file_are_refused():
    whole = tar({"folder/train": b"x" * 5000})
    with pytest.raises(SimgmcError, match="some.tar.gz: not a readable tar archive"):
        unpack(whole[: len(whole) // 2], "some.tar.gz", ("folder/train",))
    with pytest.raises(SimgmcError, match="some.tar.gz: holds no folder/test"):
        unpack(whole, "some.tar.gz", ("folder/train", "folder/test"))


class Sly:
    def __reduce__(self):
        return print, ("this must not be printed",)


def test_a_pickle_that_would_run_code_is_refused(capsys):
    with pytest.raises(SimgmcError, match=r"asks for \S+print, which no CIFAR batch needs"):
        read_cifar_pickle(pickle.dumps({"data": Sly()}), "data_batch_1")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1], "not a CIFAR batch"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "needs the entries 'data' and 'labels'"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "not n rows"),
        ({"data": np.zeros((2, 3071), np.uint8), "labels": [1, 2]}, "not n rows"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}, "label 10 is not in 0 .. 9"),
    ],
)
def test_broken_cifar_batches_are_refused(table, message):
    with pytest.raises(SimgmcError, match=f"some: .*{message}"):
        read_cifar_pickle(pickle.dumps(table, protocol=2), "some")


def idx(values):
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.astype(np.uint8).tobytes()


@pytest.mark.parametrize("number", range(4), ids=["gz", "unpacked", "torchvision's folder, gz", "torchvision's folder"])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist_reads_the_same_compressed_or_not(tmp_path, monkeypatch, name, number):
    train, test = RNG.integers(0, 256, (9, 28, 28)), RNG.integers(0, 256, (4, 28, 28))
    labels = RNG.integers(0, 10, 9), RNG.integers(0, 10, 4)
    values = [train, labels[0], test, labels[1]]
    contents = {}
    for file, array in zip(DATASETS[name].forms[number].files, values, strict=True):
        contents[file.path] = gzip.compress(idx(array)) if file.path.endswith(".gz") else idx(array)
    lay_out(tmp_path, monkeypatch, name, number, contents)
    data = load_dataset(name, tmp_path)
    np.testing.assert_array_equal(data.train_images[:, 0], train)
    np.testing.assert_array_equal(data.test_images[:, 0], test)
    np.testing.assert_array_equal(data.train_labels, labels[0])
    np.testing.assert_array_equal(data.test_labels, labels[1])


def test_images_and_labels_of_different_length_are_refused(tmp_path, monkeypatch):
    values = [np.zeros((5, 28, 28)), np.zeros(4), np.zeros((2, 28, 28)), np.zeros(2)]
    files = DATASETS["mnist"].forms[1].files
    lay_out(
        tmp_path, monkeypatch, "mnist", 1, {file.path: idx(array) for file, array in zip(files, values, strict=True)}
    )
    with pytest.raises(SimgmcError, match="train-images-idx3-ubyte .* are not n images and their n labels"):
        load_dataset("mnist", tmp_path)
