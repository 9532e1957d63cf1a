"""What a run was read from is kept with it: a replay reads the copy, a run does not go on with another file."""

import csv
import hashlib

import pytest

import simgmc
from simgmc.commands.replay import replay
from simgmc.commands.timeline import timeline
from simgmc.core.errors import SimgmcError
from simgmc.results.directory.outside_files import copies
from simgmc.results.directory.run_directory import open_run

NETWORK = "source,destination,bandwidth,latency\n" + "".join(
    f"{a},{b},{{0}},1 ms\n" for worker in ("worker0", "worker1") for a, b in ((worker, "s"), ("s", worker))
)


def scenario(file, rounds=2):
    return {
        "seeds": [1],
        "workload": {
            "dataset": {"name": "synthetic", "features": 9, "classes": 2, "train": 8, "test": 2}, "model": "logistic",
            "workers": 2, "batch_per_worker": 1, "rounds": rounds, "evaluate_every": "1 round",
        },
        "optimizer": {"learning_rate": 0.1},
        "cluster": {
            "topology": {"name": "file", "file": str(file)}, "collective": "ring",
            "compute": {"gradient": "1 ms", "compression": "0 s", "aggregation": "0 s"},
        },
        "methods": [{"algorithm": "sgd"}],
    }  # fmt: skip


def seconds(run):
    with open(run / "metrics.csv") as file:
        return [row["sim_time_s"] for row in csv.DictReader(file)]


def test_a_replay_reads_the_copy_and_a_changed_file_ends_a_run(tmp_path, without_pictures):
    network = tmp_path / "net.csv"
    network.write_text(NETWORK.format("1 Mbit/s"))
    run = simgmc.run(scenario(network), out=tmp_path / "run")
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    ((path, copy),) = copies(run).items()
    assert path == str(network) and copy.read_bytes() == network.read_bytes() and copy.name.startswith(digest[:16])

    network.write_text(NETWORK.format("1 kbit/s"))
    with pytest.raises(SimgmcError, match="net.csv has changed since the run"):
        simgmc.run(scenario(network), out=run)
    again = replay(run, out=tmp_path / "again")
    assert seconds(again) == seconds(run) and copies(again).keys() == copies(run).keys()
    assert timeline(run, out=tmp_path / "timeline")
    network.unlink()
    third = replay(again, out=tmp_path / "third")
    assert seconds(third) == seconds(run)

    network.write_text(NETWORK.format("1 kbit/s"))
    fresh = simgmc.run(scenario(network), out=run, overwrite=True)
    assert seconds(fresh) != seconds(again) and len(list((run / "files").iterdir())) == 1


def test_a_transport_from_a_file_stands_in_the_scenario_and_its_file_is_kept(tmp_path, without_pictures):
    measured, network = tmp_path / "measured.toml", tmp_path / "net.csv"
    measured.write_text("[transport]\nefficiency = 0.5\n")
    network.write_text(NETWORK.format("1 Mbit/s"))
    content = scenario(network)
    bare = simgmc.run(content, out=tmp_path / "bare")
    content["cluster"]["transport"] = str(measured)
    run = simgmc.run(content, out=tmp_path / "run")
    assert float(seconds(run)[-1]) > float(seconds(bare)[-1]) and str(measured) in copies(run)
    measured.write_text("[transport]\nefficiency = 0.6\n")
    with pytest.raises(SimgmcError, match=r"measured.toml has changed since the run"):
        simgmc.run(content, out=run)
    measured.unlink()
    assert seconds(replay(run, out=tmp_path / "again")) == seconds(run)


def test_a_damaged_copy_is_refused(tmp_path):
    (tmp_path / "net.csv").write_text(NETWORK.format("1 Mbit/s"))
    run = simgmc.run(scenario(tmp_path / "net.csv"), out=tmp_path / "run")
    (copy,) = copies(run).values()
    copy.write_text("other")
    with pytest.raises(SimgmcError, match="is not the copy of .*net.csv"):
        replay(run, out=tmp_path / "again")
    assert open_run(run)
