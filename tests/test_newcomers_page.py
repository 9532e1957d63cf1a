"""What ``simgmc/README.md`` says of adding to the program is done in a copy of the package, and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.places import ROOT
from tests.rooms import SIMGMC

PAGE = (ROOT / "simgmc/README.md").read_text(encoding="utf-8")
KINDS = ("An algorithm", "A compressor", "A collective", "A topology", "A condition", "A column", "A figure")

SCENARIO = """
seeds = [1]
workload = { workers = 4, rounds = 4, evaluate_every = "1 rounds", problem = { name = "quadratic", MATRICES } }
optimizer = { learning_rate = 0.1, momentum = 0.5 }
methods = [
    { name = "Nesterov", algorithm = "nesterov-sgd" },
    { name = "Strided", algorithm = "ef-sgdm", compressor = { name = "strided", every = 4 } },
]
report = { baseline = "Nesterov", metric = "gap" }

[cluster]
topology = { name = "line", latency = "1 ms" }
bandwidth = "1 Mbit/s"
latency = "5 ms"
collective = "all-to-all"
compute = { gradient = "20 ms", compression = "1 ms", aggregation = "3 ms" }
warm_up = { rounds = 2, times = 3 }
""".replace("MATRICES", f"matrices = {[[1.0] * 8] * 4}, minimisers = {[[1.0] * 8] * 4}, start = {[0.0] * 8}")

RUN = """
from simgmc.cli import main
from simgmc.results.directory.run_directory import open_run
from simgmc.results.figures import plots
from simgmc.results.series.read import read_results

plots.FIGURES = (plots.bytes_sent,)  # the others are drawn elsewhere
main(["run", "added.toml", "--out", "run"], standalone_mode=False)
print("READ")
for one in read_results(open_run("run")).series:
    print(one.key.method, *one["sim_time_s"], *one["bytes_up"], *one["bytes_per_epoch"], sep=",")
"""


def section(title):
    """The text under a heading, up to the next."""
    return PAGE.partition(f"\n### {title}\n")[2].partition("\n### ")[0]


def follow(text, folder):
    """Do what the blocks of a text say to the package in a folder: write files, add and take away lines."""
    for kind, name, block in re.findall(r"```(python|diff)\n# (\S+)\n(.*?)```", text, re.S):
        file = folder / name
        if kind == "python":
            assert not file.exists(), f"{name} is there already"
            file.write_text(block)
            continue
        content = file.read_text()
        for hunk in block.split("...\n"):
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] in " -")
            after = "".join(line[1:] for line in lines if line[0] in " +")
            assert content.count("\n" + before) == 1, f"{name}: not there, or more than once:\n{before}"
            content = content.replace("\n" + before, "\n" + after)
        file.write_text(content)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package as it is with all seven additions, and the output of a run that has them."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "simgmc", folder / "simgmc")
    for kind in KINDS:
        follow(section(kind), folder)
    (folder / "added.toml").write_text(SCENARIO)
    printed = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert printed.returncode == 0, printed.stdout + printed.stderr
    return folder, printed.stdout.partition("READ\n")[2].splitlines()


def test_what_is_added_takes_one_file_and_one_line_in_a_list():
    for kind in KINDS:
        files = re.findall(r"```python\n# (\S+)", section(kind))
        lists = re.findall(r"```diff\n# (\S+)\n(.*?)```", section(kind), re.S)
        assert len(files) == (kind != "A column") and len(lists) == 2 - len(files)


def test_a_run_has_what_was_added(copy):
    folder, printed = copy
    found = {}
    for line in printed:
        method, *numbers = line.split(",")
        found[method] = [[float(number) for number in numbers[at : at + 5]] for at in (0, 5, 10)]
    assert set(found) == {"Nesterov", "Strided"}
    for method, nbytes, compression in (("Nesterov", 32, 0), ("Strided", 8, 0.001)):
        times, sent, per_epoch = found[method]
        # The collective: three copies to everyone over the access links; the longest way has three hops of 1 ms.
        exchange = 3 * nbytes / 125_000 + 2 * 0.005 + 3 * 0.001 + 0.003
        # The condition: gradients take three times as long in the first two rounds.
        rounds = [gradient + compression + exchange for gradient in (0.06, 0.06, 0.02, 0.02)]
        assert [b - a for a, b in zip(times, times[1:])] == pytest.approx(rounds, rel=1e-9)
        assert sent[-1] == 4 * 4 * 3 * nbytes
        # The column; an epoch of this problem is a round.
        assert per_epoch[1:] == pytest.approx([4 * 3 * nbytes] * 4) and per_epoch[0] != per_epoch[0]
    assert (folder / "run/plots/bytes_sent.png").stat().st_size > 1000


def test_a_page_that_names_lines_that_are_gone_is_noticed(tmp_path):
    (tmp_path / "list.py").write_text("LIST = (\n    one,\n)\n")
    follow("```diff\n# list.py\n     one,\n+    two,\n```", tmp_path)
    assert (tmp_path / "list.py").read_text() == "LIST = (\n    one,\n    two,\n)\n"
    with pytest.raises(AssertionError, match="not there"):
        follow("```diff\n# list.py\n     three,\n+    four,\n```", tmp_path)


def test_every_file_that_the_page_names_is_there():
    named = set(re.findall(r"`((?:simgmc|tests)/[\w/.]*)`", PAGE))
    assert len(named) > 15 and [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_page_has_the_rooms_in_their_order():
    rooms = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    folders = {file.parent.name for file in (ROOT / "simgmc").glob("*/__init__.py")}
    assert rooms == [room for room in SIMGMC.order if room in folders]
