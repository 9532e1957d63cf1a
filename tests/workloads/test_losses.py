"""Losses: plain PyTorch's steps beside a run's, torch's own on a whole test set, and what is refused."""

import contextlib
import csv
import io
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import nn
from torch.utils.data import TensorDataset

import simgmc
from simgmc.cli import main
from simgmc.core.errors import SimgmcError
from simgmc.results.series.measures import MEASURES
from simgmc.scenario import ScenarioFile
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.own_data import read_own
from simgmc.workloads.losses.catalogue import LOSSES
from simgmc.workloads.losses.functions import build_loss
from simgmc.workloads.metrics import build_metric
from simgmc.workloads.partitions.catalogue import partition

WORKERS, BATCH = 2, 16


def scenario(loss=None, steps=3, metric=None, **workload):
    workload |= {} if loss is None else {"loss": loss}
    return {
        "seeds": [1],
        "workload": {
            "workers": WORKERS,
            "batch_per_worker": BATCH,
            "rounds": steps,
            "evaluate_every": "1 round",
            **workload,
        },
        "optimizer": {"learning_rate": 0.3, "momentum": 0.0},
        "cluster": {
            "bandwidth": "1 Mbit/s",
            "latency": "5 ms",
            "collective": "ring",
            "compute": {"gradient": "5 ms", "compression": "1 ms", "aggregation": "1 ms"},
        },
        "methods": [{"algorithm": "sgd"}],
        "report": {} if metric is None else {"metric": metric},
    }


def run(content, out, **options):
    """(test losses, test accuracies) of a run, as ``metrics.csv`` has them."""
    with contextlib.redirect_stdout(io.StringIO()):
        directory = simgmc.run(content, out=out, device="cpu", **options)
    with (directory / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [float(row["test_loss"]) for row in rows], [row["test_accuracy"] for row in rows]


def plain(model, train, test, loss, steps=3):
    """The same with torch alone, the whole training set in every step."""
    (x, y), (xt, yt) = train.tensors, test.tensors
    optimizer, found = torch.optim.SGD(model.parameters(), 0.3), []
    for step in range(steps + 1):
        with torch.no_grad():
            found.append(loss(model(xt), yt).item())
        if step < steps:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
    return found


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def values(count, seed, features=6):
    return torch.randn(count, features, generator=drawn(seed))


def pictures(count, seed):
    return torch.randn(count, 2, 5, 4, generator=drawn(seed))


def linear(outputs, *after):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, outputs), *after)


def convolution(outputs):
    torch.manual_seed(0)
    return nn.Conv2d(2, outputs, 3, padding=1)


def class_numbers(x):
    return (x[:, :3].sum(1) > 0).long() + (x[:, 3] > 0.5).long()


def of_pixels(x, border=None):
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    if border is not None:
        y[:, 0] = border
    return y


def squeezed(function):
    return lambda output, target: function(output.squeeze(-1), target.float())


def focal(output, target, gamma=2.0):
    """A loss of one's own."""
    wrong = F.cross_entropy(output, target, reduction="none")
    return ((1 - (-wrong).exp()) ** gamma * wrong).mean()


