"""One round of all workers at once, on ``(workers, d)`` tensors: it stops at each average to be told who takes part.

What is exact about those who do not:

- The mean is that of the participants' messages, added in rank order; so are its size and
  the papers' count. Where workers weigh by their samples, it is in proportion to those of the participants.
- A worker that misses a round (it is absent, or gives its gradient up as the server has closed
  the round) does not advance: its rows of the state are put back to the round's start, those
  of the workload's running statistics too. Vectors that all workers share (a leading dimension
  of 1) advance for everybody; the worker fetches them when it is back.
- Every gradient takes the next minibatch of each worker, whether it takes part or not: a
  minibatch of a missed round is passed over.
- A message that was sent and came too late is lost with ``late = "dropped"``: the worker's
  memory (momentum, residual) has advanced, error feedback does not know. With ``"carried"`` it
  is held for the mean of the round that it arrives in; until then its worker computes nothing
  else, so it misses the rounds in between, that one included.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simgmc.algorithms import effects
from simgmc.algorithms.worker import UnequalStep
from simgmc.compression.identity import Identity
from simgmc.compression.message import Message
from simgmc.compression.rows import for_each_row
from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.costs import steps as costs
from simgmc.mixing import Mixing
from simgmc.training.absent import Absent
from simgmc.training.put_back import put_back
from simgmc.training.stack import Stack


@dataclass(frozen=True, eq=False)
class Asked:
    """An average that the program waits for."""

    message: Message
    """Everybody's."""
    reply: Callable[[Tensor], Message | Tensor] | None = None
    """As of :class:`simgmc.algorithms.effects.Average`."""
    numbers: Tensor | None = None
    """``(..., n)``, where their maximum is asked for in place of the mean."""
    background: bool = False


