"""Which samples every worker takes at every step, and how they become a model's input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import generator
from simgmc.workloads.data.collated import ONE_AT_A_TIME
from simgmc.workloads.seeding import drawing_from

CROP_PADDING = 4


class Minibatches:
    """Every worker's minibatches: a pure function of (seed, step, worker).

    A worker goes through a fresh random permutation of its own samples, then through another one;
    a minibatch may end one pass and begin the next, so no sample is skipped. Whoever holds less than a batch takes all
    that it holds in every one.
    """

    def __init__(self, owned: Sequence[np.ndarray], batch: int, seed: int):
        if batch < 1:
            raise SimgmcError(f"batch = {batch} must be at least 1 sample per worker")
        if not owned or min(map(len, owned)) == 0:
            raise SimgmcError("every worker must hold at least one training sample")
        self.owned = tuple(np.asarray(piece, dtype=np.int64) for piece in owned)
        self.batch = batch
        self.seed = seed
        self._passes: dict[int, tuple[int, np.ndarray]] = {}  # worker -> its latest permutation

    def indices(self, step: int, worker: int) -> np.ndarray:
        """(batch,) int64, or fewer: the training samples of this worker's step-th gradient."""
        size = len(self.owned[worker])
        if size <= self.batch:
            return self._permutation(worker, step)
        taken, start = [], step * self.batch
        missing = self.batch
        while missing:
            turn, place = divmod(start, size)
            part = self._permutation(worker, turn)[place : place + missing]
            taken.append(part)
            start += len(part)
            missing -= len(part)
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    def all_indices(self, step: int) -> np.ndarray:
        """(workers, batch) int64: the same for every worker, where all hold a batch."""
        return np.stack([self.indices(step, worker) for worker in range(len(self.owned))])

    @property
    def taken(self) -> int:
        """Samples in one step of all workers."""
        return sum(min(self.batch, len(piece)) for piece in self.owned)

    def _permutation(self, worker: int, turn: int) -> np.ndarray:
        latest = self._passes.get(worker)
        if latest is None or latest[0] != turn:
            drawn = generator(self.seed, "minibatches", turn, worker).permutation(self.owned[worker])
            self._passes[worker] = latest = (turn, drawn)
        return latest[1]


