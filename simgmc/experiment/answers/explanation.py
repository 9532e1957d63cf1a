"""Why every method took the time it took: what bound it, and what would help.

Everything comes from what a run directory keeps; nothing is trained.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from simgmc.experiment.training import NotKept, Training
from simgmc.results.directory.run_directory import RunDirectory
from simgmc.results.tables.explanations import Explanation


@dataclass(frozen=True)
class Explained:
    """What could be explained of a run."""

    found: list[Explanation] = field(default_factory=list)
    """One per method and grid point, for the first seed of what is finished."""
    missing: list[str] = field(default_factory=list)
    """What could not be explained, and why, a line each."""


def explain(directory: RunDirectory, plan: Sequence[Training]) -> Explained:
    """Explains what is finished of a run; its first rounds are simulated again for that."""
    explained = Explained()
    finished, details = directory.breakdowns(), functools.cache(directory.details)
    for training in plan:
        if training.seed != training.scenario.seeds[0]:
            continue
        found = [(point, finished[key]) for point in training.points if (key := training.series(point)) in finished]
        if not found:
            explained.missing.append(f"{training.title}: not finished; give the same simgmc run command again")
            continue
        try:
            explained.found.extend(training.explain(directory, found, details))
        except NotKept as error:
            explained.missing.append(
                f"{training.title}: {error}; to restore them, give the same simgmc run command again"
            )
    return explained
