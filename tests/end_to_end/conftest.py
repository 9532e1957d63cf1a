"""Stopping a run after any saved state, and the trainers that its parts had."""

from __future__ import annotations

import itertools

import pytest

from simgmc.experiment.synchronous import SynchronousTraining
from simgmc.experiment.under_way.rounds import RoundsUnderWay
from tests.end_to_end.stopping import Killed


@pytest.fixture
def trainers(monkeypatch):
    """Every trainer that was built, the last one last."""
    built, build = [], SynchronousTraining.trainer
    monkeypatch.setattr(SynchronousTraining, "trainer", lambda *arguments: built.append(build(*arguments)) or built[-1])
    return built


@pytest.fixture
def kill(monkeypatch):
    """``kill(n)``: the process is gone when the n-th state has been saved; None: never."""
    save = RoundsUnderWay.save

    def kill(after):
        count = itertools.count(1)

        def saved(self, *arguments):
            save(self, *arguments)
            if next(count) == after:
                raise Killed

        monkeypatch.setattr(RoundsUnderWay, "save", saved)

    return kill
