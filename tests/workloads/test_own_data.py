"""Torch data sets of the user's own: read as they are, every mistake named with its sample."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from simgmc.core.errors import SimgmcError
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.collated import batch_of
from simgmc.workloads.data.minibatches import Samples
from simgmc.workloads.data.own_data import read_own
from simgmc.workloads.seeding import draw_from, drew


class Pairs(Dataset):
    def __init__(self, *pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]


GOOD = Pairs(([1.0, 2.0], 0), ([3.0, 4.0], 1))


def test_floats_are_read_as_they_are_and_classes_are_counted():
    x, y = torch.randn(7, 3, 4, 5), torch.arange(7) % 3
    data = read_own("own", TensorDataset(x, y), TensorDataset(x[:2], y[:2] * 3))
    np.testing.assert_array_equal(data.train_images, x.numpy())
    assert data.train_labels.tolist() == y.tolist() and data.classes == 4
    assert data.mean.tolist() == [0.0] and data.std.tolist() == [1.0] and not data.tokens


def test_bytes_stay_bytes_and_are_normalised_by_channel():
    x = torch.randint(0, 256, (5, 3, 2, 2), dtype=torch.uint8)
    data = read_own(
        "own",
        TensorDataset(x, torch.zeros(5, dtype=torch.int64)),
        TensorDataset(x, torch.ones(5, dtype=torch.int32)),
        mean=[1, 2, 3],
        std=2,
    )
    assert data.train_images.dtype == np.uint8 and data.mean.tolist() == [1, 2, 3] and data.std.tolist() == [2]


def test_images_of_the_imaging_library_have_their_channels_first():
    image = pytest.importorskip("PIL.Image").fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    data = read_own("own", Pairs((image, 0)), Pairs((image, np.int64(1))))
    np.testing.assert_array_equal(data.train_images[0, 1], [[1, 4, 7, 10], [13, 16, 19, 22]])


def test_whole_numbers_are_tokens_with_one_label_or_one_each():
    x = torch.arange(12).view(3, 4)
    one = read_own("own", TensorDataset(x, torch.tensor([0, 1, 1])), TensorDataset(x, torch.tensor([0, 1, 0])))
    assert one.tokens and one.classes == 2 and one.train_images.dtype == np.int64
    each = read_own("own", TensorDataset(x, x + 1), TensorDataset(x, x))
    assert each.tokens and each.classes == 13 and each.train_labels.shape == (3, 4)


def test_what_a_data_set_draws_is_the_same_every_time_and_leaves_torch_alone():
    class Noisy(Pairs):
        def __getitem__(self, index):
            return torch.rand(3) + np.random.rand() + random.random(), index  # noqa: NPY002 - as users draw

    draw_from(3)
    first, again = (read_own("own", Noisy(1, 2), Noisy(1, 2)) for _ in range(2))
    np.testing.assert_array_equal(first.train_images, again.train_images)
    assert not drew(3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64])
def test_blocks_of_whole_numbers_of_every_type_are_tokens(dtype):
    pairs = Pairs((np.array([1, 2, 3], dtype), 0), (np.array([4, 5, 6], dtype), 1))
    data = read_own("own", pairs, pairs)
    assert data.tokens and data.train_images.dtype == np.int64 and data.train_images[1].tolist() == [4, 5, 6]


def test_tokens_and_values_are_not_mixed():
    with pytest.raises(SimgmcError, match=r"train samples are tokens \(int64\), test samples are values \(float32\)"):
        read_own("own", Pairs(([1, 2], 0)), Pairs(([1.0, 2.0], 0)))


def test_every_channel_has_its_mean_and_deviation_whatever_the_shape():
    for shape in ((4,), (4, 3), (4, 3, 2), (4, 2, 3, 2)):
        x = torch.randn(5, *shape)
        mean, std = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 8.0]
        pairs = TensorDataset(x, torch.zeros(5, dtype=torch.int64))
        data = read_own("own", pairs, pairs, mean=mean, std=std)
        samples = Samples(
            data.train_images, data.train_labels, data.mean, data.std, torch.device("cpu"), torch.float32, False
        )
        broad = (-1, *[1] * (len(shape) - 1))
        right = (x - torch.tensor(mean).view(broad)) / torch.tensor(std).view(broad)
        torch.testing.assert_close(samples.take(torch.arange(5))[0], right)


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        (torch.tensor([0.5, 1.5, -2.0]), np.float32),
        (torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16), np.float32),
        (torch.rand(3, 2, 4, dtype=torch.float64), np.float32),
        (torch.tensor([[True, False]] * 3), np.int64),
        (torch.tensor([[[-100]], [[3]], [[7]]]), np.int64),
    ],
)
def test_targets_have_any_shape_and_type(targets, kind):
    data = read_own("own", TensorDataset(torch.rand(3, 5), targets), TensorDataset(torch.rand(3, 5), targets))
    assert data.train_labels.dtype == kind and data.train_labels.shape == targets.shape
    np.testing.assert_allclose(data.test_labels, targets.double().numpy(), rtol=1e-7)


def test_progress_hears_of_every_sample():
    heard = []
    read_own("own", GOOD, GOOD, progress=lambda *news: heard.append(news))
    assert heard == [("train", 1, 2), ("train", 2, 2), ("test", 1, 2), ("test", 2, 2)]


def failing(index):
    raise KeyError("no such picture")


class Failing(Pairs):
    def __getitem__(self, index):
        return failing(index)


class Endless(Pairs):
    def __len__(self):
        return 10**18


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (iter([1]), "can only be gone through in its own order"),
        (Pairs(), "dataset, train: holds no samples"),
        (Pairs(3), "train sample 0: is int, not a pair"),
        (Pairs(([1.0], 0), ([1.0, 2.0], 0)), r"train sample 1: has shape \(2,\), sample 0 has \(1,\)"),
        (Pairs(([1.0, 2.0], 0), ([1.0, 2.0], 0.5)), "train sample 1: its label is float32, that of sample 0 int64"),
        (Pairs(([1.0, 2.0], 0.5)), "own: targets of train samples are float32, those of test samples int64"),
        (Pairs(([1.0, 2.0], "cat")), r"train sample 0: label cat \(str\) is no number"),
        (Pairs(([1.0, 2.0], 0), ([1.0, float("nan")], 0)), "train sample 1: holds a value that is not finite"),
        (Pairs(("cat", 0)), r"its values are str \(<U3, shape \(\)\), not an array of numbers"),
        (Pairs(([[1.0], [1.0, 2.0]], 0)), "sample 0: its values cannot be made an array: ValueError"),
        (Pairs(([1.0, 2.0], [0, 1])), r"labels of train samples have shape \(2,\), those of test samples \(\)"),
        (Pairs(([1, 2], 0), ([1.5, 2.0], 0)), "train sample 1: holds float64, sample 0 whole numbers"),
        (
            Failing(1),
            r"reading it failed: KeyError: 'no such picture' \(.*test_own_data.py, line \d+, in failing; "
            r".*test_own_data.py, line \d+, in __getitem__\)",
        ),
        (
            Pairs(([1.0, 2.0], 10**30)),
            r"label 1000000000000000000000000000000 \(int\) is no number of at most 64 bits",
        ),
        (Pairs(([1.0, 2.0], [[1], [1, 2]])), "train sample 0: its label cannot be made an array: ValueError"),
        (Pairs((torch.ones(2).to_sparse(), 0)), "train sample 0: its values cannot be made an array: TypeError"),
        (
            Pairs((torch.ones(2, device="meta"), 0)),
            "train sample 0: its values cannot be made an array: NotImplementedError",
        ),
        (Endless(([1.0, 2.0], 0)), r"train: 1,000,000,000,000,000,000 samples of shape \(2,\): making room failed"),
        (Pairs(([1.0], 0)), r"values of train samples have shape \(1,\), those of test samples \(2,\)"),
    ],
)
def test_mistakes_are_named(train, message):
    with pytest.raises(SimgmcError, match=message) as caught:
        read_own("own", train, GOOD)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"std": 0.0}, "std = 0.0: must be above 0"),
        ({"std": 1e-320}, "must be above 0, and above 1e-30"),
        ({"std": float("inf")}, "std = inf: give one number, or one for each channel, of less than 1e[+]30"),
        ({"mean": float("nan")}, "mean = nan: give one number"),
        ({"mean": "white"}, "mean = white: it is no number or list of numbers"),
        ({"mean": [[1.0], [1.0, 2.0]]}, "it is no number or list of numbers"),
        ({"mean": [1.0, 2.0, 3.0]}, "give one number, or one for each of the 2 channels"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(SimgmcError, match=message):
        read_own("own", GOOD, GOOD, **options)


class Drawn(torch.utils.data.Dataset):
    """Random transforms by all three generators, as a pair or in a dict."""

    def __init__(self, several=False):
        self.several = several

    def __len__(self):
        return 24

    def __getitem__(self, index):
        x = torch.arange(6.0) * index / 50 + torch.rand(6) + np.random.rand() + random.random()  # noqa: NPY002
        return {"x": x, "labels": index % 2} if self.several else (x, index % 2)


class OfX(nn.Linear):
    def forward(self, x):
        return super().forward(x)


@pytest.mark.parametrize("several", [False, True])
def test_random_transforms_are_drawn_anew_for_every_minibatch_by_a_seed_of_its_own(several):
    def minibatches(threads):
        torch.rand(threads)  # whatever was drawn before
        data = read_own("own", Drawn(several), Drawn(several))
        torch.manual_seed(0)
        work = ClassificationWorkload(OfX(6, 2), data, [range(12), range(12, 24)], batch=4, seed=1, threads=threads)
        at = work.initial_parameters()[None]
        found = [work.gradients(at, step)[0] for step in (0, 1, 3)]
        rows = at.repeat(2, 1)
        assert torch.equal(work.gradients_of([1, 0], rows, [3, 3])[0], found[2].flip(0))
        first = [work._training.at_step(step).worker(0)[0] for step in range(0, 6, 3)]  # three steps are a pass
        return found, [one["x"] if several else one for one in first], work.evaluate(at[0]).loss

    (one, first, loss), (two, _, again) = minibatches(1), minibatches(2)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True)) and loss == again
    lowest = [rows.min(0).values for rows in first]
    assert not torch.equal(*lowest)  # the second pass draws others


def test_what_changes_by_a_generator_of_its_own_is_kept_and_said():
    class Counted(Pairs):
        reads = 0

        def __getitem__(self, index):
            Counted.reads += 1
            return torch.ones(3) * Counted.reads, index

    data = read_own("own", Counted(1, 2), Pairs((torch.ones(3), 0)))
    assert data.anew is None and data.train_images[:, 0].tolist() == [2, 3]  # the first tells tuples
    assert data.notes == (
        "train samples change from one reading to the next, also by something else than the generators of torch, numpy "
        "and Python: they are kept as they were read at first",
    )


def test_what_cannot_be_read_by_number_is_refused_with_what_would_do():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield torch.ones(3), 0

        def __len__(self):
            return 1

    pairs = Pairs((torch.ones(3), 0))
    for given, words in (
        (Stream(), r"train: Stream can only be gone through in its own order.*list\(\.\.\.\)"),
        (iter([(torch.ones(3), 0)]), r"train: list_iterator can only be gone through"),
        (torch.utils.data.DataLoader(pairs), r"train: is a DataLoader.*loader\.dataset.*collate"),
    ):
        with pytest.raises(SimgmcError, match=words):
            read_own("own", given, pairs)


def test_a_data_set_may_give_one_buffer_again_and_again_and_a_collate_function_change_what_it_gets():
    buffer = torch.zeros(3)

    class Reused(Pairs):
        def __getitem__(self, index):
            return {"x": buffer.fill_(index), "labels": index}

    def changes(samples):
        for one in samples:
            one["x"].add_(1)
        return torch.utils.data.default_collate(samples)

    data = read_own("own", Reused(1, 2, 3), Reused(1, 2), collate=changes)
    for _ in range(2):
        assert batch_of(data.train_images, [0, 1, 2], 0)[0]["x"][:, 0].tolist() == [1, 2, 3]
