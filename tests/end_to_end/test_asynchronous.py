"""Methods that the clock drives, through scenarios, run directories and the command line."""

import csv
import json
import math
import tomllib

import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner
from torch import nn

from simgmc.cli import main
from simgmc.results.directory.run_directory import open_run
from tests.small_runs import SMALL

METHODS = [
    {"name": "DMSGD", "algorithm": "dmsgd"},
    {"name": "Swarm", "algorithm": "swarm-sgd"},
    {"name": "Async", "algorithm": "async-sgd", "learning_rate": 0.02},
]


def write(folder, **changes):
    content = {**SMALL, "methods": METHODS, "report": {"baseline": "DMSGD"}}
    for key, value in changes.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    (folder / "small.toml").write_text(tomli_w.dumps(content))
    return str(folder / "small.toml")


def command(*arguments, status=0):
    result = CliRunner().invoke(main, [str(part) for part in arguments], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result.output


def rows(run, file="metrics.csv", **wanted):
    with open(run / file, newline="") as stream:
        found = list(csv.DictReader(stream))
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asynchronous")
    command("run", write(folder), "--out", folder / "run")
    return folder / "run"


def test_every_method_of_a_mixed_scenario_has_evaluations_up_to_its_end(finished):
    lengths = {name: len(rows(finished, method=name)) for name in ("DMSGD", "Swarm", "Async")}
    assert len(set(lengths.values())) == 1 and lengths["DMSGD"] > 2
    for row in rows(finished, "breakdown.csv"):
        last = rows(finished, method=row["method"], seed=row["seed"])[-1]
        assert float(last["sim_time_s"]) == float(row["sim_time_s"])
        assert int(last["bytes_up"]) == int(row["bytes_sent_by_workers"])


def test_other_metrics_tell_consensus_and_single_workers_of_methods_that_average_models(finished):
    names = {row["name"] for row in rows(finished, "other_metrics.csv", method="Swarm")}
    assert {"consensus distance", "test_accuracy mean worker", "test_accuracy worst worker"} <= names
    assert not {row["name"] for row in rows(finished, "other_metrics.csv", method="Async")} & {"consensus distance"}


def test_staleness_and_gradients_of_every_worker_are_told(finished):
    details = open_run(finished).details()
    (found,) = [one for key, one in details.items() if key.method == "Async" and key.seed == 3]
    assert sum(found.staleness.values()) > 0 and max(found.staleness) >= 1
    assert found.gradients.min() > 0 and len(found.gradients) == SMALL["workload"]["workers"]


def test_the_same_run_gives_the_same_bytes(finished, tmp_path):
    command("run", finished.parent / "small.toml", "--out", tmp_path / "again")
    for name in ("metrics.csv", "other_metrics.csv", "breakdown.csv", "workers.csv", "links.csv", "staleness.csv"):
        assert (finished / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_replay_leaves_out_what_the_clock_drives_and_says_so(finished, tmp_path):
    output = command("replay", finished, "--set", "cluster.bandwidth=1 Mbit/s", "--out", tmp_path / "replayed")
    assert "Swarm: the clock drives its training" in output and "Async: the clock drives" in output
    assert {row["method"] for row in rows(tmp_path / "replayed")} == {"DMSGD"}


def test_a_replay_of_nothing_but_such_methods_is_refused(finished, tmp_path):
    file = write(tmp_path, methods=METHODS[1:], report={"baseline": "Swarm"})
    command("run", file, "--out", tmp_path / "run")
    output = command("replay", tmp_path / "run", status=2)
    assert "Swarm, Async: cannot be replayed: the clock drives its training" in output
    output = command("replay", finished, "--set", "report.baseline=Swarm", status=2)
    assert 'report.baseline = "Swarm": cannot be replayed' in output


def test_every_cluster_of_a_grid_gives_a_training_of_its_own(tmp_path):
    file = write(tmp_path, methods=METHODS[:2])
    content = tomllib.loads((tmp_path / "small.toml").read_text())
    (tmp_path / "small.toml").write_text(
        tomli_w.dumps({**content, "seeds": [0], "grid": {"cluster.bandwidth": ["1 Gbit/s", "100 kbit/s"]}})
    )
    command("run", file, "--out", tmp_path / "run")
    losses = {
        name: [row["test_loss"] for row in rows(tmp_path / "run", method=name) if row["round"] != "0"]
        for name in ("DMSGD", "Swarm")
    }
    half = len(losses["DMSGD"]) // 2
    assert losses["DMSGD"][:half] == losses["DMSGD"][half:]
    assert losses["Swarm"][:half] != losses["Swarm"][half:]


def test_a_timeline_is_drawn_from_the_journal_and_what_is_under_way_at_its_end_is_no_waiting(finished, tmp_path):
    """Workers of an asynchronous server compute or communicate, they never wait for each other."""
    command("timeline", finished, "--method", "Async", "--rounds", "2:4", "--out", tmp_path)
    events = json.loads((tmp_path / "Async.trace.json").read_text())["traceEvents"]
    names = {event["name"] for event in events}
    assert {"compute", "transfer"} <= names and "wait" not in names
    assert (tmp_path / "Async.gantt.png").stat().st_size > 10_000


@pytest.mark.parametrize("left", [0, 100, None], ids=["empty", "cut", "gone"])
def test_a_journal_that_cannot_be_read_is_restored_by_the_same_command(left, tmp_path, without_pictures):
    file = write(tmp_path, methods=METHODS[-1:], seeds=[3], report={"baseline": "Async"}, workload={"rounds": 10})
    command("run", file, "--out", tmp_path / "run")
    (journal,) = (tmp_path / "run" / "costs").glob("*.journal")
    content, metrics = journal.read_bytes(), (tmp_path / "run" / "metrics.csv").read_bytes()
    journal.unlink() if left is None else journal.write_bytes(content[:left])
    assert "give the same simgmc run command again to restore it" in command("timeline", tmp_path / "run", status=2)
    command("run", file, "--out", tmp_path / "run")
    assert journal.read_bytes() == content and (tmp_path / "run" / "metrics.csv").read_bytes() == metrics
    command("timeline", tmp_path / "run")


def test_why_says_that_another_network_would_train_anew(finished):
    lines = command("why", finished).splitlines()
    assert sum("try it there with simgmc run" in line for line in lines) == 1
    (swarm,) = [line for line in lines if line.strip().startswith("Swarm")]
    assert "pairwise complete" in swarm and swarm.split()[-3:] == ["-", "-", "-"]


def test_a_prediction_of_bytes_and_time_is_near_the_run(finished):
    output = command("run", finished.parent / "small.toml", "--dry-run", "--out", finished.parent / "nothing")
    line = next(text for text in output.splitlines() if text.strip().startswith("Async"))
    total = float(rows(finished, "breakdown.csv", method="Async")[0]["bytes_sent_by_workers"])
    assert f"{total / 1e6:.0f}"[0] in line


def test_methods_that_diverge_at_once_are_predicted_and_do_not_keep_others_from_running(tmp_path):
    wild = {"learning_rate": 1e30, "weight_decay": 1000.0}
    methods = [
        METHODS[0],
        {"name": "Wild rounds", "algorithm": "gmc", "compressor": {"name": "top-k", "density": 0.1}, **wild},
        {"name": "Wild local", "algorithm": "local-sgd", "period": 8, **wild},
        {"name": "Wild swarm", "algorithm": "swarm-sgd", "period": 8, **wild},
        {"name": "Wild server", "algorithm": "async-sgd", **wild},
    ]
    file = write(tmp_path, methods=methods)
    predicted = command("run", file, "--dry-run", status=2)
    assert "error: methods.Wild local: " in predicted
    output = command("run", file, "--out", tmp_path / "run", "--seed", "0")
    ended = {
        line.split("] ")[1].split(",")[0]
        for line in output.splitlines()
        if line.startswith("[") and ": diverged: " in line
    }
    assert ended == {method["name"] for method in methods[1:]} and "DMSGD, seed 0: epoch" in output
    methods.remove(next(method for method in methods if method["name"] == "Wild local"))
    assert "Wild server" in command("run", write(tmp_path, methods=methods), "--dry-run")


@pytest.mark.parametrize("interval", ["50 ms", "0.2 s"])
def test_evaluations_at_stated_simulated_times_are_at_these_times(tmp_path, interval):
    file = write(tmp_path, workload={"evaluate_every": interval})
    command("run", file, "--out", tmp_path / "run", "--seed", "0")
    step = {"50 ms": 0.05, "0.2 s": 0.2}[interval]
    for name in ("DMSGD", "Swarm", "Async"):
        found = rows(tmp_path / "run", method=name)
        times = np.array([float(row["sim_time_s"]) for row in found])
        assert len(times) > 3
        multiples = times[:-1] / step
        assert np.abs(multiples - multiples.round()).max() < 1e-9
        ends = [int(row["round"]) for row in found]
        assert ends == sorted(set(ends))
    output = command("replay", tmp_path / "run", status=2)
    assert "other rounds would be evaluated" in output


@pytest.mark.parametrize("interval", ["-1 s", "0 s", "3 hours ago", "s", "1e-300 s"])
def test_a_wrong_interval_is_named(tmp_path, interval):
    output = command("check", write(tmp_path, workload={"evaluate_every": interval}), status=2)
    assert "small.toml: workload.evaluate_every" in output


def test_an_evaluation_at_a_stated_time_sees_the_rounds_that_all_workers_had_finished(tmp_path):
    file = write(tmp_path, workload={"evaluate_every": "1 round"}, methods=METHODS[:1])
    command("run", file, "--out", tmp_path / "rounds", "--seed", "0")
    file = write(tmp_path, workload={"evaluate_every": "100 ms"}, methods=METHODS[:1])
    command("run", file, "--out", tmp_path / "times", "--seed", "0")
    ends = {int(row["round"]): (float(row["sim_time_s"]), row["test_loss"]) for row in rows(tmp_path / "rounds")}
    for row in rows(tmp_path / "times")[:-1]:
        number, time = int(row["round"]), float(row["sim_time_s"])
        assert ends[number][0] <= time < ends[number + 1][0]
        assert row["test_loss"] == ends[number][1]


def test_at_stated_times_a_state_is_evaluated_as_it_was_at_stated_rounds(tmp_path):
    """Running statistics and the training loss among it, though training has gone on since."""
    model = {"name": "import", "factory": "tests.end_to_end.test_asynchronous:normalised"}
    methods = [METHODS[0], {"name": "Gossip", "algorithm": "d-psgd"}]
    for name, interval in (("rounds", "1 round"), ("times", "200 ms")):
        workload = {"evaluate_every": interval, "model": model, "rounds": 12}
        file = write(tmp_path, workload=workload, methods=methods, gossip={"graph": "ring"})
        command("run", file, "--out", tmp_path / name, "--seed", "0")
    for method in ("DMSGD", "Gossip"):
        of_round = {int(row["round"]): row for row in rows(tmp_path / "rounds", method=method)}
        found = rows(tmp_path / "times", method=method)
        assert len(found) > 2
        for row in found:
            same = of_round[int(row["round"])]
            assert all(row[key] == same[key] for key in ("train_loss", "test_loss", "test_accuracy"))


def normalised(sample_shape, classes):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(sample_shape), 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, classes)
    )