WEIGHTS = [0.5, 1.0, 2.5]
CASES = {
    "cross-entropy": ("cross-entropy", values, class_numbers, partial(linear, 3), F.cross_entropy),
    "smoothed and weighted": (
        {"name": "cross-entropy", "label_smoothing": 0.1, "class_weights": WEIGHTS},
        values, class_numbers, partial(linear, 3),
        nn.CrossEntropyLoss(torch.tensor(WEIGHTS), label_smoothing=0.1),
    ),
    "class probabilities": (
        "cross-entropy", values, lambda x: x[:, :3].softmax(1), partial(linear, 3), F.cross_entropy,
    ),
    "a class for each pixel": ("cross-entropy", pictures, of_pixels, partial(convolution, 3), F.cross_entropy),
    "some pixels ignored": (
        {"name": "cross-entropy", "ignore_index": 255, "class_weights": WEIGHTS},
        pictures, partial(of_pixels, border=255), partial(convolution, 3),
        nn.CrossEntropyLoss(torch.tensor(WEIGHTS), ignore_index=255),
    ),
    "yes or no": (
        "binary-cross-entropy", values, lambda x: (x[:, 0] > 0).long(), partial(linear, 1),
        squeezed(F.binary_cross_entropy_with_logits),
    ),
    "multi-label": (
        {"name": "binary-cross-entropy", "positive_weights": WEIGHTS},
        values, lambda x: x[:, :3] > 0, partial(linear, 3),
        lambda output, target: nn.BCEWithLogitsLoss(pos_weight=torch.tensor(WEIGHTS))(output, target.float()),
    ),
    "a mask": (
        "binary-cross-entropy", pictures, lambda x: (x[:, :1] > 0).float(), partial(convolution, 1),
        F.binary_cross_entropy_with_logits,
    ),
    "one value": ("mse", values, lambda x: x.square().sum(1), partial(linear, 1), squeezed(F.mse_loss)),
    "values in an array": (
        "l1", values, lambda x: x.double().reshape(-1, 3, 2).cos(), partial(linear, 6, nn.Unflatten(1, (3, 2))),
        lambda output, target: F.l1_loss(output, target.float()),
    ),
    "huber": (
        {"name": "huber", "delta": 0.3}, values, lambda x: x.square(), partial(linear, 6),
        partial(F.huber_loss, delta=0.3),
    ),
    "torch's own by import path": (
        {"name": "import", "function": "torch.nn:SmoothL1Loss", "beta": 0.2}, values, lambda x: x.square(),
        partial(linear, 6), partial(F.smooth_l1_loss, beta=0.2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_steps_and_test_losses_are_those_of_plain_torch(case):
    loss, inputs, targets, model, function = CASES[case]
    train, test = (TensorDataset(x, targets(x)) for x in (inputs(32, 0), inputs(300, 1)))
    data = read_own("own", train, test)
    work = ClassificationWorkload(
        model(), data, [np.arange(32)], batch=32, seed=1, threads=1, loss=build_loss(*LOSSES.read(loss))
    )
    point, found = work.initial_parameters(), []
    for step in range(4):
        found.append(work.evaluate(point).loss)
        point -= 0.3 * work.gradients(point[None], step)[0][0]
    right = plain(model(), train, test, function)
    assert found == pytest.approx(right, rel=2e-5) and right[-1] < right[0]


def test_a_run_makes_the_steps_of_plain_torch(tmp_path):
    loss, inputs, targets, model, function = CASES["one value"]
    train, test = (TensorDataset(x, targets(x)) for x in (inputs(WORKERS * BATCH, 0), inputs(300, 1)))
    found, accuracies = run(scenario(loss), tmp_path / "run", train=train, test=test, model=model)
    assert found == pytest.approx(plain(model(), train, test, function), rel=2e-5) and set(accuracies) == {""}


def test_a_function_from_python_or_from_the_scenarios_folder_is_the_loss(tmp_path):
    x, xt = values(WORKERS * BATCH, 0), values(300, 1)
    train, test = TensorDataset(x, class_numbers(x)), TensorDataset(xt, class_numbers(xt))
    model, data = partial(linear, 3), {"train": train, "test": test}
    found, accuracies = run(scenario(), tmp_path / "given", loss=focal, model=model, **data)
    assert found == pytest.approx(plain(model(), train, test, focal), rel=1e-5) and float(accuracies[-1]) > 0.3

    (tmp_path / "my_loss.py").write_text("def twice(output, target, times=2.0):\n    return times * output.mean()\n")
    for loss in ("my_loss:twice", {"name": "import", "function": "my_loss:twice", "times": 2}):
        anchored = ScenarioFile(
            {"name": "run", **scenario(loss, dataset="digits", model="logistic")}, "x.toml", (), tmp_path
        )
        chosen = anchored.points[0].scenario.workload.loss
        assert anchored.code.used["my_loss"].file == str(tmp_path / "my_loss.py") and chosen.title == "my_loss:twice"
        built = build_loss(chosen.name, chosen.options)
        assert built(torch.tensor([[1.0, 3.0]]), torch.tensor([0])).item() == 4.0
    varied = {**scenario(dataset="digits", model="logistic"), "grid": {"workload.loss": ["my_loss:twice", "mse"]}}
    points = ScenarioFile({"name": "run", **varied}, "x.toml", (), tmp_path).points
    assert [point.scenario.workload.loss.title for point in points] == ["my_loss:twice", "mse"]


def test_accuracy_is_there_where_answers_are_right_or_wrong():
    x = values(300, 1)
    for loss, targets, outputs, right in (
        ("cross-entropy", class_numbers(x), 3, lambda o, y: o.argmax(1) == y),
        ("binary-cross-entropy", x[:, :3] > 0, 3, lambda o, y: (o > 0) == y),
        ("mse", x[:, 0], 1, None),
    ):
        model = linear(outputs)
        found = workload(model, x, targets, loss).evaluate(nn.utils.parameters_to_vector(model.parameters()).detach())
        share = right and right(model(x), targets).double().mean().item()
        assert found.accuracy == (pytest.approx(share) if right else None)
    ignored = class_numbers(x).masked_fill(x[:, 0] > 0, -1)
    model = linear(3)
    found = workload(model, x, ignored, "cross-entropy", ignore_index=-1)
    assert found.evaluate(found.initial_parameters()).accuracy == pytest.approx(
        (model(x).argmax(1) == ignored)[ignored >= 0].double().mean().item()
    )


class Balanced(nn.Module):
    """Weighs classes by how often it has met them, a running mean of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("met", torch.ones(3))
        self.calls = 0

    def forward(self, output, target):
        self.met.mul_(0.5).add_(target.bincount(minlength=3))
        self.calls += 1
        return F.cross_entropy(output, target, 1 / self.met) / (1 + self.calls)


def counting():
    calls = []

    def function(output, target):
        calls.append(len(target))
        return F.cross_entropy(output, target) / len(calls)

    return function


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("make", [Balanced, counting])
def test_a_loss_that_keeps_something_is_each_workers_own_as_in_plain_torch(make, threads):
    x = values(24, 0)
    data = read_own("own", TensorDataset(x, class_numbers(x)), TensorDataset(x, class_numbers(x)))
    found = build_loss("given", {"what": "mine"}, make())
    owned = [np.arange(0, 12), np.arange(12, 24)]
    work = ClassificationWorkload(linear(3), data, owned, batch=4, seed=1, threads=threads, loss=found)
    assert work.route == "plain" and "changes in a pass" in work.reasons[0]
    point, model, losses = work.initial_parameters(), linear(3), [make(), make()]
    states = []
    for step in range(4):
        states.append((point, work.state_dict()))
        work.evaluate(point)  # which changes nothing
        gradients, _ = work.gradients(point[None], step)
        for worker in range(2):
            nn.utils.vector_to_parameters(point.clone(), model.parameters())
            given, target = work._training.at_step(step).worker(worker)
            right = torch.autograd.grad(losses[worker](model(given), target), list(model.parameters()))
            torch.testing.assert_close(gradients[worker], torch.cat([one.flatten() for one in right]))
        point = point - 0.3 * gradients.mean(0)
    at, state = states[2]
    expected = work.gradients(states[3][0][None], 3)  # another state by now
    work.load_state_dict(state)
    again, _ = work.gradients(at[None], 2)
    torch.testing.assert_close(at - 0.3 * again.mean(0), states[3][0])
    assert expected is not None


def test_only_the_plain_cross_entropy_of_class_numbers_takes_the_route_of_linear_chains():
    x = values(40, 0)
    assert workload(linear(3), x, class_numbers(x), "cross-entropy").route == "split"
    assert workload(linear(3), x, class_numbers(x), "cross-entropy", label_smoothing=0.1).route == "loop"
    assert workload(linear(3), x, x[:, :3].softmax(1), "cross-entropy").route == "loop"
    assert workload(linear(3), x, x[:, :3], "mse").route == "loop"


def workload(model, x, targets, loss, metric="accuracy", **options):
    data = read_own("own", TensorDataset(x, targets), TensorDataset(x, targets))
    owned = partition("iid", data.train_labels, WORKERS, 0)
    return ClassificationWorkload(
        model,
        data,
        owned,
        batch=4,
        seed=1,
        threads=1,
        loss=(built := build_loss(loss, options)),
        metric=build_metric(metric, built.outputs(data)),
    )


X = values(40, 0)


@pytest.mark.parametrize(
    ("targets", "outputs", "loss", "options", "message"),
    [
        (X[:, 0], 3, "cross-entropy", {}, r"needs class numbers .*; the train targets are float32 .*loss = \"mse\""),
        (X[:, :3], 3, "cross-entropy", {}, r"probabilities that sum to 1; the train targets are float32 of shape"),
        (class_numbers(X) - 1, 3, "cross-entropy", {}, "train sample 0: label -1 is below 0"),
        (class_numbers(X) * 10**9, 3, "cross-entropy", {}, "train sample .*: label 1000000000 is not below 1,000,000"),
        (class_numbers(X), 2, "cross-entropy", {}, r"made of .* a tensor of shape \(.*2\); needed are logits of shape"),
        (class_numbers(X), 3, "cross-entropy", {"class_weights": [1.0]}, "has 1 numbers; the data have 3 classes"),
        (X[:, :3].softmax(1), 3, "cross-entropy", {"ignore_index": 0}, "ignore_index needs class numbers"),
        (class_numbers(X), 1, "binary-cross-entropy", {}, "train sample .*: binary-cross-entropy needs targets from 0"),
        (X[:, :3] > 0, 3, "binary-cross-entropy", {"positive_weights": [1.0, 2.0]}, "2 numbers; the targets have 3"),
        (X[:, :3] > 0, 2, "binary-cross-entropy", {}, r"shape \(.*2\); needed are values of shape \(.*3\)"),
        (X[:, 0], 40, "mse", {}, r"shape \(.*40\); needed are values of shape \(4,\)"),
        (X[:, 0] / 0, 1, "mse", {}, "train sample 0: its target is not finite"),
        (class_numbers(X), 3, "huber", {"delta": 0}, "delta = 0: must be a number above 0"),
        (class_numbers(X), 3, "cross-entropy", {"smoothing": 1}, 'no option "smoothing"'),
        (class_numbers(X), 3, "focal", {}, 'unknown loss "focal"'),
        (class_numbers(X), 3, "import", {"function": "torch:no_such"}, "workload.loss: torch:no_such: .* has no"),
        (class_numbers(X), 3, "import", {"function": "math:pi"}, "math:pi is float, not a function"),
        (
            X,
            6,
            "import",
            {"function": "torch.nn.functional:mse_loss", "reduction": "none"},
            r"a tensor of shape \(4, 6",
        ),
        (class_numbers(X), 3, "import", {"function": "torch:dist"}, "loss torch:dist: failed: RuntimeError"),
        (class_numbers(X), 3, "given", {"what": "f"}, "it was given from Python; give it again"),
        (X, 6, "import", {"function": "torch.nn:PReLU"}, "loss torch.nn:PReLU: has parameters of its own"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(targets, outputs, loss, options, message):
    with pytest.raises(SimgmcError, match=message) as caught:
        workload(linear(outputs), X, targets, loss, **options)
    assert "\n" not in str(caught.value)


def test_scenarios_name_losses_and_measures_that_go_with_them():
    def read(**options):
        return ScenarioFile({"name": "x", **scenario(dataset="digits", model="logistic", **options)}, "x.toml")

    assert read().points[0].scenario.report.metric == "accuracy"
    assert read(loss="mse").points[0].scenario.report.metric == "loss"
    with pytest.raises(SimgmcError, match='measured by one of: loss: .*metric = "accuracy"|metric.*measured by'):
        read(loss="mse", metric="accuracy")
    for loss, words in (
        ("mape", 'unknown loss; .*"mse"|unknown loss'),
        ({"name": "cross-entropy", "label_smoothing": 1.0}, "label_smoothing = 1.0: must be a number .*below 1"),
        ({"name": "cross-entropy", "class_weights": [1.0, -1.0]}, "class_weights = .*numbers of at least 0"),
    ):
        with pytest.raises(SimgmcError, match=words):
            read(loss=loss)
    assert "huber" in CliRunner().invoke(main, ["list", "losses"]).output


def test_metrics_are_those_of_their_definitions():
    x, generator = values(600, 1), drawn(3)
    targets = torch.randint(0, 8, (600,), generator=generator)
    model = linear(9)
    guesses = model(x).argmax(1)
    wrong = (guesses != targets).double().mean().item()
    loss = F.cross_entropy(model(x), targets).item()
    scores = []
    for one in set(targets.tolist()) | set(guesses.tolist()):
        both = ((guesses == one) & (targets == one)).sum().item()
        scores.append(2 * both / ((guesses == one).sum() + (targets == one).sum()).item())
    order = model(x).argsort(1, descending=True)[:, :5].tolist()
    top = sum(y in row for row, y in zip(order, targets.tolist(), strict=True)) / 600
    for metric, right in (
        ("error", wrong), ("macro-f1", sum(scores) / len(scores)), ("top-5", top),
        ("perplexity", np.exp(loss)), ("bits-per-token", loss / np.log(2)),
    ):  # fmt: skip
        work = workload(model, x, targets, "cross-entropy", metric)
        assert work.evaluate(work.initial_parameters()).others == {metric.replace("-", "_"): pytest.approx(right)}
    with pytest.raises(SimgmcError, match='"top-5": of 3 classes five always hold the right one'):
        workload(linear(3), x, class_numbers(x), "cross-entropy", "top-5")


def test_macro_f1_of_labels_is_the_mean_of_each_labels_own():
    x, targets = values(600, 1), values(600, 2)[:, :3] > 0.5
    model = linear(3)
    guesses, scores = model(x) > 0, []
    for label in range(3):
        both = (guesses[:, label] & targets[:, label]).sum().item()
        scores.append(2 * both / (guesses[:, label].sum() + targets[:, label].sum()).item())
    work = workload(model, x, targets, "binary-cross-entropy", "macro-f1")
    assert work.evaluate(work.initial_parameters()).others == {"macro_f1": pytest.approx(sum(scores) / 3)}


def rank_correlation(outputs, targets):
    """A metric of one's own, of the whole test set."""
    assert len(outputs) == len(targets) == 360
    return float(np.corrcoef(outputs.argmax(1), targets)[0, 1])


class Missed:
    """One as torchmetrics writes them: the lower the better."""

    def __init__(self):
        self.missed = self.seen = 0

    def update(self, output, target):
        self.missed, self.seen = self.missed + (output.argmax(1) != target).sum(), self.seen + len(target)

    def compute(self):
        return self.missed / self.seen


@pytest.mark.parametrize(
    ("function", "better", "target"), [("rank_correlation", "higher", -0.5), ("Missed", "lower", 0.9)]
)
def test_a_metric_of_ones_own_has_its_direction_in_targets_tables_and_figures(
    tmp_path, monkeypatch, with_plots, function, better, target
):
    path = f"tests.workloads.test_losses:{function}"
    content = scenario(metric=path, dataset="digits", model="logistic")
    content["report"] |= {"better": better, "target": target}
    run(content, tmp_path / "run")
    with (tmp_path / "run" / "other_metrics.csv").open() as file:
        found = [float(one["value"]) for one in csv.DictReader(file) if one["name"] == path]
    with (tmp_path / "run" / "metrics.csv").open() as file:
        accuracies = [float(one["test_accuracy"]) for one in csv.DictReader(file)]
    if function == "Missed":
        assert found == pytest.approx([1 - one for one in accuracies], abs=1e-6)
    with (tmp_path / "run" / "summary.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["seeds_reached"] == "1" and float(row[f"final_{path}_mean"]) == found[-1]
    assert (tmp_path / "run" / "plots" / f"{function}_vs_time.png").is_file()
    assert ScenarioFile.read(tmp_path / "run" / "scenario.toml").points[0].scenario.report.better == better


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"metric": "m:f"}, 'better: missing; say which values of m:f are better: better = "higher" or "lower"'),
        ({"metric": "accuracy", "better": "lower"}, "better.*of accuracy it is known; leave it out"),
        ({"metric": "acuracy"}, 'metric.*unknown metric; .*accuracy.*or one of your own, "package.module:name"'),
        ({"metric": "perplexity", "target": -1}, "target.*must be above 0"),
        ({"metric": "math:pi", "better": "higher"}, "report.metric: math:pi is float, neither a function"),
        ({"metric": "torch:dist", "better": "higher"}, "report.metric: torch:dist: failed: RuntimeError"),
        ({"metric": "builtins:repr", "better": "higher"}, "report.metric: builtins:repr: failed: TypeError"),
    ],
)
def test_a_metric_that_is_none_is_refused_in_one_line(tmp_path, report, message):
    content = scenario(dataset="digits", model="logistic") | {"report": report}
    with pytest.raises(SimgmcError, match=message) as caught:
        run(content, tmp_path / "run")
    assert "\n" not in str(caught.value).strip().removeprefix("given in Python:").strip()


