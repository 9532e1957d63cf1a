"""A rank that is killed: the others say so and end, nothing is left behind, and the run goes on when started again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from simgmc.distributed import measured
from simgmc.distributed.events.again import again, read_order
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.asynchronous import AsynchronousTraining
from simgmc.experiment.plan import trainings
from simgmc.results.directory.run_directory import open_run
from simgmc.scenario import ScenarioFile
from tests.places import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]

SCENARIO = """
seeds = [1]
[workload]
workers = {workers}
rounds = {rounds}
evaluate_every = "100 rounds"
[workload.problem]
name = "quadratic"
start = [3.0, 1.0]
matrices = {matrices}
minimisers = {minimisers}
noise = 0.5
[optimizer]
learning_rate = 0.001
[cluster]
bandwidth = "1 Gbit/s"
latency = "1 ms"
collective = "ring"
compute = {{ gradient = "1 ms", compression = "1 ms", aggregation = "1 GB/s" }}
[gossip]
graph = "ring"
[report]
metric = "gap"
[[methods]]
name = "M"
algorithm = "{algorithm}"
"""


def command(folder: Path, algorithm: str, rounds: int = 100_000, workers: int = 2) -> list[str]:
    """The module and its arguments."""
    matrices = [[1.0 + number % 2, 2.0 - number % 2] for number in range(workers)]
    minimisers = [[float(number % 2 == 0), float(number % 2)] for number in range(workers)]
    text = SCENARIO.format(
        algorithm=algorithm, rounds=rounds, workers=workers, matrices=matrices, minimisers=minimisers
    )
    (folder / "run.toml").write_text(text)
    return ["-m", "simgmc.distributed", "run.toml", "-o", "run", "--no-plots", "--checkpoint-every", "0"]


def begun(folder: Path, rounds: int) -> None:
    """Wait until so many rounds, or gradients, are written down."""
    for _ in range(1800):
        if any(len(file.read_text().splitlines()) > 2 * rounds for file in folder.glob("run/measured/*.csv")):
            return
        time.sleep(0.1)
    raise AssertionError("the run has not begun")


def is_there(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("algorithm", "workers", "killed"),
    [("sgd", 2, 1), ("swarm-sgd", 2, 1), ("osgp", 3, 1), ("ad-psgd", 4, 2), ("async-sgd", 3, 1), ("async-sgd", 3, 0)],
)
def test_without_a_launcher_that_watches_the_others_end_by_themselves(tmp_path, algorithm, workers, killed):
    """Each says which one is gone, whether it waits for that one or not; rank 0 is the server, too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    chosen = command(tmp_path, algorithm, workers=workers)
    together = {"WORLD_SIZE": str(workers), "MASTER_PORT": str(port), "MASTER_ADDR": "127.0.0.1"}

    def rank(number: int) -> subprocess.Popen:
        env = os.environ | together | {"RANK": str(number), "LOCAL_RANK": str(number), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, *chosen], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)

    ranks = [rank(number) for number in range(workers)]
    try:
        begun(tmp_path, 100)
        ranks[killed].kill()
        gone = rf"rank {killed} \(process {ranks[killed].pid} on .*\)"
        for number, one in enumerate(ranks):
            if number != killed:
                _, said = one.communicate(timeout=60)
                assert one.returncode == 1 and "Traceback" not in said
                assert re.search(rf"^error: rank {number}: .*{gone}.* ended", said, re.MULTILINE), said
    finally:
        for one in ranks:
            one.kill()
            one.wait()


def test_under_torchrun_all_end_and_the_same_command_goes_on(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    chosen = command(tmp_path, "sgd", 3000)
    run = subprocess.Popen([*torchrun, *chosen], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    begun(tmp_path, 400)
    ranks = [int(pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    os.kill(ranks[1], signal.SIGKILL)
    _, said = run.communicate(timeout=60)
    assert run.returncode != 0 and re.search(r"^error: rank 0: .*rank 1", said, re.MULTILINE), said
    assert len(ranks) == 2 and not any(map(is_there, ranks))
    again = subprocess.run([*torchrun, *chosen], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and "goes on after round" in again.stdout, again.stderr
    directory = open_run(tmp_path / "run")
    steps = [one for one in measured.read(directory, "M, seed 1") if one.step == -1]
    assert sorted((one.rank, one.round) for one in steps) == [(rank, n) for rank in (0, 1) for n in range(3000)]
    assert not list((tmp_path / "run" / "checkpoint").glob("*"))


@pytest.mark.parametrize("algorithm", ["sgd", "swarm-sgd", "async-sgd", "osgp"])
def test_torchrun_starts_it_again_and_it_goes_on_where_it_was_saved(tmp_path, algorithm):
    """An asynchronous one ends with what its order of events says, part of which is of the processes before."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    chosen = [*command(tmp_path, algorithm, 1500), "--overwrite"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        [*torchrun, *chosen], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    begun(tmp_path, 400)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    out, said = run.communicate(timeout=300)
    assert run.returncode == 0 and "goes on after" in out, said
    assert not list((tmp_path / "run" / "checkpoint").glob("*"))
    directory, (training,) = open_run(tmp_path / "run"), trainings(ScenarioFile.read(tmp_path / "run.toml").points)
    if isinstance(training, AsynchronousTraining):
        workload = WorkloadFactory("cpu", None, 1)(training.scenario, 1)
        same = again(training, workload, read_order(directory, training.key))
        assert sum(one.gradients for one in same.runs) >= 2 * 1500
        (file,) = (tmp_path / "run" / "models").iterdir()
        (found,) = load_file(file).values()
        assert torch.equal(found.view(-1), same.model())
