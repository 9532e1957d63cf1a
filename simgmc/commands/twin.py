"""``simgmc twin``: the same scenario by real processes on a shaped network of this machine, and simulated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from simgmc.core.errors import SimgmcError
from simgmc.distributed.twin.run import Asked, twin
from simgmc.results.directory.own_files import check_free
from simgmc.scenario import ScenarioFile


def run(
    file: ScenarioFile,
    scenario: str,
    options: Sequence[str],
    data_dir: str | None,
    out: str | None,
    overwrite: bool,
    limit: float,
    console: Console,
) -> None:
    """Run and compare; everything goes into ``out``."""
    place = Path(out) if out else Path("runs") / f"{file.points[0].scenario.name}-twin"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SimgmcError(f"{place}: cannot be made: {error.strerror}") from None
    check_free(place / "real", file.resolved(), overwrite=overwrite)
    options = [*options, *(["--data-dir", data_dir] if data_dir else [])]
    twin(file, Asked(scenario, options, place, overwrite, limit, data_dir), console)