def test_a_target_in_a_metric_is_reached_from_its_side(tmp_path):
    assert MEASURES["top-5"].reached(np.array([0.4, 0.6]), 0.5).tolist() == [False, True]
    assert MEASURES["error"].reached(np.array([0.4, 0.6]), 0.5).tolist() == [True, False]
    content = scenario(metric="perplexity", dataset="digits", model="logistic")
    content["report"]["target"] = 9.0
    run(content, tmp_path / "run")
    with (tmp_path / "run" / "summary.csv").open() as file:
        (row,) = csv.DictReader(file)
    with (tmp_path / "run" / "other_metrics.csv").open() as file:
        found = [float(one["value"]) for one in csv.DictReader(file) if one["name"] == "perplexity"]
    assert (
        len(found) == 4
        and row["seeds_reached"] == "1"
        and found[-1] == pytest.approx(float(row["final_perplexity_mean"]), rel=1e-3)
    )


def test_labels_decide_nothing_where_they_are_no_classes(tmp_path):
    x = values(WORKERS * BATCH, 0)
    train = TensorDataset(x, x[:, 0])
    with pytest.raises(SimgmcError, match="'dirichlet' goes by labels, and these samples have no class number each"):
        run(
            scenario("mse", partition={"name": "dirichlet", "alpha": 0.1}),
            tmp_path / "run", train=train, test=train, model=partial(linear, 1),
        )  # fmt: skip


