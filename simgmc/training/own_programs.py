"""Programs of the user's own: checked as they run, and what goes wrong in them told with its place.

A program's errors come with the method, the round, the worker, the effect that it had been answered and the user's own
lines. What it draws from the generators of the whole process (torch's, numpy's, Python's) follows from the seed, the
worker and the round.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import inspect
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from simgmc.algorithms import effects
from simgmc.algorithms.algorithm import Algorithm
from simgmc.algorithms.effects import SERVER, Effect
from simgmc.algorithms.worker import Worker
from simgmc.compression.message import Message
from simgmc.core.errors import SimgmcError, out_of_memory
from simgmc.core.own_code.errors import described, own_places
from simgmc.core.randomness import generator
from simgmc.workloads.seeding import drawing_from

T = TypeVar("T")

EFFECTS = (
    effects.Gradient, effects.Average, effects.Mix, effects.Maximum, effects.Start, effects.Wait, effects.Exchange,
    effects.Request, effects.Send, effects.Collect,
)  # fmt: skip
_ALONE = (effects.Exchange, effects.Request, effects.Send, effects.Collect)
"""What only asynchronous methods may ask for."""
_TOGETHER = (effects.Average, effects.Mix, effects.Maximum)
"""What only synchronous ones may."""


def is_own(algorithm: Algorithm) -> bool:
    """Whether it comes from outside this package."""
    return type(algorithm).__module__.partition(".")[0] != "simgmc"


@contextlib.contextmanager
def blamed(where: str) -> Iterator[None]:
    """An error that happens in the user's code is told in one line that begins with where it did."""
    try:
        yield
    except SimgmcError as error:
        if type(error) is not SimgmcError or str(error).startswith(where):
            raise
        places = own_places(error)
        raise SimgmcError(f"{where}: {error}" + (f" ({'; '.join(places)})" if places else "")) from None
    except Exception as error:
        if out_of_memory(error) or not own_places(error):
            raise
        raise SimgmcError(f"{where}: {described(error)}{_hint(error)}") from error


def _hint(error: Exception) -> str:
    """What would be right, where that can be told."""
    if isinstance(error, dataclasses.FrozenInstanceError):
        return "; what changes while training goes on belongs to the worker: worker.name = ..."
    if isinstance(error, AttributeError):
        known = [name for name in dir(error.obj) if not name.startswith("_")]
        if near := difflib.get_close_matches(error.name or "", known, 1):
            return f'; did you mean "{near[0]}"?'
        return "; give it to the worker in start(worker)" if isinstance(error.obj, Worker) else ""
    asked = next((one.__name__ for one in EFFECTS if f"'{one.__name__}'" in str(error)), None)
    return f"; is a yield missing before {asked}(...)?" if asked else ""


