"""Why every method took the time it took: what bound it, and what would help.

Everything comes from what a run directory keeps; nothing is trained.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from simgmc.experiment.training import NotKept, Training
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.tables.explanations import Explanation


def explain(
    directory: RunDirectory, plan: Sequence[Training], missing: list[str] | None = None
) -> Iterator[Explanation]:
    """One explanation per method and grid point, for the first seed of what is finished.

    What cannot be explained, and why, is added to ``missing``, a line each.
    """
    missing = [] if missing is None else missing
    finished, details = directory.breakdowns(), functools.cache(directory.details)
    for training in plan:
        if training.seed != training.scenario.seeds[0]:
            continue
        found = [(point, finished[key]) for point in training.points if (key := training.series(point)) in finished]
        if not found:
            missing.append(f"{training.title}: not finished; give the same simgmc run command again")
            continue
        try:
            yield from training.explain(directory, found, details)
        except NotKept as error:
            missing.append(f"{training.title}: {error}; to restore them, give the same simgmc run command again")
