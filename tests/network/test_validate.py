"""Validation: the three reference formats, what is computed, and what counts as failure."""

from __future__ import annotations

import json

import pytest

from simgmc.commands import validate as validating
from simgmc.core.errors import SimgmcError
from simgmc.network.validation.validate import validate, validate_file
from simgmc.network.validation.validation_figure import draw
from tests.places import REFERENCE

RING = {
    "nodes": 2,
    "slices": 1,
    "steps": 2,
    "chunk_bytes": [100, 100],
    "up": [100, 100],
    "down": [100, 100],
    "latency": 0.5,
    "ready": [0, 0],
    "makespan": 3.0,
}


def write(tmp_path, document):
    path = tmp_path / "file.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_the_reference_files_pass(reference):
    for name in ("max_min_cases.json", "sliced_ring_cases.json"):
        reference(name)
    result = validate([REFERENCE / "max_min_cases.json", REFERENCE / "sliced_ring_cases.json"])
    assert result.passed and max(report.largest_error for report in result.reports) < 1e-12
    values = result.as_json()
    cases = values[str(REFERENCE / "max_min_cases.json")]
    assert cases["single/lan"] == {"first": {"f": pytest.approx(0.0801)}, "last": {"f": pytest.approx(0.0801)}}
    assert len(values[str(REFERENCE / "sliced_ring_cases.json")]) == 40


def test_nccl_all_reduce_is_within_the_stated_error_of_measurements(reference):
    reference("real_collectives.json")
    report = validate_file(REFERENCE / "real_collectives.json")
    assert len(report.values) == len(report.rows) == 192
    assert report.mean_error <= 0.025 and report.largest_error <= 0.05


def test_overheads_fitted_on_four_nodes_predict_eight_within_one_percent(reference):
    reference("real_collectives.json")
    fit = validate_file(REFERENCE / "real_collectives.json").fit
    assert fit.mean_error <= 0.01
    assert not set(fit.fitted_on) & set(fit.tested_on)


def test_an_exact_case_that_is_off_fails(tmp_path):
    assert validate([write(tmp_path, {"cases": [RING]})]).passed
    result = validate([write(tmp_path, {"cases": [{**RING, "makespan": 3.0 * (1 + 1e-8)}]})])
    assert not result.passed and result.reports[0].worst.startswith("case 0")


def test_what_cannot_finish_or_is_not_modelled_has_no_time(tmp_path):
    dead = {
        "name": "dead",
        "links": [{"id": "l", "bandwidth": 0, "latency": 0}],
        "flows": [{"id": "f", "route": ["l"], "bytes": 1}],
    }
    report = validate_file(write(tmp_path, {"cases": [{**dead, "expected": {"f": None}}]}))
    assert report.passed and report.values == {"dead": {"first": {"f": None}, "last": {"f": None}}}
    assert not validate_file(write(tmp_path, {"cases": [{**dead, "expected": {"f": 1.0}}]})).passed
    row = {
        "collective": "alltoall",
        "lib": "nccl",
        "nodes": 4,
        "bytes": 8,
        "latency_s": 0.1,
        "bandwidth_Bps": 8,
        "measured_s": 1.0,
    }
    measured = validate_file(write(tmp_path, {"rows": [row, {**row, "collective": "p2p"}]}))
    assert measured.values == [None, pytest.approx(1.1)] and len(measured.rows) == 1


@pytest.mark.parametrize(
    "document",
    ["not json", {"cases": [{"x": 1}]}, [], {"cases": [{**RING, "nodes": None}]}, {"cases": [{"slices": 1}]}],
)
def test_a_file_that_is_no_reference_is_refused(tmp_path, document):
    with pytest.raises(SimgmcError, match="file.json"):
        validate([write(tmp_path, document)])


