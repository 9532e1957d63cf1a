import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.core.transport import Transport
from simgmc.costs.steps import Average, Compute, RoundCosts
from simgmc.experiment.series import details_of_rounds, gradients_of
from simgmc.network import simulate
from simgmc.network.cluster.cluster import ClusterSettings
from simgmc.network.conditions.compute import ComputeTime
from simgmc.network.conditions.crashes import Crash, Crashes
from simgmc.network.conditions.work import Duration
from simgmc.network.topology.catalogue import Host, star, worker_names
from simgmc.results.directory import run_directory
from simgmc.results.directory.details import PARTS, Details, LinkTraffic, idle_share
from simgmc.results.directory.records import Evaluation, SeriesKey
from simgmc.results.directory.run_directory import create, open_run
from tests.results.synthetic_runs import breakdown

RING = Transport("collective", "ring")

FILES = ("workers.csv", "links.csv", "staleness.csv")
GRID = ("cluster.bandwidth",)
KEYS = [
    SeriesKey(method, RING, seed, {"cluster.bandwidth": "1 Mbit/s"})
    for method in ("SwarmSGD", "a,b")
    for seed in (0, 1)
]


def details(number=0, stale=True):
    seconds = np.random.default_rng(number).uniform(0, 1 / 3, (3, len(PARTS)))
    links = (LinkTraffic("worker0", "switch", 10**17 + number, 7), LinkTraffic("switch", "worker0", 0, 1))
    return Details(seconds, np.array([number, 2, 3]), links, {5: 1, 0: 2} if stale else {})


def same(one, other):
    return (
        np.array_equal(one.seconds, other.seconds)
        and np.array_equal(one.gradients, other.gradients)
        and (one.links, one.staleness) == (other.links, other.staleness)
    )


def write(directory, keys=KEYS):
    for number, key in enumerate(keys):
        directory.evaluated(key, Evaluation(0, 0.0, 0.0, None, 1.0, None, 0, 0, None))
        directory.finish(
            key, dataclasses.replace(breakdown(4, 1.5, 10, "ring"), evaluations=1), details(number, key.method != "a,b")
        )


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_details_are_read_back_exactly(tmp_path):
    write(create(tmp_path, "x", grid_keys=GRID))
    read = open_run(tmp_path).details()
    assert list(read) == KEYS
    assert all(same(read[key], details(number, key.method != "a,b")) for number, key in enumerate(KEYS))


def test_files_have_the_documented_columns_after_those_of_the_series(tmp_path):
    write(create(tmp_path, "x", grid_keys=GRID), KEYS[:1])
    starts = {name: (tmp_path / name).read_text().splitlines()[:2] for name in FILES}
    series = "method,collective,seed,cluster.bandwidth"
    parts = "compute_s,compress_s,transfer_s,latency_s,aggregate_s,wait_s"
    assert starts["workers.csv"][0] == f"{series},worker,gradients,{parts}"
    assert starts["links.csv"] == [
        f"{series},source,destination,bytes,messages",
        "SwarmSGD,ring,0,1 Mbit/s,worker0,switch,100000000000000000,7",
    ]
    assert starts["staleness.csv"] == [f"{series},staleness,count,of", "SwarmSGD,ring,0,1 Mbit/s,0,2,gradients"]


def test_what_is_stale_is_told_and_read_back_and_in_older_runs_it_is_gradients(tmp_path):
    directory = create(tmp_path, "x", grid_keys=("cluster.bandwidth",))
    key = SeriesKey("OSGP", Transport.read("asynchronous gossip ring"), 0, {"cluster.bandwidth": "1 Mbit/s"})
    directory.finish(key, breakdown(5, 10.0, 10, "ring"), dataclasses.replace(details(), stale="messages"))
    assert directory.details()[key].stale == "messages"
    file = tmp_path / "staleness.csv"
    file.write_text("".join(line.rpartition(",")[0] + "\n" for line in file.read_text().splitlines()))
    assert same(directory.details()[key], details()) and directory.details()[key].stale == "gradients"


