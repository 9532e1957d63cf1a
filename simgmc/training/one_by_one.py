"""Synchronous methods of the user's own: stacked where that is proven to be the same, else one worker after the other.

A program is one worker's. Run once on vectors ``(workers, d)`` it serves all of them, many times quicker, if
it does with every row what it would do with that worker's vector alone. Many do not: they look at numbers in Python
(``if``, ``.item()``), take the norm of all there is, draw random numbers. So a program is used as it is
written, and the quicker way proves itself first: in the rounds 1, 2, 3, 4, 8, 16 ... it runs both ways, on the same
answers, and every effect and all state must agree. From where they do not, and the proof says why,
each worker's program runs by itself on vectors ``(d,)``; the effects that all ask for together are answered as ever.
Between two proofs a stacked program that begins to look at numbers is refused.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, cast

from torch import Tensor

from simgmc.algorithms.algorithm import Algorithm
from simgmc.algorithms.effects import Effect
from simgmc.algorithms.worker import Worker
from simgmc.core.errors import DivergenceError, SimgmcError
from simgmc.core.randomness import generator
from simgmc.training.as_one import (
    agree,
    answer_of,
    as_one,
    content_of,
    copied,
    held_by_all,
    joined_rows,
    kind_of,
    row_of,
    shape_of,
)
from simgmc.training.own_programs import OwnProgram, blamed, check_state, outside_state
from simgmc.training.saved_state import to_arrays
from simgmc.workloads.seeding import drawing_from

ONE_BY_ONE = "one_by_one"
"""The attribute of a stacked worker that says why its workers' programs run one by one; empty where they do not."""
_CONTEXT = (
    "lr", "previous_lr", "gradients_left", "weight_decay", "rates", "clip_norm", "round", "epoch", "components",
)  # fmt: skip


