"""The timeline of a run: a valid trace whose spans add up, and pictures of everything."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from simgmc.commands.timeline import timeline
from simgmc.core.errors import SimgmcError
from simgmc.experiment import run as running
from simgmc.scenario import ScenarioFile
from tests.small_runs import SMALL


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    base = {
        **SMALL,
        "methods": SMALL["methods"][:2],
        "workload": {**SMALL["workload"], "rounds": 6, "evaluate_every": "3 rounds"},
    }
    file = ScenarioFile(base, "small.toml", [("grid.cluster.collective", ["parameter-server", "ring"])])
    return running.run(file, out=tmp_path_factory.mktemp("run") / "run", device="cpu", console=Console(file=StringIO()))


def watch(run, **options):
    return timeline(run, console=Console(file=StringIO()), **options)


@pytest.fixture(scope="module")
def ring_trace(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("timeline")
    files = watch(finished, methods=["GMC"], at=[("cluster.collective", "ring")], rounds="1:3", out=folder)
    return files, json.loads(next(file for file in files if file.suffix == ".json").read_text())


def test_a_trace_and_three_pictures_are_written(ring_trace):
    names = {file.name.split(".", 1)[1] for file in ring_trace[0]}
    assert names == {"trace.json", "gantt.png", "gantt.pdf", "links.png", "links.pdf", "topology.png", "topology.pdf"}


def test_the_trace_is_valid_trace_event_json(ring_trace):
    events = ring_trace[1]["traceEvents"]
    complete = [event for event in events if event["ph"] == "X"]
    assert complete and all(event["dur"] >= 0 and event["ts"] >= 0 for event in complete)
    named = {(event["pid"], event["tid"]) for event in events if event["ph"] == "M" and event["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in complete} <= named


def test_spans_of_one_track_do_not_overlap_unless_nested(ring_trace):
    tracks: dict = {}
    for event in ring_trace[1]["traceEvents"]:
        if event["ph"] == "X":
            tracks.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in tracks.values():
        open_until: list[float] = []
        for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while open_until and open_until[-1] <= start + 1e-6:
                open_until.pop()
            assert not open_until or end <= open_until[-1] + 1e-6
            open_until.append(end)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"methods": ["DMSGD", "GMD"]}, "GMC"),
        ({"seed": 99}, "3"),
        ({"at": [("cluster.collective", "rong")]}, "ring"),
        ({"rounds": "4:99"}, "its last round is 5"),
        ({"rounds": "3:1"}, "3:1"),
        ({"rounds": "x"}, "x"),
    ],
)
def test_a_series_that_there_is_not_is_refused_with_what_there_is(finished, options, says):
    with pytest.raises(SimgmcError, match=says):
        watch(finished, **options)


def test_several_methods_may_be_asked_for(finished, tmp_path, without_pictures):
    names = [one.get("name", one["algorithm"]) for one in SMALL["methods"][:2]]
    files = watch(finished, methods=names, rounds="0", out=tmp_path)
    assert sorted(file.name for file in files if file.suffix == ".json") == sorted(
        f"{name}.trace.json" for name in names
    )


def test_a_method_without_a_round_is_named_and_the_others_are_drawn(tmp_path, without_pictures):
    lattice = {"name": "lattice", "side": 1e-30}
    base = {
        **SMALL,
        "methods": [SMALL["methods"][0], {"name": "Q", "algorithm": "qsgd", "compressor": lattice}],
        "workload": {**SMALL["workload"], "rounds": 4, "evaluate_every": "4 rounds"},
    }
    console = Console(file=StringIO(), width=200)
    run = running.run(ScenarioFile(base, "s.toml"), out=tmp_path / "run", device="cpu", console=console)
    shown = StringIO()
    files = timeline(run, console=Console(file=shown, width=200), out=tmp_path)
    assert {file.name.split(".")[0] for file in files} == {"DMSGD"}
    assert "Q, parameter-server, seed 3: has no round to show" in shown.getvalue()
    with pytest.raises(SimgmcError, match="run: Q, .*has no round to show"):
        watch(run, methods=["Q"], out=tmp_path)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(SimgmcError, match="holds no run"):
        watch(tmp_path)
