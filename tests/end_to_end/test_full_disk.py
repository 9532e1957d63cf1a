"""Full disks, read-only directories and damaged checkpoints: a clear message, and nothing that was finished is lost."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import shutil
import signal
import subprocess
from contextlib import contextmanager

import pytest
import tomli_w
from click.testing import CliRunner

from simgmc.cli import main
from simgmc.experiment.engines import task as tasks
from simgmc.experiment.under_way.rounds import RoundsUnderWay
from simgmc.results.directory.checkpoint import Checkpoints
from simgmc.results.directory.run_directory import open_run
from tests.end_to_end.killing import results
from tests.small_runs import SMALL

CONTENT = {
    **SMALL,
    "workload": {**SMALL["workload"], "rounds": 6, "evaluate_every": "1 rounds"},
    "cluster": {**SMALL["cluster"], "hosts": {}},
    "methods": SMALL["methods"][:2],
}


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenario") / "small.toml"
    path.write_text(tomli_w.dumps(CONTENT))
    return path


def call(scenario, out, *more, every=0):
    found = CliRunner().invoke(
        main, ["run", str(scenario), "--device", "cpu", "--out", str(out), "--checkpoint-every", str(every), *more]
    )
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found


@pytest.fixture(scope="module")
def never(scenario):
    """What a run leaves that nothing happens to."""
    assert call(scenario, scenario.parent / "never").exit_code == 0
    return results(scenario.parent / "never")


@contextmanager
def writes_fail(after, number):
    """Every write fails with this error once so many have been made; gives the count of them."""
    count, patch = itertools.count(), pytest.MonkeyPatch()

    def failing(step):
        def run(*arguments, **options):
            if next(count) >= after:
                raise OSError(number, os.strerror(number))
            return step(*arguments, **options)

        return run

    for name in ("write", "fsync", "replace"):
        patch.setattr(os, name, failing(getattr(os, name)))
    try:
        yield count
    finally:
        patch.undo()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_wherever_writing_fails_the_message_names_the_file_and_the_run_goes_on_once_it_can(
    scenario, tmp_path, never, number
):
    """At each of many moments: while the directory is begun, in checkpoints, costs, rows and tables."""
    with writes_fail(10**9, number) as count:
        call(scenario, tmp_path / "counted", every=1e9)
    whole = next(count)
    if number == errno.ENOSPC:
        moments = sorted({*range(0, whole, max(1, whole // 4)), whole - 1})
        cases = [*((after, 1e9) for after in moments), *((after, 0) for after in (13, 28, 29, 30))]
    else:  # other numbers take the same way
        cases = [(whole // 2, 1e9)]
    for after, every in cases:
        out = tmp_path / f"run {after} {every}"
        with writes_fail(after, number):
            found = call(scenario, out, every=every)
        assert found.exit_code == 2 and os.strerror(number) in found.stderr and str(out) in found.stderr
        assert len(found.stderr.splitlines()) == 1
        assert not list(out.rglob("*.partial"))
        assert call(scenario, out, every=1e9).exit_code == 0
        assert results(out) == never


@contextmanager
def file_size_limit(nbytes):
    """No file can grow beyond this: writes end in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_rows_that_are_cut_off_in_the_middle_are_taken_back(scenario, tmp_path, never, monkeypatch, share):
    out = tmp_path / "run"
    limit, write = int(share * len(never["metrics.csv"])), tasks.write_all

    def limited(*arguments):
        with file_size_limit(limit):
            yield from write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "write_all", limited)
        found = call(scenario, out, every=1e9)
    assert found.exit_code == 2 and "metrics.csv: File too large" in found.stderr
    text = (out / "metrics.csv").read_bytes()
    assert text.endswith(b"\n") and never["metrics.csv"].startswith(text) and len(text) <= limit
    open_run(out).evaluations()
    assert call(scenario, out, "--resume").exit_code == 0
    assert results(out) == never


def test_a_checkpoint_that_does_not_fit_ends_the_run_with_the_one_before(scenario, tmp_path, never, monkeypatch):
    out = tmp_path / "run"
    save, rounds = RoundsUnderWay.save, []

    def grown(self, *arguments):
        rounds.append(1)
        if len(rounds) < 5:
            return save(self, *arguments)
        with file_size_limit(5000):
            return save(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RoundsUnderWay, "save", grown)
        found = call(scenario, out)
    assert found.exit_code == 2
    assert (
        "cannot write" in found.stderr
        and "DMSGD, seed 3.state: File too large; what was saved before is kept" in found.stderr
    )
    assert "DMSGD, seed 3 goes on after round 4" in call(scenario, out, "--resume").output
    assert results(out) == never


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
        ).returncode
    ):
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("free", [0, 8, 60, 120, 200])
def test_a_disk_that_is_really_full_is_a_clear_error_and_no_loss(scenario, small_disk, never, free):
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * ((1024 - free) * 1024 - 16384))
    found = call(scenario, small_disk / "run")
    if free < 200:
        assert (
            found.exit_code == 2 and "No space left on device" in found.stderr and len(found.stderr.splitlines()) == 1
        )
    filler.unlink()
    assert call(scenario, small_disk / "run").exit_code == 0
    assert results(small_disk / "run") == never


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_directory_that_became_read_only_is_a_clear_error(scenario, tmp_path, never):
    out = tmp_path / "run"
    stopped(scenario, out)
    (out / "checkpoint").chmod(0o500)
    try:
        found = call(scenario, out)
        assert found.exit_code == 2 and "Permission denied" in found.stderr
    finally:
        (out / "checkpoint").chmod(0o700)
    assert call(scenario, out).exit_code == 0
    assert results(out) == never


