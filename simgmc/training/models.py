"""The registered models: names, options and sources, known without loading torch.

The networks themselves are in :mod:`simgmc.training.architectures`.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from simgmc.errors import SimgmcError
from simgmc.randomness import generator
from simgmc.training.registry import Entry, Option, lookup

if TYPE_CHECKING:
    from torch import nn

MOST_PARAMETERS = 10**9
"""Of a model: more would need tens of gigabytes for every worker."""

MODELS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("logistic", "multinomial logistic regression: one linear layer", "standard"),
        Entry(
            "mlp",
            "linear layers with ReLU between them",
            "standard",
            {"hidden": Option("widths of the hidden layers", list, (128,))},
        ),
        Entry(
            "cnn",
            "3x3 convolutions with group norm, 2x2 max-pooling and ReLU, one linear layer",
            "after LeNet (LeCun et al. 1998); group norm: Wu and He 2018",
            {
                "channels": Option("output channels of the convolutions", list, (16, 32)),
                "groups": Option("groups of the group norm", int, 8),
            },
        ),
        Entry(
            "resnet20",
            "ResNet-20 for 32x32 images, batch or group norm",
            "He et al. 2016, section 4.2; group norm: Wu and He 2018",
            {
                "norm": Option("normalisation", str, "batch", ("batch", "group")),
                "shortcut": Option(
                    "where channels double: A pads with zeros (269,722 parameters), "
                    "B uses 1x1 convolutions (272,474)",
                    str, "B", ("A", "B"),
                ),
                "groups": Option("groups of the group norm", int, 8),
            },
        ),
    )
}


def check_model(name: str, sample_shape: tuple[int, ...], **options: Any) -> dict[str, Any]:
    """Every option of the model, defaults filled in. Needs no torch.

    Args:
        sample_shape: shape of one sample, e.g. (3, 32, 32).

    Raises:
        SimgmcError: unknown model or option, a value that is not valid, samples that it cannot take.
    """
    resolved = lookup("model", name, MODELS).resolve(options)
    if name in ("cnn", "resnet20"):
        if len(sample_shape) != 3:
            raise SimgmcError(
                f"model {name!r} needs images (channels, height, width), samples have shape {sample_shape}"
            )
        channels = resolved["channels"] if name == "cnn" else (16, 32, 64)
        grouped = name == "cnn" or resolved["norm"] == "group"
        if grouped and any(width % resolved["groups"] for width in channels):
            raise SimgmcError(
                f"{name}: groups = {resolved['groups']} must divide every number of channels, "
                f"{list(channels)}"
            )
        if name == "cnn" and min(sample_shape[1:]) < 2 ** len(channels):
            raise SimgmcError(
                f"cnn: {len(channels)} poolings need images of at least {2 ** len(channels)} pixels "
                f"a side, samples have shape {sample_shape}"
            )
    widths = [math.prod(sample_shape[: 1 if name == "cnn" else None]), *resolved.get("hidden", resolved.get("channels", ()))]
    parameters = (9 if name == "cnn" else 1) * sum(a * b for a, b in itertools.pairwise(widths))
    if parameters > MOST_PARAMETERS:
        raise SimgmcError(f"{name}: layers of widths {widths[1:]} have {parameters:,} parameters; at most {MOST_PARAMETERS:,}")
    return resolved


def build_model(
    name: str, sample_shape: tuple[int, ...], classes: int, seed: int, **options: Any
) -> nn.Module:
    """A model with its initial parameters, float32 on the CPU.

    The parameters depend on ``seed`` and the arguments alone: the model is initialised on the CPU
    whatever device it trains on, and torch's own generator is left as it was.

    Raises:
        SimgmcError: as :func:`check_model`.
    """
    resolved = check_model(name, sample_shape, **options)
    import torch

    from simgmc.training.architectures import ARCHITECTURES

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, "initial parameters").integers(2**63)))
        return ARCHITECTURES[name](sample_shape, classes, **resolved)