def test_methods_without_staleness_have_no_staleness_file(tmp_path):
    write(create(tmp_path, "x", grid_keys=GRID), KEYS[2:])
    assert sorted(set(FILES) & set(contents(tmp_path))) == ["links.csv", "workers.csv"]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_run_killed_after_any_byte_and_continued_equals_one_never_killed(tmp_path_factory, data):
    base = tmp_path_factory.mktemp("kill")
    write(create(base / "whole", "x", grid_keys=GRID))
    left = data.draw(st.integers(0, sum(map(len, contents(base / "whole").values()))))

    class Killed(BaseException):
        pass

    def append(file, lines):
        nonlocal left
        content = lines.encode()
        with file.open("ab") as stream:
            stream.write(content[:left])
        left -= len(content)
        if left < 0:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_directory, "append", append)
        try:
            write(create(base / "run", "x", grid_keys=GRID))
        except Killed:
            pass
    again = create(base / "run", "x", grid_keys=GRID)
    # What belongs to a whole series is kept, everything else is dropped.
    assert set(again.details()) == again.finished()
    for number, key in enumerate(KEYS):
        if key not in again.finished():
            again.evaluated(key, Evaluation(0, 0.0, 0.0, None, 1.0, None, 0, 0, None))
            again.finish(
                key,
                dataclasses.replace(breakdown(4, 1.5, 10, "ring"), evaluations=1),
                details(number, key.method != "a,b"),
            )
    assert contents(base / "run") == contents(base / "whole")


def test_runs_from_before_details_were_written_stay_readable_and_go_on(tmp_path):
    directory = create(tmp_path, "x", grid_keys=GRID)
    write(directory)
    for name in FILES:
        (tmp_path / name).unlink()
    again = create(tmp_path, "x", grid_keys=GRID)
    assert (again.details(), again.finished()) == ({}, set(KEYS))
    new = SeriesKey("new", RING, 0, {"cluster.bandwidth": "1 Mbit/s"})
    write(again, [new])
    assert list(again.details()) == [new]


@pytest.mark.parametrize("file", FILES)
def test_overwriting_removes_the_details(tmp_path, file):
    write(create(tmp_path, "x", grid_keys=GRID))
    create(tmp_path, "y", grid_keys=GRID, overwrite=True)
    assert not (tmp_path / file).exists()


@pytest.mark.parametrize(
    ("file", "damage"),
    [("workers.csv", "twice"), ("workers.csv", "missing"), ("links.csv", "bad"), ("staleness.csv", "bad")],
)
def test_damaged_details_are_one_error_that_names_the_file(tmp_path, file, damage):
    directory = create(tmp_path, "x", grid_keys=GRID)
    write(directory)
    lines = (tmp_path / file).read_text().splitlines()
    changed = {"twice": [*lines, lines[-1]], "missing": lines[:1] + lines[2:], "bad": [*lines, lines[-1] + "x"]}[damage]
    (tmp_path / file).write_text("\n".join(changed) + "\n")
    with pytest.raises(SimgmcError, match=file):
        directory.details()


@pytest.mark.parametrize("seconds", [np.zeros((2, len(PARTS))), np.zeros((3, 2)), np.full((3, len(PARTS)), np.nan)])
def test_details_of_other_shapes_or_unknown_seconds_are_refused(seconds):
    with pytest.raises(ValueError, match="finite seconds of 3 workers"):
        Details(seconds, np.ones(3))


def test_idle_is_everything_but_computing_and_compressing():
    seconds = np.array([[6.0, 2, 1, 0.5, 0.5, 0], [1, 0, 0, 0, 0, 3], [0, 0, 0, 0, 0, 0]])
    assert idle_share(seconds) == pytest.approx([0.2, 0.75, 0.0])


def on_star(**options):
    hosts = [Host(name, 1e6, 1e6, 0.001) for name in (*worker_names(3), "server")]
    compute = ComputeTime(0.5, (1.0, 1.0, 4.0))
    return ClusterSettings(
        star(hosts), worker_names(3), "server", "parameter-server", compute, Duration(0.25), Duration(0.0), **options
    )


