"""The per-worker interpreter: one program a worker, in the order of simulated time.

The event loop (:mod:`simgmc.experiment.under_way.event_loop`) says which program goes on when; the trainer never
sees the clock. A gradient's point is fixed when the program asks for it, but its value is needed
only when its simulated computation ends: all gradients under way by then are computed in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from simgmc.algorithms import effects
from simgmc.algorithms.algorithm import Algorithm, Program
from simgmc.algorithms.effects import SERVER, Arrival, Effect
from simgmc.algorithms.optimizers import GradientSettings
from simgmc.algorithms.worker import Worker
from simgmc.compression.identity import Identity
from simgmc.core.errors import DivergenceError
from simgmc.core.randomness import Randomness
from simgmc.training.absent import Absent
from simgmc.training.journal import NOTHING, Asked, Diverged, Parcel, RoundOver, Served, Step
from simgmc.training.trainer import Progress
from simgmc.training.treatment import Treatment
from simgmc.training.worker_run import Ahead, WorkerRun
from simgmc.workloads.as_begun import BESIDE, AsBegun, beside, check_beside
from simgmc.workloads.workload import Workload

_NO_DRAWS = Randomness(0, 0, 0, [0])


class PerWorkerTrainer:
    """Trains with one program per worker, each at its own pace.

    ``graph(round)`` gives every worker's neighbours in rounds of that number (by default all
    others). State of a worker: the algorithm's (d,) vectors. While a round is under way, also these
    as they were at its start, and the answers since: a stopped run gives them to the program again.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        workload: Workload,
        lr_at: Callable[[float], float],
        weight_decay: float = 0.0,
        seed: int = 0,
        graph: Callable[[int], Sequence[tuple[int, ...]]] | None = None,
        together: bool = True,
        settings: GradientSettings | None = None,
    ):
        """``together``: compute all gradients under way in one call; False: each alone, when it is needed.
        ``settings``: what becomes of gradients, by default nothing."""
        self.algorithm, self.workload = algorithm, workload
        self._lr_at, self._together = lr_at, together
        self.as_begun = AsBegun(schedule=lr_at)
        self._treatment = Treatment.of(weight_decay, settings or GradientSettings(), algorithm, workload)
        self._seed = seed
        workers = workload.workers
        complete = [tuple(other for other in range(workers) if other != rank) for rank in range(workers)]
        self._graph = graph or (lambda round: complete)
        self._dense = Identity(values="fp32")
        self.batch_calls = 0
        """Calls of the gradient engine so far."""
        self.diverged: str | None = None
        """Why training cannot go on, if it cannot."""
        self.on_message: Callable[[Any], None] = lambda message: None
        """Hears of every message that is sent."""
        self._messages: dict[int, Arrival] = {}
        """What has been sent and no program has got yet, by number."""
        self._next_message = 0
        initial = workload.initial_parameters()
        self.runs = [WorkerRun(self._worker(initial, rank)) for rank in range(workers)]
        self.server = self._worker(initial, workers)
        for run in self.runs:
            algorithm.start(run.worker)
        algorithm.start_server(self.server)

    def _worker(self, initial: Tensor, rank: int) -> Worker:
        worker = Worker(initial.clone(), self.workload.layout, self._seed, [rank], self.workload.workers)
        own = self.workload.components
        worker.components = own if rank < self.workload.workers else own * self.workload.workers
        worker.begin(0, 0.0, self._lr_at(0.0), self._lr_at(0.0), self._treatment.weight_decay)
        self._treatment.prepare(worker)
        return worker

    one_by_one = ""  # each program has a pace of its own: none could serve all workers

    @property
    def name(self) -> str:
        """The method, for messages."""
        return getattr(self.algorithm, "title", type(self.algorithm).__name__)

    @property
    def sent(self) -> int:
        """Messages that were sent so far."""
        return self._next_message

    @property
    def gradients(self) -> float:
        """Gradients per worker so far, on average."""
        return self._finished / self.workload.workers

    @property
    def epoch(self) -> float:
        """Passes over the training data so far, by gradients finished."""
        return self._finished / (self.workload.workers * self.workload.batches_per_epoch)

    @property
    def _finished(self) -> int:
        return sum(run.gradients for run in self.runs)

    def close(self) -> None:
        """Let go of states, messages and the workload: events still to come refer to the trainer, and it to these."""
        self.runs.clear()
        self._messages.clear()
        del self.server, self.workload

    # what the event loop calls --------------------------------------------------------------

    def advance(self, worker: int, answer: int | Sequence[int]) -> Asked:
        """See :class:`simgmc.training.journal.Programs`."""
        run = self.runs[worker]
        try:
            if isinstance(run.effect, effects.Gradient):
                gradient = self._gradient(worker, run)
                if gradient is None:
                    return Asked(run.effect)
                step = self._next(run, gradient)
            else:
                step = self._next(run, self._answer(run, answer))
        except DivergenceError as error:
            self.diverged = f"worker {worker}, round {run.rounds + 1}: {error}"
            return Asked(Diverged())
        return Asked(step, run.worker.take_staleness())

    def serve(self, asked: int, asker: int, message: int) -> Served:
        """See :class:`simgmc.training.journal.Programs`."""
        content = self._take(message)
        if asked == SERVER:
            one = self.server
            one.lr = self._lr_at(self.epoch)
            one.epoch = self.epoch
        else:
            one = self.runs[asked].worker
            self.runs[asked].since.append(("serve", asker, content))
        replies = tuple((rank, self._post(one, reply)) for rank, reply in self.algorithm.serve(one, asker, content))
        if asked == SERVER:
            one.round += 1
        return Served(replies, one.take_staleness())

    # a program ------------------------------------------------------------------------------

    def _begin(self, run: WorkerRun) -> Program:
        worker, epoch = run.worker, self.epoch
        lr = self._lr_at(epoch)
        previous = lr if run.previous_lr is None else run.previous_lr
        worker.begin(run.rounds, epoch, lr, previous, self._treatment.weight_decay)
        partners = self.algorithm.partners(self._graph(run.rounds))
        worker.neighbours = tuple(partners[worker.rank])
        worker.sources = tuple(rank for rank, others in enumerate(partners) if worker.rank in others)
        return run.begin(self.algorithm)

    def _answer(self, run: WorkerRun, answer: int | Sequence[int]) -> Any:
        """What the program gets: a message's content, several, or nothing."""
        if isinstance(run.effect, effects.Start):
            run.started += 1
            return run.started - 1
        if not isinstance(answer, int):
            return [self._messages.pop(number) for number in answer]
        return None if answer == NOTHING else self._take(answer)

    def _next(self, run: WorkerRun, answer: Any) -> Step:
        """Send the answer to the program; its next step."""
        program = run.program
        if program is None:
            program, answer = self._begin(run), None
        elif isinstance(run.effect, effects.Collect):
            run.since.append(("arrivals", [tuple(one) for one in answer]))
        else:
            run.since.append(("answer", answer))
        try:
            run.effect = program.send(answer)
        except StopIteration:
            run.program, run.effect = None, None
            run.rounds += 1
            return RoundOver()
        if isinstance(run.effect, effects.Gradient):
            self._at_rate(run, self._lr_at(self.epoch))
        return self._posted(run.worker, run.effect)

    def _at_rate(self, run: WorkerRun, lr: float) -> None:
        """The step that a gradient is for has the learning rate of the moment at which it is begun."""
        run.previous_lr = lr
        if lr != run.worker.lr:
            run.worker.lr = lr
            run.since.append(("lr", lr))

    def _posted(self, worker: Worker, effect: Effect) -> Step:
        """An effect as the clock sees it: its message is posted."""
        match effect:
            case effects.Gradient() | effects.Collect() | effects.Wait():
                return effect
            case effects.Exchange() | effects.Request() | effects.Send():
                return replace(effect, message=self._post(worker, effect.message))
            case effects.Start(effect=effects.Request() as request):
                return effects.Start(replace(request, message=self._post(worker, request.message)))
        raise TypeError(
            f"{self.name} asks for {type(effect).__name__}, which a training whose order the clock decides cannot do"
        )

    # messages -------------------------------------------------------------------------------

    def _post(self, sender: Worker, content: Any) -> Parcel:
        """Keep a message until it has arrived."""
        message = self._dense(content, _NO_DRAWS) if isinstance(content, Tensor) else content
        self.on_message(message)
        number = self._next_message
        self._next_message += 1
        self._messages[number] = Arrival(sender.round, sender.rank, message.dense())
        return Parcel(number, int(message.nbytes[0]), 4 * message.d if message.compressed else 0)

    def _take(self, number: int) -> Any:
        return self._messages.pop(number).content

    # gradients ------------------------------------------------------------------------------

    def _gradient(self, worker: int, run: WorkerRun) -> Tensor | None:
        """The gradient that the program waits for; None where further minibatches are to be taken into it."""
        part, accumulate = self._next_minibatch(worker, run), self._treatment.accumulate
        run.part_sum = part if run.part_sum is None else run.part_sum + part
        run.parts += 1
        if run.parts < accumulate:
            return None
        gradient = run.part_sum if accumulate == 1 else run.part_sum / accumulate
        absent = Absent(self.workload.layout, (frozenset(run.absent or ()),))
        run.parts, run.part_sum, run.absent = 0, None, None
        if absent or run.worker.without_gradient is not None:
            run.since.append(("absent", sorted(absent.rows[0])))
            self._treatment.tell(run.worker, absent)
        gradient = self._treatment.clip(gradient)
        if run.effect.weight_decay and self._treatment.decays:
            gradient = gradient + self._treatment.weight_decay * run.effect.at
            absent.clear(gradient[None])
        return gradient

    def _next_minibatch(self, worker: int, run: WorkerRun) -> Tensor:
        if run.ahead is None:
            self._compute(worker)
        ahead, run.ahead = run.ahead, None
        assert ahead is not None
        if ahead.buffers:
            state = self.workload.state_dict()
            for name, row in ahead.buffers.items():
                state[name][worker] = row
            self.workload.load_state_dict(state)
        run.gradients += 1
        run.absent = sorted(set(ahead.absent if run.absent is None else run.absent).intersection(ahead.absent))
        return ahead.gradient

    def _compute(self, needed: int) -> None:
        """Compute the gradients under way: all that are of minibatches, in one call."""
        effect = self.runs[needed].effect
        if effect.component is not None:
            gradient, _ = self.workload.component_gradient(needed, effect.at, effect.component)
            self.runs[needed].ahead = Ahead(gradient, {}, [])
            return
        under_way = [
            rank
            for rank, run in enumerate(self.runs)
            if isinstance(run.effect, effects.Gradient) and run.effect.component is None and run.ahead is None
        ]
        ranks = under_way if self._together else [needed]
        points = torch.stack([self.runs[rank].effect.at for rank in ranks])
        before = self.workload.state_dict()
        gradients, _ = self.workload.gradients_of(ranks, points, [self.runs[rank].gradients for rank in ranks])
        if points._version:  # parameters that the model itself has changed: rows that an embedding scales
            for row, rank in enumerate(ranks):
                self.runs[rank].effect.at.copy_(points[row])
        after = self.workload.state_dict() if before else {}
        if before:
            self.workload.load_state_dict(before)
        self.batch_calls += 1
        for row, rank in enumerate(ranks):
            buffers = {
                name: rows[rank].clone() if isinstance(rows, Tensor) else rows[rank] for name, rows in after.items()
            }
            self.runs[rank].ahead = Ahead(gradients[row], buffers, list(self.workload.absent(rank)))

    # between instants -----------------------------------------------------------------------

    def models(self) -> list[Tensor]:
        """Per worker (d,): its own point at which the method is evaluated; empty where the server's counts."""
        return [] if self.algorithm.centralised else [self.algorithm.model(run.worker) for run in self.runs]

    def model(self) -> Tensor:
        """(d,): the server's model where that is what counts, else the mean of the workers'."""
        if self.algorithm.centralised:
            return self.algorithm.model(self.server)
        return torch.stack(self.models()).mean(dim=0)

    def other_models(self) -> dict[str, Tensor]:
        """Further points that the method reports, averaged likewise."""
        every = [self.algorithm.other_models(run.worker) for run in self.runs]
        return {name: torch.stack([points[name] for points in every]).mean(dim=0) for name in every[0]}

    def metrics(self) -> dict[str, float]:
        """The method's own numbers, added over workers."""
        total: dict[str, float] = {}
        for one in (*(run.worker for run in self.runs), self.server):
            for name, value in self.algorithm.metrics(one).items():
                total[name] = total.get(name, 0.0) + value
        return total

    def progress(self) -> Progress:
        """Where training stands."""
        latest = [max(0, run.gradients - 1) for run in self.runs] if self._finished else None
        return Progress(int(self.gradients), self.epoch, latest)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a stopped training needs to go on, as nested tensors and plain values."""
        return {
            "runs": [run.state_dict() for run in self.runs],
            "server": self.server.snapshot(),
            "messages": [[number, *one] for number, one in self._messages.items()],
            "next_message": self._next_message,
            "workload": self.workload.state_dict(),
            BESIDE: beside(self.as_begun, self.workload.as_begun),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state from :meth:`state_dict`, each program to where it was."""
        self._messages = {number: Arrival(*one) for number, *one in state["messages"]}
        self._next_message = state["next_message"]
        check_beside(self.workload.as_begun, state)
        self.workload.load_state_dict(state["workload"])
        self.server.restore(state["server"])
        for run, kept in zip(self.runs, state["runs"], strict=True):
            run.load_state_dict(kept, self.algorithm, self._tell)

    def _tell(self, worker: Worker, absent: Sequence[int]) -> None:
        self._treatment.tell(worker, Absent(self.workload.layout, (frozenset(absent),)))