LINK = {"id": "l", "bandwidth": 10, "latency": 0}
FLOW = {"id": "f", "route": ["l"], "bytes": 10}
CASE = {"name": "one", "links": [LINK], "flows": [FLOW], "expected": {"f": 1.0}}
ROW = {
    "collective": "broadcast",
    "lib": "gloo",
    "nodes": 4,
    "bytes": 8,
    "latency_s": 0.1,
    "bandwidth_Bps": 8,
    "measured_s": 1.0,
}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"cases": []}, "cases is empty"),
        ({"rows": []}, "rows is empty"),
        ({"rows": [1]}, "rows.0. = 1: must be a table"),
        ({"cases": [{**RING, "nodes": 3}]}, "chunk_bytes = a list of 2: must be a list of 3 numbers"),
        *(({"rows": [{**ROW, key: value}]}, key) for key, value in [
            ("measured_s", 0), ("measured_s", -1), ("nodes", 0), ("nodes", 1), ("nodes", -1), ("nodes", "x"),
            ("nodes", 10**400), ("bytes", -1),
            ("bytes", float("inf")), ("bytes", float("nan")), ("lib", "mpi"), ("setting", 5), ("bandwidth_Bps", 0),
            ("latency_s", [1]), ("collective", None),
        ]),
        *(({"cases": [{**RING, key: value}]}, key) for key, value in [
            ("nodes", 0), ("nodes", 1), ("slices", 0), ("slices", 10**9), ("steps", 3), ("ready", [0, 0, 0]),
            ("ready", []), ("ready", [0, "x"]),
            ("up", [0, 1]), ("chunk_bytes", None), ("latency", -1), ("makespan", "x"), ("makespan", 10**400),
        ]),
        *(({"cases": [{**CASE, key: value}]}, says) for key, value, says in [
            ("expected", [1], "expected"), ("expected", {"g": 1}, "expected"), ("links", 1, "links"),
            ("links", [LINK, LINK], "every id appears once"),
            ("flows", [{**FLOW, "route": ["m"]}], "route"), ("flows", [{**FLOW, "after": ["f", []]}], "after"),
            ("flows", [{**FLOW, "bytes": -1}], "bytes"),
            ("events", [{"time": 0, "link": "x", "bandwidth": 1}], "link"), ("name", 4, "name"),
        ]),
        ({"cases": [CASE, CASE]}, "a name of its own"),
        ("[" * 100_000, "nested"),
        (b"\xff", "UTF-8"),
    ],
)  # fmt: skip
def test_a_reference_file_with_a_bad_value_is_refused_by_its_key(tmp_path, document, says):
    path = tmp_path / "file.json"
    if isinstance(document, bytes):
        path.write_bytes(document)
    else:
        path = write(tmp_path, document)
    with pytest.raises(SimgmcError, match=says) as refusal:
        validate_file(path)
    assert "file.json" in str(refusal.value) and "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


@pytest.mark.parametrize("case", [{**RING, "makespan": float("nan")}, {**CASE, "expected": {"f": float("nan")}}])
def test_an_expected_value_of_nan_fails(tmp_path, case):
    result = validate([write(tmp_path, {"cases": [case]})])
    assert not result.passed and result.reports[0].worst


@pytest.mark.parametrize("path", ["validation", "validation.xyz", "nowhere/validation.png"])
def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path, path):
    with pytest.raises(SimgmcError, match="validation"):
        validating.run([write(tmp_path, "not json")], picture=str(tmp_path / path))


def test_words_of_a_file_are_printed_as_they_are(tmp_path, capsys):
    validating.run([write(tmp_path, {"rows": [{**ROW, "setting": "[/b] 1"}]})])
    assert "[/b] 1" in capsys.readouterr().out


def test_a_missing_file_is_refused():
    with pytest.raises(SimgmcError, match="nowhere.json"):
        validate(["nowhere.json"])


def test_the_picture_is_drawn(tmp_path, reference):
    reference("real_collectives.json")
    draw(validate_file(REFERENCE / "real_collectives.json"), tmp_path / "validation.png")
    assert (tmp_path / "validation.png").stat().st_size > 10_000


def test_what_is_left_out_is_named_and_nothing_to_compare_is_a_failure(tmp_path):
    row = {"lib": "nccl", "nodes": 2, "bytes": 8, "latency_s": 0.1, "bandwidth_Bps": 8.0, "measured_s": 1.0}
    rows = [row | {"collective": name} for name in ("allgather", "all_reduce", "allreduce")]
    some = validate_file(write(tmp_path, {"rows": rows}))
    assert some.passed and some.compared == 1
    assert any("allgather" in line for line in some.left_out)
    assert any('did you mean "allreduce"' in line for line in some.left_out if "all_reduce" in line)
    none = validate_file(write(tmp_path, {"rows": rows[:2] + [row | {"collective": "p2p", "measured_s": None}]}))
    assert not none.passed and len(none.left_out) == 3
    silent = validate_file(
        write(tmp_path, {"cases": [{key: value for key, value in RING.items() if key != "makespan"}]})
    )
    assert not silent.passed and "makespan" in silent.left_out[0]