class ReadsNumbers(TorchFunctionMode):
    """Notes where the user's code makes a Python number or a truth value of a tensor's elements.

    What a program decides in Python it decides for all workers that it runs for: that is right for one alone.
    """

    _READS = frozenset(
        {
            Tensor.__bool__, Tensor.__float__, Tensor.__int__, Tensor.__index__, Tensor.item, Tensor.tolist,
            Tensor.numpy, Tensor.__array__, Tensor.nonzero, torch.nonzero, torch.equal, torch.allclose, Tensor.equal,
            Tensor.allclose, torch.is_nonzero, Tensor.masked_select, torch.masked_select,
        }
    )  # fmt: skip
    paused = 0
    """Above 0 while a compressor works: it may look at numbers as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.place: str | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self._READS and not ReadsNumbers.paused and self.place is None:
            frame = sys._getframe(1)
            while frame.f_back is not None and "/torch/" in frame.f_code.co_filename:
                frame = frame.f_back
            if frame.f_globals.get("__name__", "").partition(".")[0] != "simgmc":
                self.place = f"{frame.f_code.co_filename}, line {frame.f_lineno}, in {frame.f_code.co_name}"
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def compressing() -> Iterator[None]:
    """While a compressor works nobody minds what numbers it looks at."""
    ReadsNumbers.paused += 1
    try:
        yield
    finally:
        ReadsNumbers.paused -= 1


class OwnProgram:
    """One round of one worker, or of all at once: every effect that it yields is checked."""

    def __init__(self, title: str, algorithm: Algorithm, worker: Worker, seed: int, who: int | None):
        """``who``: the worker's number; None where one program is all workers'."""
        self._worker, self._seed, self._who = worker, seed, who
        self._title = title
        self._algorithm = algorithm
        self._generator: Generator[Effect, Any, None] | None = None
        self._sends = 0
        self.effect: Any = None
        """What it has asked for last."""
        self.reads: str | None = None
        """Where it has looked at numbers in Python, if it has."""

    @property
    def where(self) -> str:
        """The place of what is under way, for messages."""
        one = f", worker {self._who}" if self._who is not None else ""
        after = f", after {type(self.effect).__name__}" if self.effect is not None else ""
        return f"{self._title}, round {self._worker.round + 1}{one}{after}"

    @property
    def line(self) -> str:
        """The user's line that it has come to."""
        inner: Any = self._generator
        while inspect.isgenerator(getattr(inner, "gi_yieldfrom", None)):
            inner = inner.gi_yieldfrom
        frame = getattr(inner, "gi_frame", None)
        return "" if frame is None else f"{frame.f_code.co_filename}, line {frame.f_lineno}, in {frame.f_code.co_name}"

    def send(self, answer: Any) -> Effect | None:
        """Its next effect, None where the round is over. Raises SimgmcError for whatever is wrong with it."""
        watch = ReadsNumbers()
        with blamed(self.where), self._draws(), watch:
            effect = self._next(answer)
        self.reads = self.reads or watch.place
        self._sends += 1
        if effect is not None:
            self._check(effect)
        self.effect = effect
        return effect

    def _next(self, answer: Any) -> Any:
        if self._generator is None:
            no_generator = (
                "round(worker) yields nothing, and so is no program: what it wants of the world it yields, as in "
                "gradient = yield Gradient(at=worker.params)"
            )
            try:
                made = self._algorithm.round(self._worker)
            except Exception as error:
                if inspect.isgeneratorfunction(self._algorithm.round) or not own_places(error):
                    raise
                raise SimgmcError(f"{no_generator} ({described(error)})") from None
            if not inspect.isgenerator(made):
                raise SimgmcError(no_generator)
            self._generator = cast(Generator[Effect, Any, None], made)
        try:
            return self._generator.send(answer)
        except StopIteration:
            return None

    @contextlib.contextmanager
    def _draws(self) -> Iterator[None]:
        who = self._worker.workers if self._who is None else self._who
        key = (self._worker.round, self._sends, who)
        with drawing_from(int(generator(self._seed, "program", *key).integers(2**63)), self._worker.params.device):
            yield

    def _refused(self, problem: str) -> SimgmcError:
        self.effect = None
        return SimgmcError(f"{self.where}: {problem} ({self.line})")

    def _check(self, effect: Any) -> None:
        name = type(effect).__name__
        if not isinstance(effect, EFFECTS):
            what = f"the class {effect.__name__}" if isinstance(effect, type) else f"a {name}"
            known = "Gradient, Average, Mix, Maximum, Start, Wait, Exchange, Request, Send, Collect"
            raise self._refused(f"yields {what}, which is no effect; a program yields one of: {known}")
        inner = effect.effect if isinstance(effect, effects.Start) else effect
        if self._algorithm.asynchronous and isinstance(inner, _TOGETHER):
            raise self._refused(f"yields {type(inner).__name__}: in an asynchronous method nobody waits for everybody")
        if not self._algorithm.asynchronous and isinstance(inner, _ALONE):
            raise self._refused(f"yields {type(inner).__name__}: only for methods with asynchronous = True")
        if isinstance(inner, effects.Gradient):
            self._check_vector(name, "at", inner.at, self._worker.layout.d)
        elif isinstance(inner, effects.Maximum):
            self._check_vector(name, "numbers", inner.numbers)
        elif hasattr(inner, "message") and not isinstance(inner.message, Message):
            self._check_vector(name, "message", inner.message)

    def _check_vector(self, name: str, field: str, value: Any, d: int | None = None) -> None:
        n = "d" if d is None else str(d)
        many = self._who is None
        needed = f"a tensor of shape ({'workers or 1, ' if many else ''}{n}{'' if many else ','})"
        if not isinstance(value, Tensor):
            also = " or a compressor's message" if field == "message" else ""
            raise self._refused(f"yields {name}({field}={type(value).__name__}); {field} is {needed}{also}")
        leading = value.dim() == 2 and len(value) in (1, self._worker.workers) if many else value.dim() == 1
        if not leading or (d is not None and value.shape[-1] != d):
            raise self._refused(f"yields {name}({field}=...) of shape {tuple(value.shape)}; {field} is {needed}")


