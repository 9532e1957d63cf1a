"""What each of several workers has as one for all of them, and back: vectors (d,) and (workers, d), effects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from simgmc.algorithms import effects
from simgmc.algorithms.effects import Effect
from simgmc.algorithms.worker import Worker
from simgmc.compression.identity import Identity
from simgmc.compression.message import Message
from simgmc.core.randomness import Randomness
from simgmc.training.own_programs import OwnProgram, blamed
from simgmc.training.put_back import EACH

_SAME = {torch.float32: 1e-4, torch.float64: 1e-9}
"""How far apart, in parts of the largest number, both ways may round."""


class _Own(NamedTuple):
    """What an effect carries that both ways can be compared by."""

    vector: Tensor | None
    nbytes: np.ndarray | None
    rest: tuple[Any, ...]


def kind_of(effect: Effect | None) -> str:
    """What an effect asks for, in words that are the same for the same."""
    if effect is None:
        return "the end of the round"
    inner = f"({type(effect.effect).__name__})" if isinstance(effect, effects.Start) else ""
    return type(effect).__name__ + inner


def content_of(effect: Effect) -> _Own:
    match effect:
        case effects.Start(effect=inner):
            return content_of(inner)
        case effects.Gradient(at=at):
            return _Own(at, None, (effect.weight_decay, effect.component))
        case effects.Average(message=content) | effects.Mix(message=content):
            rest = (getattr(effect, "reply", None) is None,)
            if isinstance(content, Message):
                return _Own(content.dense(), content.nbytes, rest)
            return _Own(content, None, rest)
        case effects.Maximum(numbers=numbers):
            return _Own(numbers, None, ())
    return _Own(None, None, ())


def agree(a: Any, b: Any) -> bool:
    """Whether two things that workers hold or send are the same up to rounding; a row may stand for all."""
    if isinstance(a, _Own) and isinstance(b, _Own):
        sizes = (a.nbytes is None) == (b.nbytes is None) and (
            a.nbytes is None or b.nbytes is None or bool((a.nbytes == b.nbytes).all())
        )
        return sizes and a.rest == b.rest and agree(a.vector, b.vector)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape[1:] != b.shape[1:] or a.dtype != b.dtype or a.dim() != b.dim():
            return False
        if not a.is_floating_point():
            return bool((a == b).all())
        apart = (a - b).abs().nan_to_num(0.0, 0.0, 0.0)
        largest = b.abs().nan_to_num(0.0, 0.0, 0.0)
        return not apart.numel() or float(apart.max()) <= _SAME.get(a.dtype, 1e-3) * float(largest.max())
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(agree(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(agree, a, b))
    return bool(np.all(a == b))


def row_of(value: Any, rank: int) -> Any:
    """What a stacked worker holds for one of its workers."""
    if isinstance(value, Tensor) and value.dim() > 1:
        return value[rank if len(value) > 1 else 0]
    if isinstance(value, dict) and set(value) == {EACH}:
        return value[EACH][rank]
    return value


def shape_of(value: Any) -> torch.Size | None:
    return value.shape if isinstance(value, Tensor) else None


def held_by_all(values: Sequence[Any]) -> Any:
    """What workers hold, in one: the opposite of :func:`row_of`."""
    first = values[0]
    if all(isinstance(one, Tensor) and one.dim() and one.shape == first.shape for one in values):
        return joined_rows(values)
    same = all(type(one) is type(first) and agree(one, first) for one in values)
    return first if same else {EACH: list(values)}


def joined_rows(rows: Sequence[Tensor]) -> Tensor:
    """Rows (d,) as (workers, d); as (1, d) where all are the same."""
    first = rows[0]
    if all(one is first or torch.equal(one, first) for one in rows[1:]):
        return first[None].clone()
    return torch.stack(list(rows))


def copied(twin: Worker) -> Worker:
    """A worker whose tensors are its own, so that nobody else's change with them."""
    for name, value in twin.state().items():
        if isinstance(value, Tensor):
            setattr(twin, name, value.clone())
    return twin


def answer_of(answer: Any, rank: int, clone: bool) -> Any:
    """What one worker gets of what all are answered: its row, or a copy of what all get."""
    if not isinstance(answer, Tensor):
        return answer
    row = answer[rank if len(answer) > 1 else 0]
    return row.clone() if clone or len(answer) == 1 else row


def as_one(programs: Sequence[OwnProgram], asked: Sequence[Any]) -> Effect:
    """The effects of all workers, all of one kind, as that of one program for all of them."""
    first = asked[0]
    match first:
        case effects.Gradient():
            at = joined_rows([one.at for one in asked])
            return effects.Gradient(at, first.weight_decay, first.component)
        case effects.Average(reply=None):
            return effects.Average(_content_of_all(programs, asked))
        case effects.Average(reply=reply):
            assert reply is not None
            return effects.Average(_content_of_all(programs, asked), lambda mean: _unsqueezed(reply(mean[0])))
        case effects.Mix():
            return effects.Mix(_content_of_all(programs, asked))
        case effects.Maximum():
            return effects.Maximum(torch.stack([one.numbers for one in asked]))
        case effects.Start():
            return effects.Start(cast(Any, as_one(programs, [one.effect for one in asked])))
    if any(one.handle is not first.handle for one in asked):
        raise programs[0]._refused("workers wait for exchanges that they started in different places")
    return first


_ALONE = Randomness(0, 0, 0, [0])
_DENSE = Identity(values="fp32")


def _unsqueezed(content: Any) -> Any:
    return content[None] if isinstance(content, Tensor) else content


def _content_of_all(programs: Sequence[OwnProgram], asked: Sequence[Any]) -> Any:
    """Tensors (d,) stacked, or messages joined, a row for each worker."""
    contents = [one.message for one in asked]
    if all(isinstance(one, Tensor) for one in contents):
        if len({one.shape for one in contents}) > 1:
            shapes = ", ".join(str(tuple(one.shape)) for one in contents[:4])
            raise programs[0]._refused(f"{kind_of(asked[0])}: workers send tensors of different shapes: {shapes}")
        return torch.stack(contents)
    first, *others = [_DENSE(one, _ALONE) if isinstance(one, Tensor) else one for one in contents]
    if any(type(one) is not type(first) for one in others):
        raise programs[0]._refused(f"{kind_of(asked[0])}: workers send messages of different kinds")
    with blamed(programs[0].where):
        return first.joined(others)
