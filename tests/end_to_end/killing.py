"""The real command line in processes that are killed with SIGKILL and started again."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_FORKS = """
import json, os, sys, traceback
import scipy, sklearn.datasets, sklearn.utils.validation, torch, torch._dynamo, torch.utils.flop_counter
from simgmc import cli
from simgmc.results import report as reporting
from simgmc.experiment.answers import told
# Pictures take seconds and have tests of their own.
reporting.draw_plots = lambda *arguments, **options: {}
told.write_page = lambda *arguments: None
for line in sys.stdin:
    arguments, log = json.loads(line)
    child = os.fork()
    if not child:
        for number in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        status = 1
        try:
            cli.main(arguments)
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Commands:
    """Starts ``simgmc`` again and again, each time in a process of its own.

    ``forked``: from a process that has loaded the libraries already, which takes milliseconds
    instead of seconds; otherwise with a new interpreter.
    """

    def __init__(self, log: Path, forked: bool):
        self._log = log
        self._parent = None
        if forked:
            self._parent = subprocess.Popen(
                [sys.executable, "-c", _FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *error: object) -> None:
        if self._parent is not None:
            self._parent.stdin.close()
            self._parent.wait(60)

    @property
    def printed(self) -> str:
        return self._log.read_text()

    def run(self, arguments: list[str], until: Callable[[], bool] = lambda: False) -> int:
        """Exit status; -9 where the process was killed, as soon as ``until`` said so."""
        if self._parent is None:
            with self._log.open("a") as log:
                process = subprocess.Popen([sys.executable, "-m", "simgmc", *arguments], stdout=log, stderr=log)
            while process.poll() is None:
                if until():
                    process.kill()
                    return process.wait()
                time.sleep(0.001)
            return process.returncode
        self._parent.stdin.write(json.dumps([arguments, str(self._log)]).encode() + b"\n")
        child = int(self._parent.stdout.readline())
        while not select.select([self._parent.stdout], [], [], 0.001)[0]:
            if until():
                os.kill(child, signal.SIGKILL)
                break
        return int(self._parent.stdout.readline())


class Life:
    """Ends at a drawn moment: after so many new checkpoints (0: when the run begins to write), and a little later."""

    def __init__(self, run: Path, checkpoints: int, more: float):
        self._folder, self._left, self._more = run, checkpoints, more
        self._newest: set[tuple[str, int]] | None = None
        self._end: float | None = None
        self.over()

    def over(self) -> bool:
        """Whether it has ended; to be asked again and again."""
        if self._end is None and self._happened():
            self._left -= 1
            if self._left <= 0:
                self._end = time.monotonic() + self._more
        return self._end is not None and time.monotonic() >= self._end

    def _happened(self) -> bool:
        if not self._left:
            return (self._folder / ".lock").exists()
        try:
            there = {
                (entry.name, entry.inode())
                for entry in os.scandir(self._folder / "checkpoint")
                if entry.name.endswith(".state")
            }
        except FileNotFoundError:
            there = set()
        before, self._newest = self._newest, there or self._newest or set()
        return before is not None and bool(there) and there != before


def results(run: Path) -> dict[str, bytes]:
    """Every file of a run but its plots, and its page, which names the directory."""
    return {
        str(file.relative_to(run)): file.read_bytes()
        for file in sorted(run.rglob("*"))
        if file.is_file() and file.parent.name != "plots" and file.name != "report.html"
    }


def killed_again_and_again(commands: Commands, scenario: Path, folder: Path, kills: int, seed: int) -> int:
    """Run once undisturbed, and once killed and resumed until it ends; returns how often it was killed.

    Compares what both leave. Most lives end between two rounds or inside one, some before there
    is anything to go on from, and the last ones while results are written.
    """
    run = folder / "killed"

    def arguments(out: Path, every: float = 60, *more: str) -> list[str]:
        return [
            "run",
            str(scenario),
            "--device",
            "cpu",
            "--threads",
            "1",
            "--out",
            str(out),
            "--checkpoint-every",
            str(every),
            *more,
        ]

    began = time.monotonic()
    assert commands.run(arguments(folder / "never")) == 0, commands.printed
    whole = time.monotonic() - began
    draws = random.Random(seed)
    # States after every round, or so rarely that several rounds are lost with each kill.
    lives = [(draws.choice([(0, 1), (0, 5), (0, 12), (0.02, 1)]), draws.uniform(0, 0.03)) for _ in range(kills)]
    lives[::4] = [((0, 0), draws.uniform(0, 0.1)) for _ in lives[::4]]
    lives += [((60, 0), draws.uniform(0.3, 1.0) * whole) for _ in range(2)]
    killed = 0
    for (every, checkpoints), more in lives:
        resume = ["--resume"] if (run / "metrics.csv").exists() and (run / "scenario.toml").exists() else []
        status = commands.run(arguments(run, every, *resume), Life(run, checkpoints, more).over)
        assert status in (0, -signal.SIGKILL), commands.printed
        killed += status != 0
    assert commands.run(arguments(run)) == 0, commands.printed
    left, expected = results(run), results(folder / "never")
    assert left.keys() == expected.keys()
    assert [name for name in expected if left[name] != expected[name]] == []
    return killed
