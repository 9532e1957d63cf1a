"""What a worker's copy keeps outside its tensors, in a form that a file can hold and that comes back the same.

Not only values: what two attributes have in common is one object again, a view of a parameter views the parameter
again, and what is a part of the module is that part.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simgmc.workloads.gradients.private_copy import Copier, address, array_owner, bytes_of, memory_of, owns_bytes
from simgmc.workloads.gradients.snapshot import Snapshot

_SAFE = {
    "builtins": {
        "bool", "int", "float", "complex", "str", "bytes", "bytearray", "list", "tuple", "dict", "set", "frozenset",
        "range", "slice", "object", "iter", "enumerate", "reversed", "zip",
    },
    "collections": {"OrderedDict", "deque", "defaultdict", "Counter"},
    "itertools": {"count", "cycle", "repeat", "chain", "islice", "accumulate", "product", "permutations"},
    "random": {"Random"},
    "numpy": {"ndarray", "dtype"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy.random._pickle": {"__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"},
    "numpy.random._mt19937": {"MT19937"}, "numpy.random._pcg64": {"PCG64", "PCG64DXSM"},
    "numpy.random._philox": {"Philox"}, "numpy.random._sfc64": {"SFC64"},
    "numpy.random.bit_generator": {"SeedSequence", "__pyx_unpickle_SeedSequence"},
    "torch": {"Size", "device", *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype))},
}  # fmt: skip
"""What a file may name, beside the classes of what the model held at its start: nothing of it does anything."""


@dataclass(frozen=True)
class InMemory:
    """What no file can hold: an interrupted training begins again."""

    value: Any
    words = "what the model's attributes, or the loss, hold"


OUTSIDE = "what is no worker's own"
"""Under this name a state names what it cannot hold."""


@dataclass(frozen=True)
class Outside:
    """What a state cannot hold, as it is nobody's own; no file takes one: an interrupted training begins again."""

    names: tuple[str, ...]

    @property
    def words(self) -> str:
        """What, for people."""
        return f"what changes outside the workers: {', '.join(self.names)}"


class Holder:
    """Keeps values of one kind of copy; ``start``: what such a copy held when it began."""

    def __init__(self, start: Iterable[Any]):
        kinds = {type(one): None for one in start}
        self._kinds = {(kind.__module__, kind.__qualname__): kind for kind in kinds}

    def keep(self, value: Any, module: nn.Module | None = None) -> dict[str, Any] | InMemory:
        """A copy of a value; ``module``: whose parts, parameters and buffers are named in it and not copied."""
        try:
            pickler = _Pickler(_Own(module), self._kinds)
            pickler.dump(value)
            kept = {"value": np.frombuffer(pickler.written.getvalue(), np.uint8), "memory": pickler.memory}
            self.take(kept, module)
            return kept
        except Exception:  # of whatever kind: it is the user's objects that say how they are written
            return InMemory(Copier(_Own(module).parts)(value))

    def take(self, kept: dict[str, Any] | InMemory, module: nn.Module | None = None) -> Any:
        """The value, for a copy."""
        own = _Own(module)
        if isinstance(kept, InMemory):
            return Copier(own.parts)(kept.value)
        return _Unpickler(kept, own, self._kinds).load()


class _Own:
    """What belongs to a module by name."""

    def __init__(self, module: nn.Module | None):
        self._named: dict[tuple[str, str], Any] = {}
        for kind in ("modules", "parameters", "buffers") if module is not None else ():
            named = getattr(module, f"named_{kind}")(remove_duplicate=False)
            self._named |= {(kind, name): one for name, one in named if one is not None}
        self.parts = list(self._named.values())
        self._names = {id(one): name for name, one in reversed(self._named.items())}
        self._memory = {memory_of(one): name for name, one in self._named.items() if isinstance(one, Tensor)}

    def name(self, one: Any) -> tuple[str, str] | None:
        """A part's."""
        return self._names.get(id(one))

    def owner(self, one: Any) -> tuple[str, str] | None:
        """Of the tensor in whose memory another lies."""
        return self._memory.get(memory_of(one))

    def __getitem__(self, name: tuple[str, str]) -> Any:
        return self._named[name]