class OwnMethod:
    """A method of the user's own, as the stacked trainer sees it: the program of all workers."""

    def __init__(self, title: str, algorithm: Algorithm, seed: int):
        self.title, self.own = title, algorithm
        self._seed = seed
        self._known: frozenset[str] = frozenset()
        self._constants: frozenset[str] = frozenset()
        """Tensors that workers hold as they are, without a dimension for the worker."""
        self._outside = outside_state(algorithm)
        self.said_outside = ""
        """What it keeps outside its workers, once that is known."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def start(self, worker: Worker) -> None:
        """As of the method: what it gives every worker is mostly the same, so that one has it for all."""
        self._known = frozenset(vars(worker))
        ranks = worker._ranks
        twin = self._started(worker, ranks[0])
        if len(ranks) < worker.workers:  # the others have processes of their own
            self._merge(worker, [twin])
            setattr(worker, ONE_BY_ONE, "each worker has a process of its own")
            return
        try:
            self._start(worker, None)
        except SimgmcError:  # it is right for one worker alone
            for name in set(vars(worker)) - self._known:
                delattr(worker, name)
            self._merge(worker, [self._started(worker, rank) for rank in range(worker.workers)])
        self._constants = frozenset(
            name
            for name, value in twin.state().items()
            if name != "params" and isinstance(value, Tensor) and shape_of(worker.state().get(name)) == value.shape
        )
        setattr(worker, ONE_BY_ONE, "")

    def _start(self, worker: Worker, who: int | None) -> None:
        key = worker.workers if who is None else who
        drawn = int(generator(self._seed, "program's start", key).integers(2**63))
        with blamed(f"{self.title}, start(worker)"), drawing_from(drawn, worker.params.device):
            self.own.start(worker)

    def _started(self, worker: Worker, rank: int) -> Worker:
        """A worker of its own that has just begun."""
        twin = Worker(row_of(worker.params, rank).clone(), worker.layout, worker._seed, [rank], worker.workers)
        self._start(twin, rank)
        return twin

    def round(self, worker: Worker) -> Generator[Effect, Any, None]:
        """The round of all workers, in one way or the other."""
        try:
            yield from self._round(worker)
        except DivergenceError:
            raise
        except SimgmcError as error:
            if (outside := self._outside()) is None:
                raise
            raise SimgmcError(
                f"{error}; note that {outside} changes while it runs, which all workers share: what a worker remembers "
                "is an attribute of it"
            ) from None

    def _round(self, worker: Worker) -> Generator[Effect, Any, None]:
        number = worker.round + 1
        if getattr(worker, ONE_BY_ONE):
            twins = self._alone(worker)
            yield from self._together(twins, worker)
            self._merge(worker, twins)
        elif number <= 4 or number & (number - 1) == 0:
            yield from self._proven(worker)
        else:
            yield from self._stacked(worker)
        check_state(self.title, worker, self._known, many=True)
        if number <= 4 or number & (number - 1) == 0:
            self.said_outside = self.said_outside or self._outside() or ""
        if number == 1:
            self._check_storable(worker)

    # evaluation -----------------------------------------------------------------------------

    def model(self, worker: Worker) -> Tensor:
        """As of the method, (1 or workers, d)."""
        return self._asked(worker, "model")

    def other_models(self, worker: Worker) -> dict[str, Tensor]:
        """As of the method."""
        return self._asked(worker, "other_models")

    def metrics(self, worker: Worker) -> dict[str, float]:
        """As of the method, added over workers."""
        return self._asked(worker, "metrics")

    def _asked(self, worker: Worker, what: str) -> Any:
        with blamed(f"{self.title}, {what}(worker) after round {getattr(worker, 'round', -1) + 1}"):
            if not getattr(worker, ONE_BY_ONE):
                return getattr(self.own, what)(worker)
            found = [getattr(self.own, what)(twin) for twin in self._alone(worker)]
            if what == "model":
                return joined_rows(found)
            if what == "metrics":
                return {name: sum(one[name] for one in found) for name in found[0]}
            return {name: joined_rows([one[name] for one in found]) for name in found[0]}

    # all at once ----------------------------------------------------------------------------

    def _stacked(self, worker: Worker) -> Generator[Effect, Any, None]:
        program = OwnProgram(self.title, self.own, worker, self._seed, None)
        answer = None
        while (effect := program.send(answer)) is not None and program.reads is None:
            answer = yield effect
        if program.reads is not None:
            raise SimgmcError(
                f"{program.where}: the program looks at numbers ({program.reads}), for the first time: until now one "
                "run of it has served all workers, and what it decides now is each worker's own. Say it from the "
                "beginning: one_by_one = True in the class"
            )

    # one after the other --------------------------------------------------------------------

    def _alone(self, worker: Worker) -> list[Worker]:
        """Workers of their own, with what the stacked one holds for each."""
        return [self._twin(worker, row, rank) for row, rank in enumerate(worker._ranks)]

    def _twin(self, worker: Worker, row: int, rank: int) -> Worker:
        if worker.round == 0 and not getattr(worker, ONE_BY_ONE):
            twin = self._started(worker, rank)
        else:
            twin = Worker(row_of(worker.params, row), worker.layout, worker._seed, [rank], worker.workers)
            for name, value in worker.state().items():
                if name not in ("params", ONE_BY_ONE):
                    setattr(twin, name, value if name in self._constants else row_of(value, row))
        for name in _CONTEXT:
            if hasattr(worker, name):
                setattr(twin, name, getattr(worker, name))
        return twin

    def _together(self, twins: Sequence[Worker], leader: Worker, clone: bool = False) -> Generator[Effect, Any, None]:
        """The programs of all workers side by side, as one: they have to ask for the same, each with its own numbers.

        ``leader``: whose learning rate they have. ``clone``: answers are somebody else's too.
        """
        programs = [OwnProgram(self.title, self.own, twin, self._seed, twin.rank) for twin in twins]
        asked = [program.send(None) for program in programs]
        while True:
            self._check_agreed(programs, asked)
            if asked[0] is None:
                break
            effect = as_one(programs, cast(list[Effect], asked))
            answer = yield effect
            for row, program in enumerate(programs):
                twins[row].lr, twins[row].weight_decay = leader.lr, leader.weight_decay
                skipped = leader.without_gradient
                twins[row].without_gradient = None if skipped is None else skipped[min(row, len(skipped) - 1)]
                asked[row] = program.send(answer_of(answer, row, clone))
        for twin in twins:
            check_state(self.title, twin, self._known, many=False)

    def _check_agreed(self, programs: Sequence[OwnProgram], asked: Sequence[Effect | None]) -> None:
        """Refuse programs of which some ask for one thing and some for another."""
        for rank, effect in enumerate(asked):
            if kind_of(effect) == kind_of(asked[0]):
                continue

            def says(number: int) -> str:
                line = f" ({programs[number].line})" if asked[number] is not None else ""
                done = "ends its round" if asked[number] is None else f"yields {kind_of(asked[number])}{line}"
                return f"worker {number} {done}"

            raise SimgmcError(
                f"{self.title}, round {programs[0]._worker.round + 1}: workers disagree: {says(0)}, {says(rank)}; what "
                "all do together every worker's program has to yield, in the same order: take it out of the branch"
            )

    def _merge(self, worker: Worker, twins: Sequence[Worker]) -> None:
        """What the workers hold, as the stacked one holds it: one vector where all have the same."""
        states = [twin.state() for twin in twins]
        for rank, state in enumerate(states):
            if unlike := set(state) ^ set(states[0]):
                name = min(unlike)
                has, lacks = (rank, 0) if name in state else (0, rank)
                raise SimgmcError(
                    f"{self.title}, round {worker.round + 1}: worker {has} has worker.{name} and worker {lacks} has "
                    "not: give it to all of them in start(worker)"
                )
        for name in set(worker.state()) - set(states[0]) - {ONE_BY_ONE}:
            delattr(worker, name)
        for name in states[0]:
            values = [state[name] for state in states]
            same = name in self._constants and all(agree(one, values[0]) for one in values)
            setattr(worker, name, values[0] if same else held_by_all(values))

    # the proof ------------------------------------------------------------------------------

    def _proven(self, worker: Worker) -> Generator[Effect, Any, None]:
        """A round in both ways; from where they differ in the plain one, which it ends with."""
        twins = [copied(twin) for twin in self._alone(worker)]
        plain = self._together(twins, worker, clone=True)
        stacked = OwnProgram(self.title, self.own, worker, self._seed, None)
        answer, reason = None, "the class says so" if self.own.one_by_one else ""
        while True:
            try:
                effect: Effect | None = plain.send(answer)
            except StopIteration:
                effect = None
            if not reason:
                reason, other = self._differs(stacked, answer, effect)
            if effect is None:
                break
            answer = yield effect if reason or other is None else other
        if not reason:
            reason = self._states_differ(worker, twins)
        if reason:
            self._merge(worker, twins)
            setattr(worker, ONE_BY_ONE, reason)

    def _differs(self, stacked: OwnProgram, answer: Any, plain: Effect | None) -> tuple[str, Effect | None]:
        """Why the stacked program cannot take the place of the others, if it cannot; its next effect."""
        try:
            effect = stacked.send(answer)
        except DivergenceError:
            raise
        except SimgmcError as error:
            return f"all at once it fails: {error}", None
        if stacked.reads is not None:
            return f"it looks at numbers ({stacked.reads})", effect
        if kind_of(effect) != kind_of(plain):
            return f"all at once it asks for {kind_of(effect)} instead of {kind_of(plain)}", effect
        if effect is not None and plain is not None and not agree(content_of(effect), content_of(plain)):
            return f"all at once its {kind_of(effect)} has other numbers ({stacked.line})", effect
        return "", effect

    def _states_differ(self, worker: Worker, twins: Sequence[Worker]) -> str:
        """What all at once left otherwise than one by one."""
        held = {name: value for name, value in worker.state().items() if name != ONE_BY_ONE}
        others = [twin.state() for twin in twins]
        if any(held.keys() != other.keys() for other in others):
            return "all at once its workers hold other things"
        for name, value in held.items():
            ways = [other[name] for other in others]
            constant = name in self._constants and all(agree(value, one) for one in ways)
            if not constant and not agree(value, held_by_all(ways)):
                return f"all at once worker.{name} comes out otherwise"
        with blamed(f"{self.title}, model(worker) after round {getattr(worker, 'round', -1) + 1}"):
            if not agree(self.own.model(worker), joined_rows([self.own.model(twin) for twin in twins])):
                return "all at once its model comes out otherwise"
        return ""

    def _check_storable(self, worker: Worker) -> None:
        for name, value in worker.state().items():
            try:
                to_arrays(value)
            except TypeError as error:
                raise SimgmcError(
                    f"{self.title}, round 1: worker.{name}: {error.args[0].removeprefix('state: ')}, so that a run "
                    "that is stopped could not go on; keep tensors, arrays, numbers, text, and lists and dicts of these"
                ) from None
