"""What cannot fit is refused before anything is trained, by the key that is wrong."""

from __future__ import annotations

from io import StringIO

import pytest
from click.testing import CliRunner
from rich.console import Console

from simgmc.algorithms import ALGORITHMS
from simgmc.cli import main
from simgmc.core.errors import SimgmcError
from simgmc.experiment import run as running
from simgmc.experiment.plan import trainings
from simgmc.experiment.preflight.checks import check_counts, late_milestones, notes, parameters
from simgmc.scenario import ScenarioFile
from tests.small_runs import SMALL, fifty_rounds_of, method

BASE = {
    **SMALL,
    "methods": [
        *SMALL["methods"][:1],
        {"name": "GMC", "algorithm": "gmc", "compressor": {"name": "top-k", "count": 5}},
    ],
}
BASE["report"] = {
    **SMALL.get("report", {}),
    "baseline": BASE["methods"][0].get("name", BASE["methods"][0]["algorithm"]),
}
COUNT = "methods.GMC.compressor.count"


def scenario(*settings):
    return ScenarioFile(BASE, "small.toml", settings)


def run(out, *settings):
    console = Console(file=StringIO(), width=120)
    running.run(scenario(*settings), out=out, device="cpu", console=console)
    return console.file.getvalue()


def test_the_number_of_parameters_is_known_without_data_and_memory():
    found = parameters(scenario().points[0].scenario)
    workload = running.WorkloadFactory("cpu", None, 1)(scenario().points[0].scenario, 0)
    assert found == workload.d


def test_a_count_above_the_number_of_parameters_is_refused_by_its_key():
    d = parameters(scenario().points[0].scenario)
    check_counts(scenario((COUNT, d)))
    with pytest.raises(SimgmcError, match=rf"small.toml: {COUNT} = {d + 1}: the model has only {d:,} parameters"):
        check_counts(scenario((COUNT, d + 1)))


def test_counts_inside_composed_compressors_and_grids_are_found():
    composed = {"name": "composed", "sparsify": {"name": "top-k", "count": 10**6}, "quantise": {"name": "qsgd"}}
    with pytest.raises(SimgmcError, match=r"methods.GMC.compressor.sparsify.count = 1000000"):
        check_counts(scenario(("methods.GMC.compressor", composed)))
    with pytest.raises(SimgmcError, match=rf"{COUNT} = 1000000"):
        check_counts(scenario((f"grid.{COUNT}", [5, 10**6])))


def test_a_run_refuses_it_before_it_makes_its_directory(tmp_path):
    with pytest.raises(SimgmcError, match="methods.GMC.compressor: count = 1000000"):
        run(tmp_path / "run", (COUNT, 10**6))
    assert not (tmp_path / "run").exists()


def test_more_shards_than_samples_are_refused_when_the_scenario_is_read():
    with pytest.raises(SimgmcError, match=r"workload.partition.shards_per_worker = 1000: must be at most \d+"):
        scenario(("workload.partition", {"name": "shards", "shards_per_worker": 1000}))


LATE = ("optimizer.schedule", {"kind": "multi-step", "milestones": [0.001, 150, 225], "per": "round"})


def test_milestones_past_the_end_of_training_are_said(tmp_path):
    note = "optimizer.schedule.milestones: 150, 225 past the end of training"
    assert note in run(tmp_path / "run", LATE)
    assert late_milestones(scenario(LATE)) == []  # rounds alone say nothing of epochs
    (found,) = late_milestones(scenario(LATE), 10.0)
    assert found.startswith(note)
    assert late_milestones(scenario(LATE), 1e-9) == []


def milestones(*stated, rounds=None, epochs=None, **methods):
    """Lines on these milestones for some methods, each {algorithm: options}, with 10 minibatches a pass
    over the data.
    """
    workload = {key: value for key, value in BASE["workload"].items() if key not in ("rounds", "epochs")}
    workload |= {"rounds": rounds} if rounds else {"epochs": epochs}
    content = {
        **BASE,
        "workload": workload,
        "methods": [{"name": name, **options} for name, options in methods.items()],
        "report": {"baseline": [*methods][0]},
    }
    schedule = {"kind": "multi-step", "milestones": list(stated)}
    return late_milestones(ScenarioFile(content, "small.toml", [("optimizer.schedule", schedule)]), 10.0)


LOCAL = {"algorithm": "local-sgd", "period": 5}


def test_local_steps_count_towards_the_epochs_of_a_training_stated_in_rounds():
    # 20 rounds of 5 gradients are 10 epochs, 20 rounds of one are 2
    (found,) = milestones(1, 5, 9, 10, rounds=20, DMSGD={"algorithm": "dmsgd"}, Local=LOCAL)[:1]
    assert (
        found
        == "optimizer.schedule.milestones: 5, 9, 10 past the end of training of DMSGD (2 epochs, the last rate is "
        "that of epoch 1), so without effect"
    )
    (found,) = milestones(1, 9, 10, rounds=20, Local=LOCAL)
    assert found.startswith(
        "optimizer.schedule.milestones: 10 past the end of training (10 epochs, the last rate is that of epoch 9)"
    )