def dense(nbytes):
    return Average(np.full(3, nbytes), nbytes, True, 4, np.full(3, nbytes // 4), nbytes // 4)


def test_a_parameter_server_round_is_two_messages_over_every_workers_links():
    rounds = [RoundCosts((Compute(2), dense(4000))), RoundCosts((Compute(1), dense(400)))]
    found = details_of_rounds(gradients_of(rounds), simulate(on_star(), rounds))
    assert found.gradients.tolist() == [3, 3, 3]
    assert found.seconds[:, 0] == pytest.approx([1.5, 1.5, 6.0])
    carried = {(link.source, link.destination): (link.bytes, link.messages) for link in found.links}
    assert {carried[worker, "switch"] for worker in worker_names(3)} == {(4400, 2)}
    assert carried["switch", "server"] == carried["server", "switch"] == (13200, 6)
    assert found.staleness == {}


def test_a_worker_computed_no_gradients_in_rounds_that_it_missed():
    rounds = [RoundCosts((Compute(1), dense(400)))] * 6
    timing = simulate(on_star(conditions=(Crashes((Crash(0, 0.1, 7.0),), "without"),)), rounds)
    missed = int(timing.absent[:, 0].sum())
    assert 0 < missed < 6
    assert details_of_rounds(gradients_of(rounds), timing).gradients.tolist() == [6 - missed, 6, 6]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("lost", ["the last line", "half a line", "all but the columns"])
def test_lines_that_a_finished_file_has_lost_are_noticed_and_nothing_is_changed(tmp_path, file, lost):
    write(create(tmp_path, "x", grid_keys=GRID), KEYS[:2])
    lines = (tmp_path / file).read_text().splitlines(keepends=True)
    (tmp_path / file).write_text(
        "".join(
            {
                "the last line": lines[:-1],
                "half a line": [*lines[:-1], lines[-1][:5]],
                "all but the columns": lines[:1],
            }[lost]
        )
    )
    before = contents(tmp_path)
    for read in (lambda: create(tmp_path, "x", grid_keys=GRID), lambda: open_run(tmp_path).details()):
        with pytest.raises(
            SimgmcError,
            match=(
                rf"{file}: has \d of the \d rows of SwarmSGD, ring, 1 Mbit/s, seed [01]: .* remove it to go on "
                r"without it"
            ),
        ):
            read()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("file", FILES)
def test_a_run_goes_on_without_a_file_that_was_removed(tmp_path, file):
    write(create(tmp_path, "x", grid_keys=GRID), KEYS[:1])
    (tmp_path / file).unlink()
    again = create(tmp_path, "x", grid_keys=GRID)
    assert again.finished() == set(KEYS[:1])
    number, key = 1, KEYS[1]
    again.evaluated(key, Evaluation(0, 0.0, 0.0, None, 1.0, None, 0, 0, None))
    again.finish(key, dataclasses.replace(breakdown(4, 1.5, 10, "ring"), evaluations=1), details(number))
    create(tmp_path, "x", grid_keys=GRID)
    assert same(open_run(tmp_path).details()[key], details(number))


def test_lost_lines_of_further_values_are_noticed(tmp_path):
    directory = create(tmp_path, "x", grid_keys=GRID)
    directory.evaluated(KEYS[0], Evaluation(0, 0.0, 0.0, None, 1.0, None, 0, 0, None), {"gap": 1.0, "distance": 2.0})
    directory.finish(KEYS[0], dataclasses.replace(breakdown(4, 1.5, 10, "ring"), evaluations=1), details(), others=2)
    assert open_run(tmp_path).other_metrics()[KEYS[0]] == {0: {"gap": 1.0, "distance": 2.0}}
    file = tmp_path / "other_metrics.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(SimgmcError, match="other_metrics.csv: has 1 of the 2 rows"):
        open_run(tmp_path).other_metrics()
