"""Partitions by index file: every format gives the same, every mistake is named."""

import json

import numpy as np
import pytest

from simgmc.core.errors import SimgmcError
from simgmc.scenario import ScenarioFile
from simgmc.workloads.partitions.catalogue import partition
from tests.small_runs import ON_A_STAR

LABELS = np.arange(20) % 4
TRUTH = [[3, 1, 7], [0], [19, 5]]


def write(path, lists):
    if path.suffix == ".npz":
        np.savez(path, **{f"worker{number}": np.array(one) for number, one in enumerate(lists)})
    elif path.suffix == ".json":
        path.write_text(json.dumps({f"worker{number}": one for number, one in enumerate(lists)}))
    elif path.suffix == ".csv":
        path.write_text(
            "worker,index\n" + "".join(f"{number},{index}\n" for number, one in enumerate(lists) for index in one)
        )
    else:
        path.write_text("".join(" ".join(map(str, one)) + "\n" for one in lists))
    return str(path)


@pytest.mark.parametrize("end", ["npz", "json", "csv", "txt"])
def test_every_format_gives_the_partition_that_was_written(tmp_path, end):
    owned = partition("file", LABELS, 3, 0, path=write(tmp_path / f"who.{end}", TRUTH))
    assert [piece.tolist() for piece in owned] == [sorted(one) for one in TRUTH]


def test_a_json_list_of_lists_will_do_and_workers_go_by_number_not_by_name(tmp_path):
    path = tmp_path / "who.json"
    path.write_text(json.dumps(TRUTH))
    assert partition("file", LABELS, 3, 0, path=str(path))[2].tolist() == [5, 19]
    path.write_text(json.dumps({f"worker{number}": [number] for number in reversed(range(11))}))
    assert [piece.tolist() for piece in partition("file", LABELS, 11, 0, path=str(path))] == [
        [number] for number in range(11)
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("who.pkl", b"", "its name must end in one of .npz, .json, .csv, .txt"),
        ("who.json", b"{", "not valid JSON"),
        ("who.json", b"3", "must hold a list of lists"),
        ("who.json", b"[[1], [2]]", "names 2 workers, the scenario has 3"),
        ("who.json", b'[[1], [2], "x"]', "worker 2 has str 'x', not a list of indices"),
        ("who.json", b"[[1], [2.5], [3]]", "worker 1: '2.5' is not the index of a sample"),
        ("who.json", b"[[1], [true], [3]]", "worker 1: 'True' is not the index"),
        ("who.json", b"[[1], [], [3]]", "worker 1 holds no samples"),
        ("who.json", b"[[1], [20], [3]]", "worker 1: index 20 is not in 0 .. 19"),
        ("who.json", b"[[1], [-1], [3]]", "worker 1: index -1 is not in 0 .. 19"),
        ("who.json", b"[[1, 4], [2], [4]]", "index 4 is held by worker 0 and by worker 2"),
        ("who.json", b"[[1], [2, 2], [4]]", "worker 1 lists index 2 twice"),
        ("who.json", b'{"a0": [1], "a1": [2], "a3": [3]}', "there is no worker2"),
        ("who.json", b'{"me": [1]}', "'me' names no worker"),
        ("who.csv", b"0,1\n1,2\n2,3\n", "its first line must be worker,index"),
        ("who.csv", b"worker,index\n0,1\n1,x\n", "line 3: '1,x' is not worker,index in whole numbers"),
        ("who.txt", b"1\n2 b\n3\n", "line 2: '2 b' is not a list of whole numbers"),
        ("who.txt", b"1\n\n3\n", "worker 1 holds no samples"),
        ("who.npz", b"not a zip", "who.npz"),
    ],
)
def test_mistakes_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SimgmcError) as caught:
        partition("file", LABELS, 3, 0, path=str(path))
    assert message in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_arrays_that_hold_no_indices_are_refused(tmp_path):
    for arrays, message in (
        ([np.zeros(2), np.ones(1), np.ones(1)], "worker 0: an array of float64"),
        ([np.array([[1]])] * 3, "of shape"),
    ):
        path = tmp_path / "who.npz"
        np.savez(path, **{f"worker{number}": array for number, array in enumerate(arrays)})
        with pytest.raises(SimgmcError, match=message):
            partition("file", LABELS, 3, 0, path=str(path))
    with pytest.raises(SimgmcError, match="cannot read the partition file .*nowhere.txt: No such file"):
        partition("file", LABELS, 3, 0, path=str(tmp_path / "nowhere.txt"))


