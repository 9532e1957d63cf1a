"""Validation: the three reference formats, what is computed, and what counts as failure."""

from __future__ import annotations

import functools
import json

import pytest

from simgmc.commands import validate as validating
from simgmc.core.errors import SimgmcError
from simgmc.network.conditions.overheads import Overheads
from simgmc.network.validation.library_rings import gloo_all_reduce, nccl_all_reduce
from simgmc.network.validation.utilisation import sync_seconds
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


@functools.cache
def real_collectives():
    return validate_file(REFERENCE / "real_collectives.json")


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
    report = real_collectives()
    assert len(report.values) == len(report.rows) == 192
    assert report.mean_error <= 0.025 and report.largest_error <= 0.05


def test_overheads_fitted_on_four_nodes_predict_eight_within_one_percent(reference):
    reference("real_collectives.json")
    fit = next(one for one in real_collectives().fits if one.kind == "nccl allreduce")
    assert fit.mean_error <= 0.01
    assert not set(fit.fitted_on) & set(fit.tested_on)


def test_gloo_is_its_own_ring_and_its_overheads_carry_over_to_more_nodes(reference):
    reference("real_collectives.json")
    report = real_collectives()
    gloo = [row for row in report.rows if row.library == "gloo" and row.collective == "allreduce"]
    untouched = [row.error for row in gloo if not row.stated]
    assert len(untouched) == 4 and max(map(abs, untouched)) < 0.02
    fit = next(one for one in report.fits if one.kind == "gloo allreduce")
    assert fit.mean_error <= 0.03 < fit.error_before
    far = [row for row in report.rows if row.collective == "dp-allreduce" and "50ms" in row.setting]
    assert len(far) == 4 and all(-0.16 < row.error < 0 for row in far)


def test_two_segments_under_way_wait_for_the_receivers_word():
    far, near = 0.1, 1e-9
    for latency in (near, far):  # 16 segments of 1 MiB a node, in 2 (K-1) steps, two at a time
        pairs = 2 * 3 * 16 / 2
        period = max(2 * 2**20 / 1e8, 2**20 / 1e8 + 2 * latency)
        assert gloo_all_reduce(4, 64 * 2**20, 1e8, latency) == pytest.approx(pairs * period, rel=0.02)
    assert nccl_all_reduce(4, 64 * 2**20, 1e8, near) == pytest.approx(1.5 * 64 * 2**20 / 1e8)
    assert nccl_all_reduce(4, 64 * 2**20, 1e8, far) == pytest.approx(4 * 6 * (far + 2**21 / 1e8) + far)


def test_compute_utilisation_of_held_out_runs_is_right_to_three_points(reference):
    reference("diloco_compute_utilisation.json")
    report = validate_file(REFERENCE / "diloco_compute_utilisation.json")
    found = report.utilisation
    assert report.compared == 31 and len(found.held_out) == 16 and found.largest <= 0.03
    stated = [row for row in found.rows if row.simulated is not None]
    assert max(abs(row.simulated / row.measured - 1) for row in stated) < 0.075  # nothing fitted
    # Without the queue, the runs at 50 Mbit/s are a fifth short.
    slow = next(row for row in stated if row.bandwidth < 7e6 and row.algorithm == "diloco")
    row = {"algorithm": "diloco", "nodes": 4, "bytes": slow.nbytes}
    assert sync_seconds(row, slow.bandwidth, Overheads()) < 0.82 * slow.measured


def test_a_run_with_a_bad_value_is_refused_by_its_key(tmp_path):
    run = {"algorithm": "a", "H": 1, "nodes": 4, "bytes": 1e6, "compute_s": 0.1, "sync_s": 1.0, "iperf_bit_s": 1e9}
    assert validate_file(write(tmp_path, {"rows": [run]})).compared == 1
    for key, value in (("H", 0), ("nodes", 1), ("sync_s", 0), ("iperf_bit_s", "fast"), ("compute_s", None)):
        with pytest.raises(SimgmcError, match=f"file.json: rows.0.: {key}"):
            validate_file(write(tmp_path, {"rows": [{**run, key: value}]}))


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
        ({"rows": [{**ROW, "collective": "dp-central-ps"}]}, "lib = 'gloo': must be one of nccl"),
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
    draw(real_collectives(), tmp_path / "validation.png")
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


@pytest.mark.parametrize("collective", ["allreduce", "broadcast", "reduce", "dp-allreduce"])
def test_without_latency_nothing_of_gloo_waits_for_a_window(tmp_path, collective):
    row = {**ROW, "collective": collective, "nodes": 2, "bytes": 8 * 2**20, "bandwidth_Bps": 1e8, "latency_s": 0.0}
    near = {**row, "latency_s": 1e-9}
    found = validate([write(tmp_path, {"rows": [row, near]})]).reports[0].values
    assert found[0] == pytest.approx(found[1], rel=1e-6) and found[0] == pytest.approx(8 * 2**20 / 1e8, rel=1e-6)
