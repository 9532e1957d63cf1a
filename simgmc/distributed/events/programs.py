"""The programs that one process of an asynchronous training holds: its worker's, and the server's where that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from simgmc.algorithms.effects import Arrival
from simgmc.algorithms.worker import Worker
from simgmc.compression.message import Message
from simgmc.distributed.events import post
from simgmc.distributed.events.order import OrderedPrograms
from simgmc.distributed.events.post import Letter
from simgmc.distributed.parcels import packed, unpacked
from simgmc.training.journal import Parcel
from simgmc.workloads.as_begun import BESIDE, beside, check_beside


class RankPrograms(OrderedPrograms):
    """The programs of this rank: its worker's, and the server's."""

    last: Message
    """The message that was posted last."""

    def __init__(self, *arguments: Any, **options: Any):
        self.posted: dict[int, Message] = {}
        """Messages that are to be sent, by number."""
        super().__init__(*arguments, **options)

    def _post(self, sender: Worker, content: Any) -> Parcel:
        self.on_message = lambda message: setattr(self, "last", message)
        parcel = super()._post(sender, content)
        self.posted[parcel.number] = self.last
        return parcel

    def compute_ahead(self, worker: int) -> None:
        """Compute the gradient that a worker's program waits for, which changes nothing else."""
        if self.runs[worker].ahead is None:
            self._compute(worker)

    def landed(self, number: int, round: int, sender: int, content: Tensor) -> None:
        """A message has come from another process."""
        self._messages[number] = Arrival(round, sender, content)

    def forget(self, number: int) -> None:
        """A message that is for another process."""
        del self._messages[number]

    # kept in checkpoints ------------------------------------------------------------------

    def state_of(self, rank: int) -> dict[str, Any]:
        """What this rank needs to go on: of the workers its own alone, if it has one."""
        return {
            "runs": [run.state_dict() for run in self.runs[rank : rank + 1]],
            "server": self.server.snapshot(),
            "messages": [[number, *one] for number, one in self._messages.items()],
            "sent_by": dict(self._sent_by),
            "workload": self.workload.state_dict(),
            "posted": [_as_letter(number, message) for number, message in self.posted.items()],
            BESIDE: beside(self.as_begun, self.workload.as_begun),
        }

    def restore_of(self, rank: int, state: Mapping[str, Any]) -> None:
        """Go back to a state from :meth:`state_of`."""
        self._messages = {number: Arrival(*one) for number, *one in state["messages"]}
        self._sent_by = dict(state["sent_by"])
        check_beside(self.workload.as_begun, state)
        self.workload.load_state_dict(state["workload"])
        self.server.restore(state["server"])
        for run, kept in zip(self.runs[rank : rank + 1], state["runs"], strict=True):
            run.load_state_dict(kept, self.algorithm, self._tell)
        for one in map(post.from_array, state["posted"]):
            self.posted[one.number] = unpacked(one.template, {}).decode([one.payload])


def _as_letter(number: int, message: Message) -> np.ndarray:
    """A message that is to be sent, with what decodes it."""
    return post.to_array(Letter(post.SEND, 0, 0, number, payload=message.encode(), template=packed(message, {})))