def check_state(title: str, worker: Worker, known: frozenset[str], many: bool) -> None:
    """Refuse what a worker holds after a round and no checkpoint would, or that is no model any more."""
    where = f"{title}, round {worker.round + 1}"
    if hidden := [name for name in vars(worker) if name.startswith("_") and name not in known]:
        raise SimgmcError(
            f"{where}: worker.{hidden[0]} begins with an underscore, and is not kept by a run that is stopped; call it "
            f"worker.{hidden[0].strip('_')}"
        )
    params, d = worker.params, worker.layout.d
    shape = tuple(params.shape) if isinstance(params, Tensor) else type(params).__name__
    if not isinstance(params, Tensor) or params.shape[-1:] != (d,) or params.dim() != (2 if many else 1):
        needed = f"({'workers or 1, ' if many else ''}{d}{'' if many else ','})"
        raise SimgmcError(f"{where}: worker.params is of shape {shape} now, and has to stay of shape {needed}")


def outside_state(algorithm: Algorithm) -> Callable[[], str | None]:
    """Remembers what a method keeps outside its workers; the function that is returned says what has changed since."""
    before = _outside(algorithm)

    def changed() -> str | None:
        now = _outside(algorithm)
        return next((name for name in now if name not in before or before[name] != now[name]), None)

    return changed


def _outside(algorithm: Algorithm) -> dict[str, str]:
    """Names and contents: of the module, of the class and its functions' closures, of the object itself."""
    cls = type(algorithm)
    module = sys.modules.get(cls.__module__)
    found: dict[str, Any] = {}
    if module is not None and module.__name__ != "__main__":
        found |= {f"{module.__name__}.{name}": value for name, value in vars(module).items()}
    found |= {f"{cls.__name__}.{name}": value for name, value in vars(cls).items()}
    found |= {f"self.{name}": value for name, value in vars(algorithm).items()}
    for name, value in list(vars(cls).items()):
        code, cells = getattr(value, "__code__", None), getattr(value, "__closure__", None) or ()
        found |= {
            f"{cls.__name__}.{name}: {free}": cell.cell_contents
            for free, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False)
            if free != "__class__" and not callable(cell.cell_contents)
        }
    kinds = (int, float, str, list, dict, set, Tensor)
    return {
        name: repr(value)
        for name, value in found.items()
        if isinstance(value, kinds) and "__" not in name and not callable(value)
    }


class OwnAsynchronous:
    """An asynchronous method of the user's own: its programs run as they are, checked and with their errors told."""

    def __init__(self, title: str, algorithm: Algorithm, seed: int):
        self.title, self.own = title, algorithm
        self._seed = seed
        self._known: frozenset[str] = frozenset()
        self._outside = outside_state(algorithm)
        self.said_outside = ""
        """What it keeps outside its workers, once that is known."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.own, name)
        if not inspect.ismethod(found):
            return found

        def told(*arguments: Any) -> Any:
            with blamed(f"{self.title}, {name}()"):
                return found(*arguments)

        return told

    def start(self, worker: Worker) -> None:
        """As of the method."""
        self._known = frozenset(vars(worker))
        with blamed(f"{self.title}, start(worker)"), self._drawing("start", worker, worker.rank):
            self.own.start(worker)

    def round(self, worker: Worker) -> Generator[Effect, Any, None]:
        """One worker's round."""
        program, answer = OwnProgram(self.title, self.own, worker, self._seed, worker.rank), None
        while (effect := program.send(answer)) is not None:
            answer = yield effect
        check_state(self.title, worker, self._known, many=False)
        number = worker.round + 1
        if number <= 4 or number & (number - 1) == 0:
            self.said_outside = self.said_outside or self._outside() or ""

    def start_server(self, server: Worker) -> None:
        """As of the method."""
        with blamed(f"{self.title}, start_server(server)"), self._drawing("server's start", server):
            self.own.start_server(server)

    def serve(self, asked: Worker, asker: int, message: Any) -> Any:
        """As of the method; what it draws follows from who is asked, in which of its rounds, and who asks."""
        who = asked.workers if asked.rank == SERVER else asked.rank
        with blamed(f"{self.title}, serve()"), self._drawing("serve", asked, who, asked.round, asker):
            return self.own.serve(asked, asker, message)

    def _drawing(self, what: str, worker: Worker, *key: int) -> AbstractContextManager[None]:
        """What is drawn meanwhile from the generators of the whole process follows from the seed, ``what`` and key."""
        drawn = int(generator(self._seed, f"program's {what}", *key).integers(2**63))
        return drawing_from(drawn, worker.params.device)
