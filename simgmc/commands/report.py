"""``simgmc report``: one run, or several side by side, as a page of HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simgmc.core.errors import SimgmcError, reason
from simgmc.experiment.answers.report_page import FILE, report_page
from simgmc.experiment.reading import readable_all
from simgmc.results.directory.rows import replace


def report(runs: Sequence[str | Path], out: str | Path | None = None, target: float | None = None) -> Path:
    """Write the page; returns its file: ``out``, else ``report.html`` in the run's directory, of several here.

    ``target``: what is to be reached, in place of the scenarios' own.
    """
    page = report_page(readable_all(runs, target))
    file = Path(out) if out else Path(runs[0]) / FILE if len(runs) == 1 else Path(FILE)
    try:
        return replace(file, page.encode())
    except OSError as error:
        raise SimgmcError(f"cannot write {file}: {reason(error)}") from None
