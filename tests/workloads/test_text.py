"""Text in blocks, models over tokens, and what is measured of them."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from simgmc.core.errors import SimgmcError
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.catalogue import DATASETS, load_dataset
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.data.text import read_text_blocks
from simgmc.workloads.models.catalogue import build_model
from simgmc.workloads.partitions.catalogue import partition

TEXT = "the quick brown fox jumps over the lazy dog. " * 40


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8")
    return load_dataset("text", path=str(path), block=8)


def test_blocks_follow_each_other_and_labels_are_the_next_characters(data):
    characters = np.array(sorted(set(TEXT)))
    train = "".join(characters[data.train_images.ravel()])
    assert TEXT.startswith(train) and len(TEXT) * 0.9 - 9 <= len(train) <= len(TEXT) * 0.9
    assert "".join(characters[data.train_labels.ravel()]) == TEXT[1 : len(train) + 1]
    cut = len(TEXT) - int(len(TEXT) * 0.1)
    assert "".join(characters[data.test_images.ravel()]) == TEXT[cut : cut + data.test_images.size]
    assert data.classes == len(characters) and data.tokens


def test_facts_of_tiny_shakespeare_follow_from_its_published_length():
    facts = DATASETS["tiny-shakespeare"].facts({"block": 100})
    # 1,115,394 characters, the last tenth (111,539) for the test; each block needs one more to predict
    assert (facts.train, facts.test, facts.classes) == ((1_115_394 - 111_539 - 1) // 100, 111_538 // 100, 65)


def test_text_that_cannot_be_cut_or_read_is_refused():
    with pytest.raises(SimgmcError, match="20 characters; its test part needs at least block [+] 1 = 9, it has 2"):
        read_text_blocks(b"x" * 20, "a.txt", 8)
    with pytest.raises(SimgmcError, match="a.txt: not UTF-8 text: byte 3"):
        read_text_blocks(b"abc\xff" * 20, "a.txt", 8)
    with pytest.raises(SimgmcError, match="cannot read the file of dataset 'text' /nowhere/a.txt: No such file"):
        load_dataset("text", path="/nowhere/a.txt")


def workload(data, name, workers=3, **options):
    model = build_model(name, data.sample_shape, data.classes, 0, True, **options)
    owned = partition("contiguous", data.train_labels, workers, 0)
    return model, owned, ClassificationWorkload(model, data, owned, batch=4, seed=1, dtype=torch.float64)


SMALL = {"gpt": {"depth": 1, "dim": 8, "heads": 2}, "lstm": {"hidden": 6}}


@pytest.mark.parametrize("shared", [True, False], ids=["shared point", "separate points"])
@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_those_of_the_mean_cross_entropy_over_tokens(data, name, shared):
    model, _, task = workload(data, name, **SMALL[name])
    model = model.double()
    generator = torch.Generator().manual_seed(3)
    at = task.initial_parameters() + 0.1 * torch.randn(
        1 if shared else 3, task.d, generator=generator, dtype=torch.float64
    )
    gradients, losses = task.gradients(at, 2)
    trained = [p for p in model.parameters() if p.requires_grad]
    for worker in range(3):
        index = task._training.minibatches.indices(2, worker)
        nn.utils.vector_to_parameters(at[0 if shared else worker], trained)
        logits = model(torch.from_numpy(data.train_images[index]))
        loss = torch.stack(
            [
                F.cross_entropy(logits[i, j], torch.tensor(data.train_labels[index[i], j]))
                for i in range(4)
                for j in range(8)
            ]
        ).mean()
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)])
        torch.testing.assert_close(gradients[worker], expected, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(losses[worker], loss.detach(), rtol=1e-12, atol=1e-12)


def test_evaluation_counts_tokens_and_gives_bits_and_perplexity(data):
    model, _, task = workload(data, "gpt", **SMALL["gpt"])
    found = task.evaluate(task.initial_parameters())
    with torch.no_grad():
        logits = model.double()(torch.from_numpy(data.test_images)).flatten(0, 1)
    labels = torch.from_numpy(data.test_labels).flatten()
    assert found.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-12)
    assert found.accuracy == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert found.others == {"bits_per_token": found.loss / math.log(2), "perplexity": math.exp(found.loss)}


@pytest.mark.parametrize("name", SMALL)
def test_a_language_model_learns_a_text_that_repeats(data, name):
    _, _, task = workload(data, name, **SMALL[name])
    point = task.initial_parameters()
    momentum = torch.zeros_like(point)
    for step in range(150):
        momentum = 0.9 * momentum + task.gradients(point[None], step)[0].mean(0)
        point = point - 0.3 * momentum
    assert task.evaluate(point).loss < 0.8 * task.evaluate(task.initial_parameters()).loss


@pytest.mark.parametrize("name", SMALL)
def test_no_token_sees_those_after_it(data, name):
    model = build_model(name, (8,), data.classes, 0, True, **SMALL[name])
    one = torch.from_numpy(data.train_images[:2])
    other = one.clone()
    other[:, 5:] = 0
    torch.testing.assert_close(model(one)[:, :5], model(other)[:, :5], rtol=0, atol=0)


def test_the_same_bits_on_any_number_of_threads(data):
    model, owned, _ = workload(data, "lstm", **SMALL["lstm"])
    results = [
        ClassificationWorkload(model, data, owned, batch=4, seed=1, threads=threads, route="pool") for threads in (1, 3)
    ]
    points = results[0].initial_parameters() + torch.arange(3.0)[:, None] / 100
    assert torch.equal(results[0].gradients(points, 0)[0], results[1].gradients(points, 0)[0])


def test_dropout_is_drawn_from_the_seed_and_found_wherever_it_is(data):
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(data.classes, 8), nn.Linear(8, data.classes)

        def forward(self, x):
            return self.head(F.dropout(self.embed(x), 0.5, self.training))

    owned = partition("iid", data.train_labels, 2, 0)
    task = ClassificationWorkload(Hidden(), data, owned, batch=4, seed=1)
    assert task.route == "plain"
    first, again, later = (task.gradients(task.initial_parameters()[None], step)[0] for step in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, later)


@pytest.mark.parametrize(
    ("name", "message"),
    [("mlp", "cannot take samples that are tokens of a text; these can: gpt, lstm"), ("vit", "these can: gpt, lstm")],
)
def test_models_of_values_refuse_tokens(data, name, message):
    with pytest.raises(SimgmcError, match=message):
        build_model(name, data.sample_shape, data.classes, 0, True)


def test_a_model_of_tokens_refuses_values():
    with pytest.raises(SimgmcError, match="'gpt' cannot take samples that are values; these can: logistic, mlp"):
        build_model("gpt", (3, 32, 32), 10, 0)


def test_a_model_whose_output_does_not_fit_is_refused(data):
    owned = partition("iid", data.train_labels, 2, 0)
    with pytest.raises(SimgmcError, match=r"Linear: does not take a batch of shape \(4, 8\) \(int64\): RuntimeError"):
        ClassificationWorkload(nn.Linear(8, 3), data, owned, batch=4, seed=0)
    pictures = Dataset(
        "p", np.zeros((9, 8), np.float32), np.zeros(9, np.int64), np.zeros((3, 8), np.float32), np.zeros(3, np.int64), 5
    )
    with pytest.raises(SimgmcError, match=r"a tensor of shape \(4, 3\); needed are logits of shape \(4, 5\)"):
        ClassificationWorkload(
            nn.Linear(8, 3), pictures, partition("iid", pictures.train_labels, 2, 0), batch=4, seed=0
        )
