"""What in a directory is a run's own: whether one may be written there, and what overwriting it removes."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from simgmc.core.errors import SimgmcError, reason
from simgmc.results.directory.details import FILES
from simgmc.results.directory.rows import read_text
from simgmc.results.directory.run_lock import LOCK_NAME
from simgmc.results.directory.scenario_changes import changes, refusal, same

_TABLES = ("breakdown.csv", "other_metrics.csv", *FILES, "partition.csv", "summary.csv")
_OWN_NAMES = {"scenario.toml", "metrics.csv", *_TABLES, "costs", "checkpoint", "plots", "timeline"}
PARTIAL = ".partial"
STATE_ENDS = (".state", ".before")
"""How the names of a training's newest checkpoint and of the one before it end."""
_PLOT = re.compile(
    r"((accuracy|loss|gap|distance)_vs_(time|bytes|epoch)|time_to_target(_vs_\w+)?|time_per_round|trajectory"
    r"|partition|first_to_target_map|speedup_map|idle_per_worker|staleness|consensus_vs_time|single_workers_vs_time)(_\d+)?\.(png|pdf)"
)
"""The names of the plots that a run writes, see plots.py."""
_TIMELINE = re.compile(r".+\.(trace\.json|(gantt|links|topology)\.(png|pdf))")
"""The names of the files that ``simgmc timeline`` writes, see watching.py."""


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
    strangers = sorted(present - ours - partial - {LOCK_NAME})
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


def clear(path: Path) -> None:
    """Removes what a run wrote, the mark that a run is here first, and nothing else.

    Raises SimgmcError where a file cannot be removed.
    """
    names = ("scenario.toml", *_TABLES)
    try:
        found = [path / name for name in names]
        found += [
            file
            for end in ("", PARTIAL)
            for kind in ("*.npz", "*.journal")
            for file in sorted((path / "costs").glob(kind + end))
        ]
        found += [file for end in STATE_ENDS for file in sorted((path / "checkpoint").glob(f"*{end}*"))]
        found += [
            file for file in sorted((path / "plots").glob("*")) if _PLOT.fullmatch(file.name.removesuffix(PARTIAL))
        ]
        found += [
            file
            for file in sorted((path / "timeline").glob("*"))
            if _TIMELINE.fullmatch(file.name.removesuffix(PARTIAL))
        ]
        found += [path / (name + PARTIAL) for name in (*names, "metrics.csv")]
        found += [path / "metrics.csv"]
    except OSError as error:
        raise SimgmcError(f"cannot read {path}: {reason(error)}") from None
    for file in found:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise SimgmcError(f"cannot remove {file}: {reason(error)}") from None
    with suppress(OSError):  # it is not there, or holds files of somebody else's
        (path / "timeline").rmdir()