class StackedRound:
    """The next round of a stack, as :class:`simgmc.costs.steps.Round`; to be finished before the one after it.

    Raises DivergenceError where a message is no longer finite.
    """

    def __init__(self, stack: Stack):
        self._stack = stack
        self._workers = frozenset(range(stack.workload.workers))
        self.steps: list[costs.Step] = []
        """The steps known so far."""
        self.over = False
        """Whether all are known."""
        self._asked: Asked | None = None
        """The average that is the last step, until it is resolved."""
        self._answer: object = None
        """What the program goes on with."""
        self._averages = 0
        self._missing: set[int] = set()
        """Workers that miss this round."""
        self._before: dict[str, object] = {}
        self._buffers: dict[str, Tensor] = {}
        self._held_before = dict(stack.held)
        if stack.participation != "all":
            self._before = dict(stack.worker.state())
            self._buffers = stack.workload.state_dict()
            self._missing |= set(stack.held)
        lr = stack.lr_at(stack.epoch)
        previous = lr if stack.last_lr is None else stack.last_lr
        stack.worker.begin(stack.rounds, stack.epoch, lr, previous, stack.treatment.weight_decay)
        self._gradients_left = stack.gradients_in_all - stack.gradients
        stack.worker.gradients_left = _parts(self._gradients_left, stack.treatment.accumulate)
        self._program = stack.algorithm.round(stack.worker)
        self._run()

    def step(self, number: int) -> costs.Step | None:
        """The step of that number, None past the last."""
        while len(self.steps) <= number and not self.over:
            self._run()
        return self.steps[number] if number < len(self.steps) else None

    def resolve(self, number: int, membership: costs.Membership) -> costs.Average:
        """Form the mean of those who take part; the program goes on when its next step is asked for."""
        asked, unresolved = self._asked, self.steps[number]
        if asked is None or number != len(self.steps) - 1 or not isinstance(unresolved, costs.Average):
            raise RuntimeError(f"step {number} is not an average that waits to be resolved")
        self._asked = None
        stack = self._stack
        with self._divergence_named():
            answer, average = self._averaged(asked, unresolved, membership)
        late = self._workers - membership.taken
        if stack.participation == "carried":
            stack.hold(asked.message, late - stack.held.keys())
            for rank in membership.taken:
                stack.held.pop(rank, None)
        else:
            self._missing |= late - membership.lost
        self.steps[number] = average
        self._answer = (number, answer) if asked.background else answer
        return average

    def with_everybody(self) -> costs.RoundCosts:
        """Run to the end with all workers in every average; returns what the round cost."""
        return costs.with_everybody(self, len(self._workers))

    def finish(self) -> costs.RoundCosts:
        """Run to the end, once every average is resolved that somebody takes part in; returns what the round cost.

        Where nobody was left for an average, the round has changed nothing.
        """
        if self._asked is not None:
            self._program.close()
            self._asked = None
            for name, value in self._before.items():
                setattr(self._stack.worker, name, value)
            self._stack.held = dict(self._held_before)
            self._missing = set(self._workers)
            del self.steps[-1:]
            self._end()
        self.step(len(self.steps))
        return costs.RoundCosts(self.steps)

    # the program ------------------------------------------------------------------------

    def _run(self) -> None:
        """Run to the next average, or to the end."""
        if self._asked is not None:
            raise RuntimeError("an average is to be resolved before the round goes on")
        answer, self._answer = self._answer, None
        with self._divergence_named():
            while self._asked is None:
                try:
                    effect = self._program.send(answer)
                except StopIteration:
                    self._end()
                    return
                answer = self._perform(effect)
        self._check()

    def _perform(self, effect: object) -> object:
        """The answer to an effect, whose costs are written down; of an average it is not known yet."""
        stack = self._stack
        match effect:
            case effects.Gradient(at=Tensor() as point, weight_decay=decays):
                stack.worker.lr = stack.last_lr = stack.lr_at(stack.epoch)
                if stack.worker.unequal_step is not None:
                    return self._of_some(stack.worker.unequal_step, point, decays)
                gradients, absent = self._accumulated(point)
                return self._treated(gradients, point, absent, decays)
            case effects.Average(message=content, reply=reply):
                self._ask(Asked(self._sent(content), reply))
            case effects.Maximum(numbers=numbers):
                self._ask(Asked(self._sent(numbers), numbers=numbers))
            case effects.Start(effect=effects.Average(message=content)):
                self._ask(Asked(self._sent(content), background=True))
            case effects.Mix(message=content):
                return self._mix(content)
            case effects.Start(effect=effects.Mix(message=content)):
                answer = self._mix(content, background=True)
                return len(self.steps) - 1, answer
            case effects.Wait(handle=(int() as step, answer)):
                self.steps.append(costs.Wait(step))
                return self._landed(answer)
            case _:
                raise TypeError(f"{stack.name} asks for {type(effect).__name__}, which a stacked run cannot do")
        return None

    def _treated(
        self, gradients: Tensor, at: Tensor, absent: Absent, decays: bool, places: Sequence[int] | None = None
    ) -> Tensor:
        """Gradients (n, d) at these points as the program gets them, once the worker knows what its step skips.

        ``places``: of the rows among all of them, where these are not all.
        """
        stack = self._stack
        if stack.algorithm.skips == "mean":
            absent = self._without_gradient_everywhere(absent)
        whole = places is None or len(absent.rows) == 1
        stack.treatment.tell(stack.worker, absent if whole else absent.among(len(stack.ranks), places or ()))
        gradients = stack.treatment.clip(gradients)
        if decays:
            stack.treatment.add_decay(gradients, at, absent)
        return gradients

    def _without_gradient_everywhere(self, absent: Absent) -> Absent:
        """What no worker has a gradient of."""
        return absent.everywhere()

    def _accumulated(self, point: Tensor) -> tuple[Tensor, Absent]:
        """(workers, d): the mean gradient of each worker's next minibatches, of fewer at the training's end."""
        stack = self._stack
        count = stack.treatment.accumulate
        if self._gradients_left > 0:
            count = int(min(count, self._gradients_left))
        total, absent = stack.next_gradients(point), Absent.of(stack.workload, stack.ranks)
        for number in range(count):
            if number:
                total = total + stack.next_gradients(point)
                absent = absent.and_in(Absent.of(stack.workload, stack.ranks))
            stack.gradients += 1
            self._gradients_left -= 1
            self.steps.append(costs.Compute())
        return total if count == 1 else total / count, absent

    def _of_some(self, step: UnequalStep, point: Tensor, decays: bool) -> Tensor:
        """(workers, d): the gradients of those who make a local step; 0 for the others, who stay where they are."""
        stack, count = self._stack, self._stack.treatment.accumulate
        workers = stack.workload.workers
        ranks = [rank for rank in step.ranks if rank in stack.ranks]
        places = [stack.ranks.index(rank) for rank in ranks]
        rows = point.expand(len(stack.ranks), -1)[places]
        total, absent = torch.zeros_like(rows), None
        for _ in range(count):
            if ranks:
                total += stack.gradients_of(ranks, rows)
            latest = Absent.of(stack.workload, ranks)
            absent = latest if absent is None else absent.and_in(latest)
            for rank in step.ranks:
                stack.taken[rank] += 1
            self.steps.append(costs.SomeCompute(workers=np.isin(np.arange(workers), step.ranks)))
        assert absent is not None
        found = self._treated(total / count, rows, absent, decays, places)
        stack.gradients += step.gradients * count
        left = stack.gradients_in_all - stack.gradients
        if abs(left) < 0.5 and step.last:
            stack.gradients = stack.gradients_in_all
        every = torch.zeros(len(stack.ranks), found.shape[1]).to(found)
        return every.index_copy_(0, torch.tensor(places, dtype=torch.int64, device=found.device), found)

    def _ask(self, asked: Asked) -> None:
        self._asked = asked
        self._averages += 1
        self.steps.append(self._unresolved(asked))

    def _check(self) -> None:
        """Refuse averages that not all workers can be in."""
        asked, stack = self._asked, self._stack
        if asked is None or stack.participation == "all":
            return
        if asked.background:
            raise SimgmcError(f"{stack.name} starts an exchange and goes on: all workers have to take part in it")
        if stack.participation == "present":
            return
        if self._averages > 1:
            raise SimgmcError(
                f"round {stack.rounds + 1} of {stack.name} has several exchanges: a server that waits for the first k "
                "messages needs rounds with one, as whoever is late for the first has nothing to say in the second"
            )
        if stack.participation == "carried":
            refusal = asked.message.late_refusal
            if refusal is not None:
                raise SimgmcError(refusal)

    @contextlib.contextmanager
    def _divergence_named(self) -> Iterator[None]:
        """Names the round in which a number is no longer finite."""
        try:
            yield
        except DivergenceError as error:
            raise DivergenceError(f"round {self._stack.rounds + 1}: {error}") from None

    def _end(self) -> None:
        """Those that have missed the round are put back to its start."""
        self.over = True
        stack = self._stack
        missing = sorted(self._missing)
        if missing:
            for name, value in stack.worker.state().items():
                setattr(stack.worker, name, put_back(value, self._before.get(name, value), missing))
            buffers = stack.workload.state_dict()
            for name, rows in buffers.items():
                for rank in missing:
                    rows[rank] = self._buffers[name][rank]
            stack.workload.load_state_dict(buffers)
        stack.rounds += 1
        self._before, self._buffers = {}, {}

    # messages ---------------------------------------------------------------------------

    def _sent(self, content: Message | Tensor) -> Message:
        """The message that travels; writes down the cost of compressing."""
        message = self._message(content)
        if message.compressed:
            self.steps.append(costs.Compress(4 * message.d))
        self._stack.on_message(message)
        return message

    def _message(self, content: Message | Tensor) -> Message:
        """A tensor travels dense."""
        return _DENSE(content, self._stack.worker.randomness()) if isinstance(content, Tensor) else content

    def _everybody(self, sizes: np.ndarray) -> np.ndarray:
        """(workers,): a message that is the same on all workers is sent by each of them."""
        return np.broadcast_to(sizes, (len(self._workers),)).copy()

    def _mix(self, content: Message | Tensor, background: bool = False) -> Any:
        """Row k of W @ messages for every worker k; writes down what it costs.

        A row is added in rank order, product by product, by one thread: its bits are the same
        for any number of workers in one call and on any number of threads.
        """
        stack = self._stack
        if stack.participation != "all":
            raise SimgmcError(f"{stack.name} mixes with neighbours: there are no weights for some of them alone")
        if stack.mixing is None:
            raise TypeError(f"{stack.name} mixes with neighbours: the trainer needs a mixing")
        mixing, number = stack.mixing, stack.rounds
        message = self._sent(content)
        edges = mixing.edges[number % len(mixing.edges)]
        nbytes, floats = self._everybody(message.nbytes), self._everybody(message.floats)
        self.steps.append(costs.Mix(nbytes, edges, floats, background))
        return self._mixed(message, mixing, number, background)

    def _mixed(self, message: Message, mixing: Mixing, number: int, background: bool) -> Any:
        """The mix of these messages in a round of that number, as a program gets it, or as :meth:`_landed` takes it."""
        held = message.dense()
        held = held.expand(len(self._workers), *held.shape[1:])
        answer = torch.empty_like(held, memory_format=torch.contiguous_format)

        def add(rank: int) -> None:
            own = answer[rank].zero_()
            for sender, weight in mixing.row(number, rank):
                own += weight * held[sender]

        for_each_row(add, len(answer), held.device)
        return answer

    def _landed(self, answer: Any) -> Any:
        """What an exchange in the background has come to, as it is waited for."""
        return answer

    def _unresolved(self, asked: Asked) -> costs.Average:
        """What everybody's message weighs, before it is known who takes part."""
        message = asked.message
        up, floats = self._everybody(message.nbytes), self._everybody(message.floats)
        for rank, late in self._stack.held.items():
            up[rank], floats[rank] = late["nbytes"], late["floats"]
        return costs.Average(up, 0, message.summable, message.item_bytes, floats, 0, background=asked.background)

    def _averaged(
        self, asked: Asked, unresolved: costs.Average, membership: costs.Membership
    ) -> tuple[Tensor, costs.Average]:
        """The answer of an average that these workers take part in, and what it costs."""
        taken = sorted(membership.taken)
        mean = self._stack.mean(asked.message, taken)
        down = mean if asked.reply is None else self._message(asked.reply(mean.dense()))
        whole = len(taken) == len(self._workers)
        cost = replace(
            unresolved,
            down=int(down.nbytes[0]),
            floats_down=int(down.floats[0]),
            partial=asked.message.partial_sums() if self._stack.participation == "all" else None,
            participants=None if whole else np.isin(np.arange(len(self._workers)), taken),
            receivers=None if whole else membership.receivers,
        )
        if asked.numbers is None:
            return down.dense(), cost
        numbers = asked.numbers
        return (numbers if whole or len(numbers) == 1 else numbers[taken]).amax(dim=0, keepdim=True), cost


_DENSE = Identity(values="fp32")


def _parts(number: float, size: int) -> float:
    """How many parts of this size it takes, the last one perhaps smaller."""
    return number if size == 1 or math.isinf(number) else math.ceil(number / size)