class _Pickler(pickle.Pickler):
    """Tensors, and what the module or its code has, are written by what they are."""

    def __init__(self, own: _Own, kinds: dict[tuple[str, str], type]):
        self.written, self._own, self._kinds = io.BytesIO(), own, kinds
        super().__init__(self.written, 4)
        self.memory: list[Tensor] = []
        """Of tensors that do not lie in the module's, each once."""
        self._places: dict[Any, int] = {}
        self._numbers: dict[int, int] = {}

    def persistent_id(self, one: Any) -> tuple[Any, ...] | None:
        name = self._own.name(one)
        if name is not None:
            return "own", name
        if isinstance(one, type) and self._kinds.get((one.__module__, one.__qualname__)) is one:
            return "kind", (one.__module__, one.__qualname__)
        if isinstance(one, Tensor):
            return "tensor", self._numbers.setdefault(id(one), len(self._numbers)), *self._tensor(one)
        if type(one) is np.ndarray and one.base is not None:
            owner = array_owner(one)
            shape = one.dtype.str, one.shape, one.strides
            if isinstance(owner.base, Tensor):
                begin = address(one) - owner.base.untyped_storage().data_ptr()
                return "numbers", self._memory(owner.base), begin, shape
            if owns_bytes(owner):
                return "array", owner, address(one) - address(owner), shape
        return None

    def _tensor(self, one: Tensor) -> tuple[Any, ...]:
        if type(one) not in (Tensor, nn.Parameter) or one.layout is not torch.strided or one.is_quantized:
            raise TypeError(f"{type(one).__name__} {one.layout}")
        if one.is_conj() or one.is_neg():
            raise TypeError("numbers that are worked out when they are read")
        base = one._base
        follows = self._own.name(base) if base is not None and one.grad_fn is not None and base.is_leaf else None
        trains = one.requires_grad and one.is_leaf
        shape = one.storage_offset(), tuple(one.size()), one.stride()
        return self._memory(one), one.dtype, shape, follows, trains, isinstance(one, nn.Parameter)

    def _memory(self, one: Tensor) -> Any:
        owner = self._own.owner(one)
        if owner is not None:
            return owner
        if memory_of(one) not in self._places:
            self._places[memory_of(one)] = len(self.memory)
            whole = torch.empty(0, dtype=torch.uint8, device=one.device)
            self.memory.append(whole.set_(one.untyped_storage()).clone())
        return self._places[memory_of(one)], str(one.device)


class _Unpickler(pickle.Unpickler):
    def __init__(self, kept: dict[str, Any], own: _Own, kinds: dict[tuple[str, str], type]):
        super().__init__(io.BytesIO(kept["value"].tobytes()))
        self._kept, self._own, self._kinds = kept["memory"], own, kinds
        self._made: dict[int, Tensor] = {}
        self._storages: dict[int, torch.UntypedStorage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if name in _SAFE.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, written: tuple[Any, ...]) -> Any:
        kind, first, *rest = written
        if kind == "own":
            return self._own[first]
        if kind == "kind":
            return self._kinds[first]
        if kind in ("numbers", "array"):
            begin, (dtype, shape, strides) = rest
            if kind == "numbers":
                whole = torch.empty(0, dtype=torch.uint8).set_(self._memory(first)).numpy()
            else:
                whole = bytes_of(first)
            return np.ndarray(shape, dtype, whole, begin, strides)
        if first not in self._made:
            self._made[first] = self._tensor(*rest)
        return self._made[first]

    def _tensor(self, memory: Any, dtype: torch.dtype, shape: Any, follows: Any, trains: bool, own: bool) -> Tensor:
        offset, size, stride = shape
        if follows is not None:
            with torch.enable_grad():
                return self._own[follows].as_strided(size, stride, offset)
        storage = self._memory(memory)
        with torch.no_grad():
            made = torch.empty(0, dtype=dtype, device=storage.device).set_(storage, offset, size, stride)
        return nn.Parameter(made, trains) if own else made.requires_grad_(trains)

    def _memory(self, written: Any) -> torch.UntypedStorage:
        place, device = written
        if isinstance(place, str):
            return self._own[written].untyped_storage()
        if place not in self._storages:
            self._storages[place] = self._kept[place].to(device, copy=True).untyped_storage()
        return self._storages[place]


def objects_of(what: str, value: Any) -> list[Any]:
    """All that a value holds, once each."""
    seen = Snapshot()
    seen.look(what, value, None)
    return [one for _, one in seen.objects]
