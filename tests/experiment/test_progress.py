"""Progress of a run, off a terminal: a line per training, named as its scenario is written."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace

import pytest
from rich.cells import cell_len
from rich.console import Console

from simgmc.experiment import progress as of_progress
from simgmc.experiment.plan import trainings
from simgmc.experiment.progress import RunProgress
from simgmc.experiment.under_way.evaluations import Outcome, State
from simgmc.scenario import ScenarioFile
from tests.small_runs import SMALL

GRID = {
    "workload.partition": [{"name": "dirichlet", "alpha": 0.1}, "iid"],
    "optimizer.learning_rate": [0.1],
}


def test_values_of_the_grid_are_printed_as_the_scenario_writes_them():
    file = ScenarioFile({**SMALL, "grid": GRID}, "small.toml", [("seeds", [3])])
    plan = trainings(file.points)
    console = Console(file=StringIO(), width=200)
    with RunProgress(console, len(plan)) as progress:
        for training in plan:
            progress.started(training, 10)
            progress.ended(training, Outcome(states=[State(10, 1.0, 0.5, 0.5, 0.75)]))
    printed = console.file.getvalue().splitlines()
    name = plan[0].method.name
    assert printed[0].startswith(
        f'[1/{len(plan)}] {name}, seed 3, workload.partition = {{ name = "dirichlet", alpha = 0.1 }}, '
        f"optimizer.learning_rate = 0.1: epoch 1,"
    )
    assert any(
        line.startswith(
            f"[{len(SMALL['methods']) + 1}/{len(plan)}] {name}, seed 3, workload.partition = iid, "
            "optimizer.learning_rate = 0.1: "
        )
        for line in printed
    )
    assert not any("{'" in line for line in printed)


def test_bandwidths_are_printed_with_their_units():
    content = {
        **SMALL,
        "methods": [{"algorithm": "async-sgd"}],
        "report": {"baseline": "async-sgd"},
        "grid": {"cluster.bandwidth": ["10 Mbit/s"]},
    }
    (training,) = trainings(ScenarioFile(content, "small.toml", [("seeds", [3])]).points)
    assert training.title == "async-sgd, seed 3, cluster.bandwidth = 10 Mbit/s"


def test_an_evaluation_is_said_with_the_simulated_time_of_its_own_round(monkeypatch):
    monkeypatch.setattr(of_progress, "LINE_SECONDS", 0.0)
    (training, *_) = trainings(ScenarioFile(SMALL, "small.toml").points)
    console = Console(file=StringIO(), width=200)
    with RunProgress(console, 1) as progress:
        progress.started(training, 4)
        progress.evaluated(training, State(0, 0.0, None, 2.0, 0.1))
        progress.round_done(training, 0, 3.0)
        progress.evaluated(training, State(2, 0.5, 0.5, 0.5, 0.75))
        progress.round_done(training, 1, 7.0)
        progress.round_done(training, 2, 11.0)
    said = [line.partition(": ")[2].split(", ")[:3] for line in console.file.getvalue().splitlines()]
    assert said == [
        ["epoch 0", "accuracy 10.00%", "simulated 0 s"],
        ["epoch 0.5", "accuracy 75.00%", "simulated 7.00 s"],
    ]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("title", ["GMC", "GMC with a name that is rather long", "日本" * 20])
def test_bars_and_times_left_fit_on_a_line_of_the_terminal(width, title):
    content = {**SMALL, "methods": [{"name": title, "algorithm": "dmsgd"}], "report": {"metric": "loss"}, "grid": GRID}
    plan = trainings(ScenarioFile(content, "small.toml", [("seeds", [3])]).points)
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None)
    with RunProgress(console, len(plan), "bits-per-token") as progress:
        progress.started(plan[0], 10_000)
        (one,) = progress._under_way.values()
        progress._began = one.paced = one.paced - 2e5  # some days left
        progress.evaluated(plan[0], State(99, 12.345, 0.5, 0.5, None, others={"bits_per_token": 1234.5678}))
        progress.round_done(plan[0], 99, 123456.7)
        shown = console.render_lines(progress._bars.get_renderable(), console.options, pad=False)
    texts = ["".join(part.text for part in line) for line in shown]
    assert len(texts) == 2 and all("d left" in text and cell_len(text) <= width for text in texts)
    assert width < 80 or "bits-per-token" in texts[1]


def test_trainings_at_once_have_a_bar_each_and_one_that_begins_anew_keeps_its_number():
    plan = trainings(ScenarioFile({**SMALL, "grid": GRID}, "small.toml", [("seeds", [3])]).points)[:3]
    console = Console(file=StringIO(), width=200, force_terminal=True, color_system=None)
    with RunProgress(console, 3) as progress:
        for training in plan[:2]:
            progress.started(training, 10)
        progress.round_done(plan[0], 4, 1.0)
        progress.started(plan[0], 10)
        progress.round_done(plan[0], 2, 1.0)
        shown = console.render_lines(progress._bars.get_renderable(), console.options, pad=False)
        texts = ["".join(part.text for part in line) for line in shown]
        assert len(texts) == 3 and all(any(one.method.name in text for text in texts) for one in plan[:2])
        assert [one.number for one in progress._under_way.values()] == [2, 1]
        progress.failed(plan[1], "no reason")
        progress.ended(plan[0], Outcome(states=[State(10, 1.0, 0.5, 0.5, 0.75)]))
        progress.skipped(plan[2])
    said = console.file.getvalue()
    assert f"[2/3] {plan[1].title}: failed: no reason" in said and f"[1/3] {plan[0].title}: epoch 1" in said
    assert progress._bars.tasks[0].completed == 3


def test_what_came_before_the_first_training_is_no_part_of_the_pace(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(of_progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    (training, *_) = trainings(ScenarioFile(SMALL, "small.toml").points)
    with RunProgress(Console(file=StringIO(), width=80, force_terminal=True), 1) as progress:
        now[0] = 1000.0
        progress.started(training, 10)
        now[0] = 1001.0
        progress.round_done(training, 0, 1.0)
        assert progress._left_of_all() == "9.00 s"
