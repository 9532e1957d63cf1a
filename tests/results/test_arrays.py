import math

import numpy as np
import pytest

from simgmc.core.errors import SimgmcError
from simgmc.core.transport import Transport
from simgmc.results.directory.records import Evaluation, SeriesKey
from simgmc.results.directory.run_directory import open_run
from simgmc.results.series.arrays import read_arrays
from tests.results.synthetic_runs import accuracy_curve, write_run

RING = Transport("collective", "ring")

POINTS = [
    {"cluster.collective": c, "cluster.bandwidth": "1 Gbit/s", "text": 'a "b", c'} for c in ("ring", "parameter-server")
]


def as_rows(columns):
    return [
        tuple(None if math.isnan(value) else value for value in row)
        for row in zip(*(columns[name] for name in columns), strict=True)
    ]


@pytest.mark.parametrize("loss_only", [False, True])
def test_columns_hold_what_the_evaluations_hold_bit_for_bit(tmp_path, loss_only):
    directory = write_run(
        tmp_path, {"A, b": accuracy_curve(0.9, 0.3), "C": accuracy_curve(0.8, 0.1)}, points=POINTS, loss_only=loss_only
    )
    columns, objects = read_arrays(directory), directory.evaluations()
    assert list(columns) == list(objects)
    for key, rows in objects.items():
        assert as_rows(columns[key]) == [tuple(vars(row).values()) for row in rows]
        assert all(column.dtype == np.float64 for column in columns[key].values())


def test_series_whose_rows_are_interleaved_are_put_together(tmp_path):
    directory = write_run(tmp_path, {}, points=POINTS)
    keys = [SeriesKey(method, RING, 0, POINTS[0]) for method in "ab"]
    for done in range(3):
        for key in keys:
            directory.evaluated(key, Evaluation(done, done / 2, done * 1.5, None, 1.0, None, done, done, None))
    columns = read_arrays(directory)
    assert list(columns) == keys
    assert columns[keys[1]]["sim_time_s"].tolist() == [0.0, 1.5, 3.0]


def test_a_row_that_was_being_written_is_left_out_and_a_wrong_one_is_named(tmp_path):
    directory = write_run(tmp_path, {"A": accuracy_curve(0.9, 0.3)}, points=POINTS[:1], seeds=(0,), evaluations=3)
    file = directory.path / "metrics.csv"
    whole = file.read_text()
    file.write_text(whole + "A,ring,0,40,4.0,4")
    assert [len(columns["round"]) for columns in read_arrays(open_run(tmp_path)).values()] == [4]
    file.write_text(whole + "A,ring,0,4.5,4.0,40.0,,1.0,,1,1,,1 Gbit/s,x\n")
    with pytest.raises(SimgmcError, match="line 6, is not a row of a run"):
        read_arrays(open_run(tmp_path))