def stopped(scenario, out):
    """A run that was stopped after five rounds, with both generations of its state."""
    save, rounds = RoundsUnderWay.save, []

    def asked(self, *arguments):
        save(self, *arguments)
        rounds.append(1)
        if len(rounds) == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoundsUnderWay, "save", asked)
        found = call(scenario, out)
    assert found.exit_code == 130 and "the same command goes on from there" in found.stderr
    return [out / "checkpoint" / f"DMSGD, seed 3{end}" for end in (".state", ".before")]


DAMAGES = {
    "is empty": lambda content: b"",
    "is cut short": lambda content: content[: len(content) // 2],
    "damaged: its checksum is wrong": lambda content: content[:-50] + bytes([content[-50] ^ 1]) + content[-49:],
    "is not a checkpoint": lambda content: b"\x80\x04K\x01.",
}


@pytest.mark.parametrize("problem", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(scenario, tmp_path, never, problem):
    newest, _ = stopped(scenario, tmp_path / "run")
    newest.write_bytes(DAMAGES[problem](newest.read_bytes()))
    found = call(scenario, tmp_path / "run", "--resume")
    assert found.exit_code == 0 and f"warning: {newest} cannot be used: it" in found.output and problem in found.output
    assert found.output.count("warning") == 1
    assert "goes on after round 5" in found.output or "goes on after round 4" in found.output
    assert results(tmp_path / "run") == never


def test_two_damaged_checkpoints_are_named_and_their_training_alone_starts_anew(scenario, tmp_path, never):
    files = stopped(scenario, tmp_path / "run")
    for file in files:
        file.write_bytes(file.read_bytes()[:-1])
    found = call(scenario, tmp_path / "run", "--resume")
    assert (
        found.exit_code == 0
        and all(str(file) in found.output for file in files)
        and "'DMSGD, seed 3' starts anew" in found.output
    )
    assert results(tmp_path / "run") == never


def test_resume_needs_a_run_and_the_same_scenario(scenario, tmp_path, never):
    found = call(scenario, tmp_path / "nothing", "--resume")
    assert (
        found.exit_code == 2 and "holds no run that could go on" in found.stderr and not (tmp_path / "nothing").exists()
    )
    (tmp_path / "empty").mkdir()
    assert call(scenario, tmp_path / "empty", "--resume").exit_code == 2
    stopped(scenario, tmp_path / "run")
    before = results(tmp_path / "run")
    for more in ((), ("--resume",)):
        found = call(
            scenario, tmp_path / "run", *more, "--set", "workload.rounds=13", "--set", "methods.GMC.momentum=0.5"
        )
        assert found.exit_code == 2 and "--overwrite" in found.stderr and "--out" in found.stderr
        assert (
            "workload.rounds: was 6, is 13" in found.stderr
            and "methods.GMC.momentum: was" in found.stderr
            and "is 0.5" in found.stderr
        )
    assert call(scenario, tmp_path / "run", "--resume", "--overwrite").exit_code == 2
    assert results(tmp_path / "run") == before


def test_overwriting_removes_the_checkpoints_too(scenario, tmp_path, never):
    stopped(scenario, tmp_path / "run")
    found = call(scenario, tmp_path / "run", "--overwrite")
    assert found.exit_code == 0 and "goes on" not in found.output
    assert results(tmp_path / "run") == never


def test_a_stopped_run_goes_on_with_the_times_that_it_measured(scenario, tmp_path, monkeypatch):
    compute = ("--set", 'cluster.compute={gradient="10 ms", compression="measured", aggregation="measured"}')
    call_ = lambda *more: call(scenario, tmp_path / "run", *compute, *more)  # noqa: E731
    save = RoundsUnderWay.save
    with monkeypatch.context() as patch:
        patch.setattr(
            RoundsUnderWay,
            "save",
            lambda self, *arguments: (save(self, *arguments), signal.raise_signal(signal.SIGINT)),
        )
        assert call_().exit_code == 130
    measured = (tmp_path / "run" / "scenario.toml").read_bytes()
    found = call_("--set", 'cluster.compute.gradient="20 ms"')
    assert (
        found.exit_code == 2
        and 'cluster.compute.gradient: was "10 ms", is "20 ms"' in found.stderr
        and len(found.stderr.splitlines()) == 2
    )
    assert "goes on after round 1" in call_("--resume").output
    assert (tmp_path / "run" / "scenario.toml").read_bytes() == measured


def test_a_checkpoint_left_by_a_kill_just_before_its_removal_goes_with_the_next_run(scenario, tmp_path, never):
    assert call(scenario, tmp_path / "run").exit_code == 0
    Checkpoints(tmp_path / "run" / "checkpoint", "GMC, seed 3").save({}, {"at": "round 6"})
    assert call(scenario, tmp_path / "run").exit_code == 0
    assert results(tmp_path / "run") == never and not (tmp_path / "run" / "checkpoint").exists()
