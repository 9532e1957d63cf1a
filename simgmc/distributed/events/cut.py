"""A consistent cut through a pause: what was on its way between ranks is kept with their states.

In a pause all ranks stand still, and every letter that was sent before it has been taken or is on its way (Chandy and
Lamport 1985). A mark behind the last letter to each rank says when all have arrived. What arrives meanwhile is held
back, so that it is of use after the pause and, kept with the states, after a restart.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable

import numpy as np

from simgmc.distributed.events import post
from simgmc.distributed.events.post import Letter, Post
from simgmc.distributed.group import Group
from simgmc.distributed.parcels import Templates


class Cut:
    """Letters that arrive at this rank while it waits for the marks of the others."""

    def __init__(self, group: Group, letters: Post, templates: Templates, turn: threading.Condition):
        """``templates``: those that this rank has received; ``turn``: held through every event."""
        self._group, self._post, self._templates, self._turn = group, letters, templates, turn
        self._marks: int | None = None
        """How many ranks have nothing more on its way to this one, where it waits for that."""
        self._held: list[Letter] = []

    def holds_back(self, letter: Letter) -> bool:
        """Whether a letter that has arrived is kept until the pause is over, or is a mark; else it is to be taken."""
        if self._marks is None:
            return False
        if letter.kind == post.MARK:
            self._marks += 1
            self._turn.notify_all()
        else:
            self._held.append(letter)
        return True

    def make(self, counts: list[int], check: Callable[[], None]) -> None:
        """Wait until all that was sent to this rank has arrived; all ranks call this in the same pause.

        ``check()`` raises what a thread of this rank has failed with.
        """
        rank = self._group.rank
        others = [other for other in range(self._group.size) if other != rank]
        with self._turn:
            self._marks = 0
            for other in others:
                self._post.send(other, Letter(post.MARK, rank, other, counts=list(counts)))
            while self._marks < len(others):
                check()
                self._turn.wait(1.0)
            self._marks = None

    def taken(self) -> list[Letter]:
        """What was held back, now that the pause is over."""
        held, self._held = self._held, []
        return held

    def state(self) -> list[np.ndarray]:
        """What :meth:`restore` takes: every letter with its template, which may have travelled with an earlier one."""
        return [post.to_array(self._whole(letter)) for letter in self._held]

    def restore(self, letters: Iterable[np.ndarray]) -> None:
        """Hold back what was held back when the state was saved."""
        self._held = [post.from_array(one) for one in letters]

    def _whole(self, letter: Letter) -> Letter:
        if letter.name.strip(b"\0") and not letter.template:
            return dataclasses.replace(letter, template=self._templates.held(letter.name))
        return letter
