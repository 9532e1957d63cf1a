"""Paths and imports in a scenario file are relative to its folder: made absolute, so that the resolved scenario stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FILES = {("dataset", "text"): ("path",), ("dataset", "libsvm"): ("train", "test"), ("partition", "file"): ("path",)}
"""Options that are paths, by kind and name of the part that has them."""
IMPORTS = {("dataset", "import"), ("model", "import")}
"""Parts that look for modules in the scenario's folder too; they keep it as ``folder``."""


def anchor(content: dict[str, Any], grid: dict[str, list[Any]], folder: Path) -> None:
    """Makes the paths in a scenario's content and in its grid absolute."""
    workload = content.get("workload")
    workload = workload if isinstance(workload, dict) else {}
    for kind in ("dataset", "model", "partition"):
        part = workload.get(kind)
        _anchor_part(kind, part, folder)
        for one in grid.get(f"workload.{kind}", ()):
            _anchor_part(kind, one, folder)
        name = str(part.get("name")) if isinstance(part, dict) else ""
        for option in FILES.get((kind, name), ()):
            key = f"workload.{kind}.{option}"
            if key in grid:
                grid[key] = [_absolute(path, folder) for path in grid[key]]


def _anchor_part(kind: str, part: Any, folder: Path) -> None:
    if not isinstance(part, dict) or not isinstance(part.get("name"), str):
        return
    for option in FILES.get((kind, part["name"]), ()):
        if option in part:
            part[option] = _absolute(part[option], folder)
    if (kind, part["name"]) in IMPORTS:
        part["folder"] = _absolute(part.get("folder", "."), folder)


def _absolute(path: Any, folder: Path) -> Any:
    """The path from the folder; a home directory and what is not a path stay as they are."""
    if not isinstance(path, str) or not path.strip() or "\0" in path or path.startswith("~"):
        return path
    return str((folder / path).absolute())
