"""Whatever standard output is, a command ends with what it was asked for or with one clear line."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w

from simgmc.core.output import escaped, in_encoding

NAMES = ("$\\frac$", "_hidden $x_ Ünï 漢")
SCENARIO = {
    "seeds": [1, 2],  # a standard deviation is printed with a sign that ASCII lacks
    "workload": {"dataset": "digits", "model": {"name": "mlp", "hidden": [8]}, "workers": 2, "batch_per_worker": 16,
                 "rounds": 4},
    "optimizer": {"learning_rate": 0.1, "momentum": 0.9},
    "cluster": {
        "topology": "star", "bandwidth": "2 Mbit/s", "latency": "2 ms", "collective": "parameter-server",
        "compute": {"gradient": "20 ms", "compression": "1 ms", "aggregation": "1 ms"},
    },
    "methods": [{"name": name, "algorithm": "dmsgd"} for name in NAMES],
    "report": {"target": 0.3, "baseline": NAMES[0]},
}  # fmt: skip


@pytest.fixture
def scenario(tmp_path):
    file = tmp_path / "odd.toml"
    file.write_bytes(tomli_w.dumps(SCENARIO).encode())
    return file


ONE_FIGURE = """
import simgmc.cli
from simgmc.commands.verbs import group
begin = group.announced_to
def announced_to(say):
    from simgmc.results.figures import plots  # only now, as matplotlib looks at its surroundings when it is loaded
    plots.FIGURES = (plots._time_to_target,)
    return begin(say)
group.announced_to = announced_to
simgmc.cli.main()
"""


def simgmc(arguments, redirect="", program=("-m", "simgmc"), **environment):
    command = f'exec "$0" "$@" {redirect}'
    environment = {**os.environ, **environment}
    return subprocess.run(
        ["sh", "-c", command, sys.executable, *program, *map(str, arguments)],
        env=environment,
        capture_output=True,
        timeout=120,
    )


def one_line_or_nothing(stderr):
    text = stderr.decode("utf-8", "replace")
    return "Traceback" not in text and text.count("\n") <= 1


def test_every_character_is_printed_in_the_smallest_encoding():
    found = simgmc(["list"], PYTHONIOENCODING="ascii")
    assert (found.returncode, found.stderr) == (0, b"")
    assert found.stdout.decode("ascii")


def test_check_prints_a_scenario_that_reads_back_the_same_in_the_smallest_encoding(scenario):
    found = simgmc(["check", scenario], PYTHONIOENCODING="ascii")
    assert [method["name"] for method in tomllib.loads(found.stdout.decode("ascii"))["methods"]] == list(NAMES)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_full_disk_under_standard_output_is_one_clear_line(scenario):
    found = simgmc(["check", scenario], "> /dev/full")
    assert found.returncode == 1
    assert found.stderr.decode() == "error: cannot write to standard output: No space left on device\n"


def test_commands_work_with_standard_output_closed(scenario):
    found = simgmc(["check", scenario], ">&-")
    assert (found.returncode, found.stderr) == (0, b"")


@pytest.mark.parametrize("redirect", [">&- 2>&-", "2>/dev/full"])
def test_errors_with_nowhere_to_go_still_set_the_exit_status(redirect):
    found = simgmc(["check", "nothing.toml"], redirect)
    assert found.returncode in (1, 2) and found.stdout == b""


def test_a_reader_that_goes_away_is_no_error(scenario):
    command = '"$0" -m simgmc list | true; "$0" -m simgmc check "$1" | head -1'
    found = subprocess.run(["sh", "-c", command, sys.executable, scenario], capture_output=True, timeout=120)
    assert one_line_or_nothing(found.stderr)


def test_a_run_ends_well_with_odd_names_a_plain_encoding_and_no_such_window_system(scenario, tmp_path):
    arguments = ["run", scenario, "--out", tmp_path / "run", "--device", "cpu"]
    found = simgmc(arguments, program=("-c", ONE_FIGURE), PYTHONIOENCODING="ascii", MPLBACKEND="nonsense")
    assert (found.returncode, found.stderr) == (0, b"")
    assert "$\\frac$" in found.stdout.decode("ascii") and "+-" in found.stdout.decode("ascii")
    assert (tmp_path / "run" / "plots" / "time_to_target.pdf").stat().st_size > 0


def test_characters_that_an_encoding_lacks_are_written_otherwise():
    assert in_encoding("3 ± 1 × → é 漢 \U0001d400", "ascii") == "3 +- 1 x -> \\u00e9 \\u6f22 \\U0001d400"
    assert in_encoding("3 ± 1 é", "latin-1") == "3 ± 1 é"
    assert escaped("± é", "ascii") == "\\u00b1 \\u00e9"