def test_stated_times_may_be_far_closer_than_gradients(tmp_path):
    file = write(tmp_path, workload={"evaluate_every": "1 ns"}, methods=METHODS[1:], report={"baseline": "Swarm"})
    command("run", file, "--out", tmp_path / "run", "--seed", "0")
    for name in ("Swarm", "Async"):
        found = [int(row["round"]) for row in rows(tmp_path / "run", method=name)]
        assert found == list(range(found[-1] + 1))


def test_the_last_evaluation_at_stated_times_has_a_training_loss_and_is_the_one_that_is_told(tmp_path):
    output = command(
        "run", write(tmp_path, workload={"evaluate_every": "100 ms"}), "--out", tmp_path / "run", "--seed", "0"
    )
    for method in METHODS:
        last = rows(tmp_path / "run", method=method["name"])[-1]
        assert 0 < float(last["train_loss"]) < 10
        told = next(line for line in output.splitlines() if f"] {method['name']}, seed 0" in line)
        assert f"epoch {float(last['epoch']):.4g}, accuracy {float(last['test_accuracy']):.2%}" in told


def test_a_method_that_every_cluster_trains_anew_has_one_line_on_its_wire_format(tmp_path):
    file = write(tmp_path, workload={"evaluate_every": "1 s"}, grid={"cluster.bandwidth": ["10 Mbit/s", "1 Gbit/s"]})
    told = [line.split(":")[0] for line in command("run", file, "--dry-run").splitlines() if line.startswith("wire")]
    assert told == [f"wire     {method['name']}" for method in METHODS]