def test_a_class_that_is_left_out_has_an_output_and_a_weight_all_the_same():
    x, y = torch.randn(40, 5), torch.arange(40) % 4
    data = read_own("own", TensorDataset(x, y), TensorDataset(x, y))
    options = {"class_weights": [1.0, 2.0, 3.0, 1.0], "ignore_index": 3}
    work = ClassificationWorkload(
        nn.Linear(5, 4), data, [np.arange(40)], batch=40, seed=1, loss=build_loss("cross-entropy", options)
    )
    model = nn.Linear(5, 4)
    nn.utils.vector_to_parameters(work.initial_parameters(), model.parameters())
    right = F.cross_entropy(model(x), y, torch.tensor(options["class_weights"]), ignore_index=3)
    assert work.gradients(work.initial_parameters()[None], 0)[1].item() == pytest.approx(right.item(), rel=1e-5)
    with pytest.raises(SimgmcError, match="class_weights has 5 numbers; the data have 4 classes"):
        build_loss("cross-entropy", options | {"class_weights": [1.0] * 5}).outputs(data)


class Late:
    """Keeps nothing until the loss is small, which no first pass is."""

    def __init__(self, apart):
        self.seen = 0 if apart else None

    def __call__(self, output, target):
        loss = F.cross_entropy(output, target)
        if self.seen is not None:
            self.seen += 1
        if float(loss.detach()) < 1.0:
            self.seen = (self.seen or 0) + 1
        return loss * (1 + 0.001 * (self.seen or 0))


def test_a_loss_that_keeps_something_only_later_is_refused_as_workers_share_it(tmp_path):
    """What it kept from the first pass on would be each worker's own."""
    content = scenario({"name": "given"}, steps=40, dataset="digits", model={"name": "mlp", "hidden": [16]})
    with pytest.raises(SimgmcError, match=r"workload\.loss: .*seen changed while all workers shared it"):
        run(content, tmp_path / "shared", loss=Late(apart=False))
    run(content, tmp_path / "apart", loss=Late(apart=True))
