"""Samples that are tuples or dicts of several inputs, or of unequal shapes: plain PyTorch's steps beside a run's."""

import contextlib
import io
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, default_collate

import simgmc
from simgmc.core.errors import SimgmcError
from simgmc.results.directory.run_directory import open_run
from simgmc.scenario import ScenarioFile
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.inputs import call, in_parts
from simgmc.workloads.data.own_data import read_own
from simgmc.workloads.losses.functions import build_loss
from tests.workloads.test_losses import scenario

STEPS = 3


class Samples(Dataset):
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def made(sample, count=24, seed=0):
    rng = np.random.default_rng(seed)
    return Samples([sample(rng) for _ in range(count)])


class Two(nn.Module):
    """Of a picture and a row of numbers, in that order or by name."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.norm, self.head = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Linear(3 * 4 + 5, 3)

    def forward(self, picture, row=None, flag=None):
        found = self.norm(self.convolution(picture)).relu().flatten(1)
        found = torch.cat([found, row], 1)
        return self.head(found if flag is None else found * flag[:, None])


class Words(nn.Module):
    """Of padded words and where they are no padding."""

    def __init__(self, each=False):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head, self.each = nn.Embedding(12, 6), nn.Linear(6, 3), each

    def forward(self, input_ids, attention_mask):
        found = self.embedding(input_ids) * attention_mask[..., None]
        return self.head(found if self.each else found.sum(1) / attention_mask.sum(1, keepdim=True))


def tuple_of_three(rng):
    picture, row = torch.from_numpy(rng.normal(size=(1, 4, 4))).float(), rng.normal(size=5)
    return picture, row, int(row.sum() > 0) + int(row[0] > 0.5)


def pair_of_a_dict(rng):
    picture, row, label = tuple_of_three(rng)
    return {"picture": picture, "row": row.astype(np.float32), "flag": bool(row[1] > 0)}, label


def words(rng):
    ids = torch.from_numpy(rng.integers(1, 12, rng.integers(2, 7)))
    return {"input_ids": ids, "labels": int(ids.sum() % 3)}


def each_word(rng):
    ids = torch.from_numpy(rng.integers(1, 12, rng.integers(2, 7)))
    return ids, ids % 3


def boxes(rng):
    picture, row, label = tuple_of_three(rng)
    return (picture, row), {"label": label, "box": torch.from_numpy(rng.normal(size=2))}


def padded(samples):
    ids = nn.utils.rnn.pad_sequence([one["input_ids"] for one in samples], batch_first=True)
    return {
        "input_ids": ids,
        "attention_mask": (ids > 0).long(),
        "labels": torch.tensor([s["labels"] for s in samples]),
    }


def padded_each(samples):
    ids, labels = zip(*samples, strict=True)
    ids = nn.utils.rnn.pad_sequence(ids, batch_first=True)
    return ids, (ids > 0).long(), nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)


def of_boxes(output, target):
    return F.cross_entropy(output, target["label"]) + (output[:, :2] - target["box"]).square().mean()


CASES = {
    "a tuple of three": (tuple_of_three, None, Two, "cross-entropy", {}, F.cross_entropy),
    "a pair whose first is a dict": (pair_of_a_dict, None, Two, "cross-entropy", {}, F.cross_entropy),
    "dicts of unequal lengths, padded": (words, padded, Words, "cross-entropy", {}, F.cross_entropy),
    "a target for each of unequally many words": (
        each_word, padded_each, partial(Words, True), "cross-entropy", {"ignore_index": -100},
        lambda output, target: F.cross_entropy(output.flatten(0, 1), target.flatten(), ignore_index=-100),
    ),
    "a target that is a dict": (boxes, None, Two, "import", {"function": f"{__name__}:of_boxes"}, of_boxes),
}  # fmt: skip


def floats(part):
    return torch.utils._pytree.tree_map(lambda x: x.float() if x.is_floating_point() else x, part)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("route", [None, "plain"])
def test_gradients_buffers_and_test_losses_are_those_of_plain_torch(case, route):
    sample, collate, model, name, options, loss = CASES[case]
    train, test = made(sample), made(sample, 40, 1)
    data = read_own("own", train, test, collate=collate)
    work = ClassificationWorkload(
        model(), data, [np.arange(24)], batch=24, seed=1, threads=2, loss=build_loss(name, options), route=route
    )
    plain = model()
    whole, tested = (floats(in_parts("", (collate or default_collate)(one.samples))) for one in (train, test))
    point = work.initial_parameters()
    for step in range(STEPS):
        plain.zero_grad()
        found = loss(call(plain.train(), whole[0]), whole[1])
        found.backward()
        gradient, mine = work.gradient(0, point, step)
        right = torch.cat([one.grad.flatten() for one in plain.parameters()])
        torch.testing.assert_close(gradient, right, rtol=1e-4, atol=1e-6)
        assert mine.item() == pytest.approx(found.item(), rel=1e-5)
        point = point - 0.3 * gradient
        nn.utils.vector_to_parameters(point, plain.parameters())
    assert work.route == (route or "loop")
    with torch.no_grad():
        right = loss(call(plain.eval(), tested[0]), tested[1]).item()
    if name != "import":  # whose mean over batches is that of their means
        assert work.evaluate(point).loss == pytest.approx(right, rel=1e-5)


def test_a_run_on_own_samples_is_the_same_on_all_threads_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("simgmc.results.report.draw_plots", lambda *arguments, **options: {})
    here = "tests.workloads.test_several_inputs"
    content = scenario(
        dataset={"name": "import", "train": f"{here}:train_words", "test": f"{here}:train_words"},
        model=f"{here}:Words",
        collate=f"{here}:padded", partition={"name": "dirichlet", "alpha": 1.0}, batch_per_worker=4, steps=4,
        metric="macro-f1",
    )  # fmt: skip
    found = []
    for threads in (1, 2):
        out = tmp_path / str(threads)
        with contextlib.redirect_stdout(io.StringIO()):
            simgmc.run(content, out=out, device="cpu", threads=threads)
        found.append((out / "metrics.csv").read_bytes())
    assert found[0] == found[1]
    again = ScenarioFile.read(out / "scenario.toml").points[0].scenario.workload
    assert again.collate == f"{here}:padded" and len(open_run(out).evaluations()) == 1


def train_words():
    return made(words)


def train_tuples():
    return made(tuple_of_three)


def test_what_a_collate_function_draws_is_the_same_again_and_another_thing_at_every_step():
    def noisy(samples):
        x, y = default_collate(samples)
        return x + torch.rand(()) + np.random.rand(), y  # noqa: NPY002 - as users draw

    train = made(lambda rng: (torch.from_numpy(rng.normal(size=3)), int(rng.integers(3))))
    data = read_own("own", train, train, collate=noisy)
    first, again = (
        ClassificationWorkload(nn.Linear(3, 3), data, [np.arange(12), np.arange(12, 24)], batch=12, seed=1)
        for _ in range(2)
    )
    (x, _), (same, _), (other, _) = (
        one._training.at_step(step).worker(0) for one, step in ((first, 0), (again, 0), (first, 1))
    )
    assert torch.equal(x, same) and not torch.allclose(x.sort(0).values, other.sort(0).values)


@pytest.mark.parametrize(
    ("sample", "options", "message"),
    [
        (words, {}, r"dataset, 24 train samples from number 0: collating them failed; .* collate = \"my_data:pad\": "),
        (tuple_of_three, {"mean": 1.0}, "dataset: mean: samples that are several inputs .* are taken as they are"),
        (lambda rng: {"x": torch.rand(2), "y": 1}, {}, "is a dict of 'x', 'y': the target must be under one of"),
        (lambda rng: {"x": torch.rand(2), "label": 1, "labels": 1}, {}, "must be under one of the keys labels, label"),
        (tuple_of_three, {"collate": lambda samples: None}, "collated: is NoneType, not a pair"),
    ],
)
def test_samples_that_cannot_be_batches_are_refused_in_one_line(sample, options, message):
    with pytest.raises(SimgmcError, match=message) as caught:
        read_own("own", made(sample), made(sample), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "mlp"}, 'workload.model = "mlp": takes one array, and samples of .* are several inputs'),
        ({"augment": True}, "workload.augment: crops and flips need images, one array each"),
        ({"partition": {"name": "dirichlet", "alpha": 1.0}}, "goes by labels"),
        ({"loss": "mse"}, "targets are not one tensor each, which a loss of your own takes"),
        ({"dataset": "digits", "collate": "a:b"}, "collate.*goes with samples of your own"),
        ({"collate": "nothing"}, 'collate.*an import path, "package.module:name"'),
    ],
)
def test_settings_that_make_no_sense_with_them_are_refused_by_name(tmp_path, changes, message):
    here = "tests.workloads.test_several_inputs"
    own = {
        "dataset": {"name": "import", "train": f"{here}:train_boxes", "test": f"{here}:train_boxes"},
        "model": {"name": "import", "factory": f"{here}:Two"},
        "loss": f"{here}:of_boxes",
        "batch_per_worker": 4,
    }
    with pytest.raises(SimgmcError, match=message), contextlib.redirect_stdout(io.StringIO()):
        simgmc.run(scenario(**{**own, **changes}), out=tmp_path / "run", device="cpu")


def train_boxes():
    return made(boxes)


def test_workers_that_hold_less_than_a_batch_take_all_that_they_hold():
    x = torch.randn(20, 6)
    data = read_own("own", Samples(list(zip(x, [0, 1] * 10))), Samples(list(zip(x, [0, 1] * 10))))
    work = ClassificationWorkload(nn.Linear(6, 2), data, [np.arange(17), np.arange(17, 20)], batch=8, seed=1)
    assert work.batches_per_epoch == pytest.approx(20 / 11) and work.route == "loop"
    model = nn.Linear(6, 2)
    nn.utils.vector_to_parameters(work.initial_parameters(), model.parameters())
    loss = F.cross_entropy(model(x[17:]), torch.tensor([1, 0, 1]))
    for step in range(2):
        gradients, losses = work.gradients(work.initial_parameters()[None], step)
        right = torch.cat(
            [one.flatten() for one in torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)]
        )
        torch.testing.assert_close(gradients[1], right)
        assert losses[1].item() == pytest.approx(loss.item())