def test_a_milestone_after_the_last_step_comes_too_late():
    """Each local step has the rate of its own epoch, so a long round hides no milestone."""
    assert milestones(5, 9, epochs=10, Local={**LOCAL, "period": 50}) == []
    (found,) = milestones(5, 10, epochs=10, Local={**LOCAL, "period": 50})
    assert found.startswith(
        "optimizer.schedule.milestones: 10 past the end of training (10 epochs, the last rate is that of epoch 9)"
    )


def test_a_methods_own_length_and_schedule_decide_over_its_milestones():
    longer = {"algorithm": "dmsgd", "epoch_multiplier": 3}
    assert milestones(1, rounds=20, Long=longer) == []  # stretched to epoch 3 of 6
    (found,) = milestones(2, rounds=20, Long=longer)
    assert found.startswith(
        "optimizer.schedule.milestones: 6 past the end of training (6 epochs, the last rate is that of epoch 5)"
    )
    (found,) = milestones(
        1,
        rounds=20,
        A={"algorithm": "dmsgd"},
        B={"algorithm": "dmsgd", "schedule": {"kind": "multi-step", "milestones": [7]}},
    )
    assert found.startswith("methods.B.schedule.milestones: 7 past the end of training (2 epochs")


@pytest.mark.parametrize(("period", "per_epoch", "epochs"), [(1, 10.0, 3), (4, 9.6, 2.5), (7, 3.2, 4), (50, 10.0, 10)])
def test_a_training_stated_in_epochs_has_the_same_gradients_whatever_its_rounds(period, per_epoch, epochs):
    content = {**BASE, "methods": [{**LOCAL, "period": period, "name": "L"}], "report": {"baseline": "L"}}
    content["workload"] = {
        **{key: value for key, value in BASE["workload"].items() if key != "rounds"},
        "epochs": epochs,
    }
    (training,) = trainings(ScenarioFile(content, "small.toml", [("seeds", [1])]).points)
    when, gradients, rounds = training.milestones(per_epoch), 0, 0
    while not when.over(rounds, gradients):
        rounds, gradients = rounds + 1, gradients + min(period, int(when.gradients) - gradients)
    assert gradients == round(epochs * per_epoch) == training.scenario.gradients(training.method, per_epoch)
    assert rounds == when.total(period)


def noted(*settings, methods, **workload):
    """Notes on these methods, each {algorithm: options}, with 10 minibatches a pass over the data."""
    kept = {key: value for key, value in BASE["workload"].items() if key not in ("rounds", "epochs")}
    named = [{"name": name, **options} for name, options in methods.items()]
    content = {**BASE, "workload": kept | workload, "methods": named, "report": {"baseline": [*methods][0]}}
    return notes(ScenarioFile(content, "small.toml", settings), 10.0)


def test_a_schedule_that_stays_constant_is_said():
    cosine = ("optimizer.schedule", "cosine")
    (found,) = noted(cosine, methods={"A": {"algorithm": "dmsgd"}}, epochs=1)
    assert found.startswith("optimizer.schedule = cosine: the rate changes between epochs, and training has 1 of them")
    assert "it stays constant" in found
    (found,) = noted(cosine, methods={"A": {"algorithm": "dmsgd"}}, rounds=9)
    assert "0.9 of them" in found
    assert not noted(cosine, methods={"A": {"algorithm": "dmsgd"}}, epochs=2)
    assert not noted(
        ("optimizer.schedule", {"kind": "cosine", "per": "round"}), methods={"A": {"algorithm": "dmsgd"}}, epochs=1
    )


def test_rounds_of_unequal_length_are_said():
    (found,) = noted(methods={"A": {"algorithm": "dmsgd"}, "L": LOCAL}, rounds=20)
    assert "(A: 20; L: 100)" in found
    assert not noted(methods={"A": {"algorithm": "dmsgd"}, "L": LOCAL}, epochs=2)


def test_methods_without_use_for_the_shared_momentum_are_said():
    quiet = {"algorithm": "async-sgd"}
    (found,) = noted(("optimizer.momentum", 0.5), methods={"A": {"algorithm": "dmsgd"}, "B": quiet}, epochs=2)
    assert found == "optimizer.momentum = 0.5 is not used by B"
    assert not noted(("optimizer.momentum", 0), methods={"B": quiet}, epochs=2)