class Samples:
    """Labelled samples on the device, stored as published, normalised when they are taken.

    Images are kept channels-last, so a gathered batch already lies in the memory format in which
    convolutions are fastest. Tokens stay whole numbers: nothing is normalised.
    """

    def __init__(
        self,
        images: np.ndarray | Tensor,
        labels: np.ndarray | Tensor,
        mean: np.ndarray,
        std: np.ndarray,
        device: torch.device,
        dtype: torch.dtype,
        channels_last: bool,
        tokens: bool = False,
        anew: Callable[[int], tuple[np.ndarray, np.ndarray]] | None = None,
    ):
        """``anew``: reads a sample and its label again, see :class:`simgmc.workloads.data.dataset.Dataset`."""
        # Arrays read from files may be read-only, which torch cannot share.
        images, labels = (
            torch.as_tensor(v if isinstance(v, Tensor) or v.flags.writeable else v.copy()) for v in (images, labels)
        )
        if len(images) != len(labels):
            raise SimgmcError(f"{len(images)} images but {len(labels)} labels")
        self.device, self.anew = device, anew
        self.labels = labels.to(device, dtype if labels.is_floating_point() else torch.int64)
        self.shape = tuple(images.shape[1:])
        mean, scale = (torch.as_tensor(np.asarray(v), dtype=dtype) for v in (mean, 1 / np.asarray(std)))
        self.channels_last, self.tokens = channels_last, tokens
        stored = self._as_stored(images)
        self._stored_shape = tuple(stored.shape[1:])
        self.values = stored.flatten(1)
        # one value per stored value: broadcasting over a last dimension of 3 is slow
        self.mean, self.scale = (self._of_each(v).to(device) for v in (mean, scale))

    def __len__(self) -> int:
        return len(self.labels)

    def _as_stored(self, values: Tensor) -> Tensor:
        """Samples (n, *shape) on the device, images channels-last."""
        if len(self.shape) == 3 and not self.tokens:
            values = values.permute(0, 2, 3, 1)
        return values.to(self.device).contiguous()

    def _drawn_anew(self, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """These samples as they are stored, and their labels, read again by the seed."""
        assert self.anew is not None
        with ONE_AT_A_TIME, drawing_from(seed):
            read = [self.anew(one) for one in index.flatten().tolist()]
        values, labels = (torch.from_numpy(np.stack(part)) for part in zip(*read, strict=True))
        return self._as_stored(values).flatten(1), labels.to(self.labels)

    def _of_each(self, channels: Tensor) -> Tensor:
        """A number, or one for each channel, as one for each value of a sample as it is stored."""
        if len(self.shape) != 3 and channels.numel() > 1:
            channels = channels.view(-1, *[1] * (len(self.shape) - 1))
        return channels.expand(self._stored_shape).flatten().contiguous()

    def take(self, index: Tensor, crop: Tensor | None = None, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Gather, augment and normalise, all workers at once.

        Args:
            index: (..., batch) int64 on the device.
            crop: None, or (..., batch, 3) from :func:`crop_draws`, on the device.
            seed: of samples that are drawn anew; without one they are as they were read at first.

        Returns:
            inputs (..., batch, *sample shape) and targets (..., batch, *target shape).
        """
        values, labels = self.values, self.labels
        if self.anew is not None and seed is not None:
            values, labels = self._drawn_anew(index, seed)
            index = torch.arange(len(values), device=self.device).view(index.shape)
        if self.tokens:
            return values[index].long().view(*index.shape, *self.shape), labels[index]
        if crop is None:
            x = values.index_select(0, index.flatten())
        else:
            x = self._cropped(values, index.flatten(), crop.flatten(0, -2))
        x = x.to(self.mean.dtype, copy=True).sub_(self.mean).mul_(self.scale)
        x = x.view(*index.shape, *self._stored_shape)
        if len(self.shape) == 3:
            x = x.movedim(-1, -3)
            if not self.channels_last:
                x = x.contiguous()
        return x, labels[index]

    def _cropped(self, values: Tensor, index: Tensor, crop: Tensor) -> Tensor:
        height, width, channels = self._stored_shape
        down, right, flip = crop.unsqueeze(-1).unbind(1)  # each (samples, 1)
        rows = torch.arange(height, device=index.device) + down
        columns = torch.arange(width, device=index.device)
        columns = torch.where(flip > 0, width - 1 - columns, columns) + right
        inside = ((rows >= 0) & (rows < height)).unsqueeze(2) & ((columns >= 0) & (columns < width)).unsqueeze(1)
        pixel = rows.clamp(0, height - 1).unsqueeze(2) * width + columns.clamp(0, width - 1).unsqueeze(1)
        pixel += (index * (height * width))[:, None, None]
        x = values.view(-1, channels).index_select(0, pixel.flatten())
        return (x * inside.view(-1, 1)).view(len(index), -1)


def crop_draws(seed: int, step: int, workers: int, batch: int) -> np.ndarray:
    """Random crop after padding by 4 with black, and random horizontal flip (He et al. 2016).

    Returns:
        (workers, batch, 3) int64: shift down and right, each in -4 .. 4, and flip (0 or 1); a pure
        function of (seed, step, worker), the same for a worker whatever the number of workers.
    """
    uniform = generator(seed, "augmentation", step).random((workers, batch, 3))
    span = np.array([2 * CROP_PADDING + 1, 2 * CROP_PADDING + 1, 2])
    return np.floor(uniform * span).astype(np.int64) - np.array([CROP_PADDING, CROP_PADDING, 0])
