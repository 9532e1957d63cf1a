"""Datasets: where their files are, that they are the published ones, and what there is.

Plain numpy: :func:`require_files` answers without torch and without reading a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simgmc.core.registry import ImportPath, Option, Registry
from simgmc.workloads.data import published_images
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.data.entries import (
    DatasetEntry,
    DigitsEntry,
    GivenEntry,
    ImportEntry,
    LibsvmEntry,
    Scale,
    SyntheticEntry,
    TextEntry,
    read_a9a,
)
from simgmc.workloads.data.published_files import File, Form, find_form, read_form


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
                    read_a9a,
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