def test_check_says_all_of_this(tmp_path):
    import tomli_w

    file = tmp_path / "small.toml"
    file.write_bytes(tomli_w.dumps(BASE).encode())
    found = CliRunner().invoke(main, ["check", str(file), "--set", f"{COUNT}=1000000"])
    assert found.exit_code == 2 and f"{COUNT} = 1000000" in found.output
    arguments = ["--set", 'optimizer.schedule={kind="multi-step", milestones=[0.5, 150]}', "--set", "workload.epochs=1"]
    content = {**BASE, "workload": {key: value for key, value in BASE["workload"].items() if key != "rounds"}}
    file.write_bytes(tomli_w.dumps(content).encode())
    found = CliRunner().invoke(main, ["check", str(file), *arguments])
    assert (
        found.exit_code == 0
        and "# note: optimizer.schedule.milestones: 150 past the end of training (1 epochs)" in found.output
    )


def test_what_leaves_a_lattice_ends_its_method_at_that_round_and_other_methods_go_on(tmp_path):
    tiny = {"name": "lattice", "side": 1e-25}
    rows = [*BASE["methods"][:1], {"name": "Q", "algorithm": "qsgd", "compressor": tiny}]
    rows += [{"name": "S", "algorithm": "swarm-sgd", "compressor": tiny}]
    shown = run(tmp_path / "run", ("methods", rows), ("workload.rounds", 2), ("workload.evaluate_every", "2 rounds"))
    assert "Q, seed 3: diverged: round 1: the vector to compress has left the lattice" in shown
    assert "S, seed 3: diverged: worker" in shown
    assert "Q: nothing, on vectors of random numbers: round 1: the vector to compress has left the lattice" in shown
    assert "S: nothing, on vectors of random numbers: worker" in shown


def test_parts_of_a_problem_are_one_vector_so_that_exempting_vectors_is_refused_by_its_key():
    content = fifty_rounds_of("adsaga")
    content = {**content.content, "methods": [method("gmc")], "report": {"metric": "gap"}}
    content["methods"][0]["compressor"] = {"name": "top-k", "density": 0.1, "exempt_vectors": True}
    with pytest.raises(SimgmcError, match=r"methods.gmc.compressor = .*: exempt_vectors: the parameters of quadratic"):
        ScenarioFile(content, "small.toml")


def test_a_workload_is_built_once_for_measuring_trying_and_training(tmp_path, monkeypatch):
    built, build = [], running.WorkloadFactory._build
    monkeypatch.setattr(running.WorkloadFactory, "_build", lambda *given: built.append(given[2]) or build(*given))
    times = {"gradient": "1 ms", "compression": "1 ms", "aggregation": "measured"}
    run(tmp_path, ("cluster.compute", times), ("seeds", [3, 4]), ("workload.rounds", 2))
    assert built == [3, 3, 4, 4], "for each of two methods and two seeds, the first one what was measured and tried"


def test_methods_of_other_lengths_and_constant_schedules_are_said_of_every_method():
    names = [name for name, one in ALGORITHMS.items() if not one.finite_sum]
    base = {
        **SMALL,
        "workload": {**SMALL["workload"], "rounds": 12},
        "optimizer": {"learning_rate": 0.01, "schedule": "cosine"},
        "gossip": {"graph": "ring"},
        "methods": [method(name) for name in names],
        "report": {"baseline": "sgd"},
    }
    file = ScenarioFile(base, "small.toml", ())
    scenario, said = file.points[0].scenario, notes(file, 20.0)
    (constant,) = [line for line in said if "it stays constant" in line]
    (lengths,) = [line for line in said if "rounds differ in length" in line]
    groups = lengths.partition("gradients of each worker (")[2].partition(")")[0].split("; ")
    for one in scenario.methods:
        count = scenario.gradients(one, 20.0)
        (group,) = [part.split(": ") for part in groups if one.name in part.split(": ")[0].split(", ")]
        assert group[1] == f"{count:,}", one.name
        assert (f" {one.name}," in constant or f" {one.name} has" in constant) == (count <= 20), one.name


def test_places_in_the_network_that_nothing_uses_are_told(tmp_path):
    wires = "".join(f"{a},{b},8 Mbit/s,1 ms\n" for k in range(4) for a, b in ((f"worker{k}", "s"), ("s", f"worker{k}")))
    (tmp_path / "net.csv").write_text("source,destination,bandwidth,latency\n" + wires)

    def told(collective, *settings):
        file = scenario(("cluster.stragglers.sigma", 0.0), ("cluster.collective", collective), *settings)
        return [note for note in notes(file) if "without effect" in note]

    drawn = {"name": "file", "file": str(tmp_path / "net.csv"), "attach": ["s"]}
    network = (("cluster.topology", drawn), ("cluster.hosts", {}))
    assert told("parameter-server", *network) == []
    assert told("ring-all-gather", *network) == ["cluster.topology.attach is without effect: the file draws every host"]
    server = ("cluster.hosts", {"server": {"latency": "5 ms"}})
    assert told("parameter-server", server) == []
    (note,) = told("ring-all-gather", server)
    assert note.startswith("cluster.hosts.server: without effect")