SCENARIO = (
    """
seeds = [1]
[workload]
dataset = { name = "text", path = "../a.txt", block = 4 }
model = "gpt"
partition = { name = "file", path = "who.json" }
workers = 3
batch_per_worker = 1
epochs = 1
[optimizer]
learning_rate = 0.1
"""
    + ON_A_STAR
)


def test_paths_are_relative_to_the_scenarios_folder_and_absolute_when_resolved(tmp_path):
    folder = tmp_path / "scenarios"
    folder.mkdir()
    (folder / "a.toml").write_text(SCENARIO)
    file = ScenarioFile.read(folder / "a.toml")
    workload = file.points[0].scenario.workload
    assert workload.partition.options["path"] == str(folder / "who.json")
    assert workload.dataset.options["path"] == str(folder / "../a.txt")
    (tmp_path / "resolved.toml").write_text(file.resolved())
    assert ScenarioFile.read(tmp_path / "resolved.toml").points == file.points
    changed = ScenarioFile.read(
        folder / "a.toml",
        [("workload.partition.path", "other.txt"), ("grid.workload.partition.path", ["x.txt", "y.txt"])],
    )
    assert [point.scenario.workload.partition.options["path"] for point in changed.points] == [
        str(folder / "x.txt"),
        str(folder / "y.txt"),
    ]


def test_partitions_by_label_are_refused_for_text(tmp_path):
    (tmp_path / "a.toml").write_text(SCENARIO)
    with pytest.raises(SimgmcError, match='workload.partition.* = "dirichlet": goes by labels'):
        ScenarioFile.read(tmp_path / "a.toml", [("workload.partition", "dirichlet")])


def damaged(path, what):
    """An .npz file of two workers that is broken in its own way."""
    np.savez_compressed(path, worker0=np.arange(500), worker1=np.arange(500, 1000))
    content = bytearray(path.read_bytes())
    local, central = content.find(b"PK\x03\x04"), content.find(b"PK\x01\x02")
    if what == "corrupt":
        content[60:90] = b"\xff" * 30
    elif what == "encrypted":
        content[local + 6] |= 1
        content[central + 8] |= 1
    else:
        content[local + 8] = content[central + 10] = 99  # a compression that nobody knows
    path.write_bytes(content)


@pytest.mark.parametrize("what", ["corrupt", "encrypted", "unknown"])
def test_a_broken_archive_is_named(tmp_path, what):
    damaged(tmp_path / "who.npz", what)
    with pytest.raises(SimgmcError, match="partition file .*who.npz: "):
        partition("file", np.zeros(1000, int), 2, 0, path=str(tmp_path / "who.npz"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("who.csv", "worker,index\n0," + "1" * 200_000, "field larger"),
        ("who.csv", "worker,index\n-1,0\n0,1\n", "line 2: there is no worker -1"),
        ("who.json", '{"worker0": [1], "worker0": [2], "worker1": [3]}', "'worker0' is there twice"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(SimgmcError, match=words):
        partition("file", LABELS, 2, 0, path=str(tmp_path / name))


def test_lines_may_end_as_on_any_system(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "who.csv").write_bytes(end.join(["worker,index", "0,1", "1,2"]).encode())
        assert [piece.tolist() for piece in partition("file", LABELS, 2, 0, path=str(tmp_path / "who.csv"))] == [
            [1],
            [2],
        ]
