"""What in a directory is a run's own: whether one may be written there, and what overwriting it removes.

Tables, costs, models and checkpoints have names that nobody else's files have. In ``plots`` and ``timeline`` the
user's own pictures may lie beside the run's: there the run's own are those that ``.pictures`` lists, a name a line. A
name is added before its file is written, so a run that is killed at any moment leaves no file that is not listed.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath

from simgmc.core.errors import SimgmcError, reason
from simgmc.results.directory.details import FILES
from simgmc.results.directory.kept_run import MEASURED
from simgmc.results.directory.outside_files import FOLDER, LIST
from simgmc.results.directory.rows import PARTIAL, append, read_text, replace
from simgmc.results.directory.run_lock import LOCK_NAME
from simgmc.results.directory.scenario_changes import changes, refusal, same

_TABLES = (
    "breakdown.csv", "other_metrics.csv", *FILES, "partition.csv", "summary.csv", "flips.csv", "report.html",
    "map.html", "utilisation.csv", "utilisation_curve.csv",
)  # fmt: skip
_PICTURES = ("plots", "timeline")
LIST_NAME = ".pictures"
PARTS = "parts"
"""Where trainings side by side are written until the run takes them in; nobody else's files lie there."""
TENSORBOARD = "tensorboard"
"""The folder of event files, where a run is logged there."""
WANDB = "wandb.csv"
"""What Weights & Biases has of a run, where that is logged there."""
STATE_ENDS = (".state", ".before")
"""How the names of a training's newest checkpoint and of the one before it end."""
_FILES = ("scenario.toml", *_TABLES, MEASURED, WANDB, LIST)
_FOLDERS = {
    "costs": ("*.npz", "*.journal"),
    "evaluations": ("*.npz",),
    "models": ("*.safetensors",),
    "measured": ("*.csv",),
    "checkpoint": tuple(f"*{end}*" for end in STATE_ENDS),
    FOLDER: ("*-*",),
    TENSORBOARD: ("*/events.out.tfevents.*",),
}
"""By folder, what the run's files in it are called."""
_OWN_NAMES = {*_FILES, "metrics.csv", PARTS, *_FOLDERS, *_PICTURES}
_EARLIER_PLOT = re.compile(
    r"((accuracy|loss|gap|distance)_vs_(time|bytes|epoch)|time_to_target(_vs_\w+)?|time_per_round|trajectory"
    r"|partition|first_to_target_map|speedup_map|idle_per_worker|staleness|consensus_vs_time|single_workers_vs_time)(_\d+)?\.(png|pdf)"
)
_EARLIER_TIMELINE = re.compile(r".+\.(trace\.json|(gantt|links|topology)\.(png|pdf))")
"""What runs wrote before there was a list of it, in directories without one. Nothing is ever added to these two."""


def check_free(path: str | Path, scenario_text: str, *, overwrite: bool = False) -> bool:
    """Whether :func:`simgmc.results.directory.run_directory.create` would continue a run there; nothing is changed.

    Raises SimgmcError where it would refuse.
    """
    path = Path(path)
    try:
        present = {entry.name for entry in path.iterdir()} if path.exists() else set()
    except (OSError, ValueError) as error:
        raise SimgmcError(f"cannot make the run directory {path}: {reason(error)}") from None
    ours = _OWN_NAMES if "metrics.csv" in present else set()
    partial = {name + PARTIAL for name in _OWN_NAMES}
    strangers = sorted(present - ours - partial - {LOCK_NAME, LIST_NAME, LIST_NAME + PARTIAL})
    if {"scenario.toml", "metrics.csv"} <= present:
        if overwrite:
            return False
        there = read_text(path / "scenario.toml")
        if not same(there, scenario_text):
            raise SimgmcError(refusal(path, changes(there, scenario_text)))
        return True
    if strangers:
        raise SimgmcError(
            f"{path} is not empty and holds no run (it has {strangers[0]}): choose another directory with --out"
        )
    if "metrics.csv" in present and not overwrite and _holds_results(path):
        raise SimgmcError(
            f"{path} holds results (metrics.csv) without their scenario.toml: "
            "choose another directory with --out, or add --overwrite to replace them"
        )
    return False


def _holds_results(path: Path) -> bool:
    """Whether there is more than the first lines of a run that was killed as it began."""
    content = (read_text(path / name) for name in ("metrics.csv", "breakdown.csv") if (path / name).exists())
    return any(text.count("\n") > 1 or not text.startswith("method,") for text in content) or any(
        (path / "costs").glob("*")
    )


def begin(path: Path) -> None:
    """Begins the list of pictures, in a directory that has none."""
    replace(path / LIST_NAME, b"")


def note(path: Path, file: Path) -> None:
    """Lists a file of the run in ``path`` that is about to be written, unless it is no picture."""
    if not file.is_relative_to(path) or file.relative_to(path).parts[0] not in _PICTURES:
        return
    pictures, name = path / LIST_NAME, file.relative_to(path).as_posix()
    if not pictures.is_file():
        replace(pictures, "".join(f"{one}\n" for one in _earlier(path)).encode())
    text = read_text(pictures)
    if name not in text.splitlines():
        # A line that a kill left unfinished stands for a file that was not begun.
        append(pictures, f"{name}\n" if text.endswith("\n") or not text else f"\n{name}\n")


def _pictures(path: Path) -> list[str]:
    """The run's own files in ``plots`` and ``timeline``."""
    if not (path / LIST_NAME).is_file():
        return _earlier(path)
    return [name for name in read_text(path / LIST_NAME).splitlines() if _is_picture(PurePosixPath(name))]


def _is_picture(name: PurePosixPath) -> bool:
    """Whether a listed name can be a picture's: a damaged list removes nothing elsewhere."""
    return len(name.parts) == 2 and name.parts[0] in _PICTURES and name.parts[1] != ".."


def _earlier(path: Path) -> list[str]:
    """The pictures in a directory from before there was a list."""
    found = []
    for folder, names in zip(_PICTURES, (_EARLIER_PLOT, _EARLIER_TIMELINE), strict=True):
        there = (file.name.removesuffix(PARTIAL) for file in sorted((path / folder).glob("*")))
        found += [f"{folder}/{name}" for name in there if names.fullmatch(name)]
    return found


def clear(path: Path) -> None:
    """Removes what a run wrote, the mark that a run is here first, and nothing else.

    Raises SimgmcError where a file cannot be removed.
    """
    inside = [f"{folder}/{name}" for folder, files in _FOLDERS.items() for name in files]
    try:
        names = [*_FILES, *_pictures(path), LIST_NAME]
        found = [path / (name + end) for name in names for end in ("", PARTIAL)]
        found += [file for name in inside for end in ("", PARTIAL) for file in sorted(path.glob(name + end))]
        found += [path / ("metrics.csv" + PARTIAL), path / "metrics.csv"]
    except OSError as error:
        raise SimgmcError(f"cannot read {path}: {reason(error)}") from None
    for file in found:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise SimgmcError(f"cannot remove {file}: {reason(error)}") from None
    shutil.rmtree(path / PARTS, ignore_errors=True)
    with suppress(OSError):  # it is not there, or holds files of somebody else's
        (path / FOLDER).rmdir()
    with suppress(OSError):  # likewise
        (path / "timeline").rmdir()
