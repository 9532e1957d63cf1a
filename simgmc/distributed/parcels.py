"""What says how a payload is to be decoded, for who has no message of its kind; and messages cut into pieces.

Most payloads are decoded by a message of one's own of the same compressor and round. Else a template travels along:
the message without its rows. What its receiver has of its own (coordinates drawn from a shared seed, scales
agreed on) is left out of it.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simgmc.compression.exemption import PartlyDense
from simgmc.compression.message import CodedMessage, DenseMessage, Message, SharedMessage
from simgmc.compression.quantisation.levels import ScaledValues
from simgmc.compression.sparsification.message import SparseMessage
from simgmc.compression.wire.values import FloatValues, Values, even_offsets, row_offsets
from simgmc.core.errors import SimgmcError


def agreed(message: Message | None) -> dict[str, Tensor]:
    """What all workers know of a message's tensors beforehand, by name."""
    if isinstance(message, PartlyDense):
        return agreed(message.inner)
    found: dict[str, Tensor] = {}
    if isinstance(message, SharedMessage):
        found["indices"] = message.indices
    if isinstance(message, CodedMessage) and isinstance(message.values, ScaledValues) and message.values.agreed:
        found["scale"] = message.values.scales[0]
    return found


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, known: dict[str, Tensor]):
        super().__init__(file)
        self._names = {id(tensor): name for name, tensor in known.items()}

    def persistent_id(self, found: Any) -> Any:
        name = self._names.get(id(found))
        return None if name is None else (name, tuple(found.shape), str(found.dtype))

    def reducer_override(self, found: Any) -> Any:
        """Equal tensors as equal bytes: what torch writes has addresses in it."""
        if isinstance(found, Tensor):
            return _tensor, (found.detach().cpu().numpy(), str(found.device))
        return NotImplemented


def _tensor(numbers: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(numbers.copy()).to(device)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, known: dict[str, Tensor]):
        super().__init__(file)
        self._known = known

    def persistent_load(self, said: Any) -> Tensor:
        name, shape, dtype = said
        if name in self._known:
            return self._known[name]
        # A server of its own hands numbers on without knowing which coordinates they are of.
        if name == "indices":
            return torch.arange(shape[0])
        return torch.ones(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))


def packed(message: Message, known: dict[str, Tensor]) -> bytes:
    """A message's template without those of its tensors that its receiver knows, see :func:`agreed`.

    Raises SimgmcError where it cannot travel.
    """
    file = io.BytesIO()
    held = agreed(message)
    left_out = {name: one for name, one in held.items() if name in known and torch.equal(one, known[name])}
    try:
        _Pickler(file, left_out).dump(message.template())
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise SimgmcError(
            f"what decodes a message ({message.wire}) cannot be sent to another process: {error}; define the "
            "functions that encode and decode at the top of a module"
        ) from None
    return file.getvalue()


def unpacked(template: bytes, known: dict[str, Tensor]) -> Message:
    """The template that :func:`packed` made, for who knows these tensors."""
    return _Unpickler(io.BytesIO(template), known).load()


class Templates:
    """Which templates others have been sent, and which they have sent: each travels once."""

    def __init__(self) -> None:
        self._sent: set[tuple[int, bytes]] = set()
        self._held: dict[bytes, bytes] = {}

    def to_send(self, rank: int, message: Message, known: dict[str, Tensor]) -> tuple[bytes, bytes]:
        """The template's name (16 bytes), and itself where that rank has not got it yet."""
        template = packed(message, known)
        name = hashlib.blake2b(template, digest_size=16).digest()
        if (rank, name) in self._sent:
            return name, b""
        self._sent.add((rank, name))
        return name, template

    def received(self, name: bytes, template: bytes, known: dict[str, Tensor]) -> Message:
        """The template of that name."""
        if template:
            self._held[name] = template
        return unpacked(self._held[name], known)

    def held(self, name: bytes) -> bytes:
        """The template of that name, as it has been received; nothing where it has not been."""
        return self._held.get(name, b"")


# messages as numbers ------------------------------------------------------------------------


def float_values(message: Message) -> list[FloatValues]:
    """The numbers of a message that is floats of coordinates that all workers send; empty of any other."""
    if isinstance(message, PartlyDense):
        exempt, inner = float_values(message.exempt), float_values(message.inner)
        return exempt + inner if exempt and inner else []
    if isinstance(message, (DenseMessage, SharedMessage)) and isinstance(message.values, FloatValues):
        return [message.values]
    return []


def with_values(message: Message, values: Sequence[Values]) -> Message:
    """A message of one row like this one, of :func:`float_values`, with other numbers."""
    if isinstance(message, PartlyDense):
        count = len(float_values(message.exempt))
        exempt, inner = with_values(message.exempt, values[:count]), with_values(message.inner, values[count:])
        assert isinstance(exempt, DenseMessage)
        return PartlyDense((1, message.d), message.columns, exempt, inner)
    (one,) = values
    if isinstance(message, SharedMessage):
        return SharedMessage((1, message.d), message.indices, one)
    return DenseMessage((1, message.d), one)


def can_be_cut(message: Message) -> bool:
    """Whether :func:`shards_of` can cut it."""
    sparse = type(message) is SparseMessage and isinstance(message.values, FloatValues)
    return sparse or len(float_values(message)) == 1


def shards_of(message: Message, count: int) -> list[Message]:
    """A message of one row cut into so many pieces by coordinates (of those that it covers, where all cover the same).

    Of a sparse one, pieces are vectors of their own, so that the pieces say where they are.
    """
    if isinstance(message, SparseMessage):
        index, values = message.row(0)
        pieces: list[Message] = []
        for part in np.array_split(np.arange(message.d), count):
            low, high = (int(part[0]), int(part[-1]) + 1) if len(part) else (0, 0)
            here = (index >= low) & (index < high)
            assert isinstance(message.values, FloatValues)
            coded = FloatValues(values[here], row_offsets([int(here.sum())]), message.values.format)
            pieces.append(SparseMessage((1, high - low), index[here] - low, coded, message.index_format))
        return pieces
    (coded,) = float_values(message)
    return [
        DenseMessage((1, len(part)), FloatValues(part, even_offsets(1, len(part)), coded.format))
        for part in coded.flat.tensor_split(count)
    ]


def united(message: Message, pieces: Sequence[Message]) -> Message:
    """The message whose pieces are these: means of those of :func:`shards_of`."""
    if isinstance(message, SparseMessage):
        flat = torch.cat([piece.dense().view(-1) for piece in pieces])
        coded = message.values.averaged(flat, even_offsets(1, message.d))
        sparse = message._recoded(flat[None])
        return sparse if sparse.nbytes[0] <= message.d * coded.item_bytes else DenseMessage(flat[None].shape, coded)
    (coded,) = float_values(message)
    flat = torch.cat([piece.dense().view(-1) for piece in pieces])
    return with_values(message, [coded.averaged(flat, even_offsets(1, len(flat)))])