def test_a_crash_whose_policy_is_to_stop_ends_the_training_with_an_evaluation(tmp_path):
    content = {
        **SMALL["cluster"],
        "crashes": {"policy": "stop", "workers": [{"worker": 0, "at": "200 ms", "back": "2 s"}]},
    }
    output = command("run", write(tmp_path, cluster=content), "--out", tmp_path / "run")
    assert "Async, asynchronous server, seed 3: ended early: worker0 crashed at t = 0.2 s" in output
    assert float(rows(tmp_path / "run", method="Async")[-1]["sim_time_s"]) == pytest.approx(0.2, abs=1e-9)


def test_a_method_of_finite_sums_is_refused_on_data(tmp_path):
    output = command("check", write(tmp_path, methods=[{"name": "DMSGD", "algorithm": "adsaga"}]), status=2)
    assert 'methods.DMSGD.algorithm = "adsaga": needs a loss that is a finite sum' in output


def test_a_method_that_the_clock_drives_may_have_a_graph_of_its_own(tmp_path):
    """On a star with worker 0 in the middle, half of all that is received goes to it."""
    methods = [METHODS[0], {**METHODS[1], "gossip": {"graph": "star"}}]
    command("run", write(tmp_path, methods=methods), "--out", tmp_path / "run")
    received = {
        row["destination"]: int(row["messages"])
        for row in rows(tmp_path / "run", "links.csv", method="Swarm", seed="3")
    }
    to_hub, workers = received["worker0"], SMALL["workload"]["workers"]
    assert to_hub == sum(received[f"worker{rank}"] for rank in range(1, workers)) > 0


def test_a_graph_is_refused_for_a_method_of_a_server(tmp_path):
    methods = [METHODS[0], {**METHODS[2], "gossip": {"graph": "ring"}}]
    assert "async-sgd does not mix with neighbours" in command("check", write(tmp_path, methods=methods), status=2)


def test_weights_that_a_method_does_not_read_are_refused(tmp_path):
    own = {"name": "Own", "algorithm": "ad-psgd", "gossip": {"graph": "ring", "weights": "push-sum"}}
    output = command("check", write(tmp_path, methods=[METHODS[0], own]), status=2)
    assert "gossip.weights" in output and "ad-psgd reads the graph alone, no weights" in output
    shared = {"graph": "ring", "weights": "metropolis-hastings"}
    command("check", write(tmp_path, gossip=shared, methods=[METHODS[0], {**own, "gossip": {"graph": "ring"}}]))
