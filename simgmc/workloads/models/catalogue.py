"""The registered models: names, options and sources, known without loading torch.

The networks themselves are in :mod:`simgmc.workloads.models.architectures`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simgmc.core.declared import OWN
from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.imports import call
from simgmc.core.randomness import generator
from simgmc.core.registry import Entry, ImportPath, Option, Registry

if TYPE_CHECKING:
    from torch import nn

MAX_PARAMETERS = 10**9
"""Of a model: more would need tens of gigabytes for every worker."""


@dataclass(frozen=True)
class ModelEntry(Entry):
    """A registered model."""

    takes: str = "values"
    """Its samples: "values" of any shape, "images" (channels, height, width), blocks of "tokens", or
    "anything", where only the model itself knows."""


@dataclass(frozen=True)
class ImportModel(ModelEntry):
    """A module of one's own, by import path; options beyond its own are the factory's arguments."""

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        arguments = {key: value for key, value in given.items() if key not in self.options}
        return super().resolve({key: value for key, value in given.items() if key in self.options}) | arguments


def _resnet_options(a: str, b: str) -> dict[str, Option]:
    return {
        "norm": Option("normalisation", str, "batch", ("batch", "group")),
        "shortcut": Option(
            f"where channels double: A pads with zeros ({a} parameters), B uses 1x1 convolutions ({b})",
            str, "B", ("A", "B"),
        ),
        "groups": Option("groups of the group norm", int, 8),
    }  # fmt: skip


def _own(name: str, found: None) -> ModelEntry:
    """A module of one's own under its import path: what else a scenario states are its factory's arguments."""
    return ImportModel(name, "a torch.nn.Module of one's own", OWN, takes="anything")


MODELS: Registry[ModelEntry] = Registry(
    "model",
    (
        ModelEntry("logistic", "multinomial logistic regression: one linear layer", "standard"),
        ModelEntry(
            "mlp",
            "linear layers with ReLU between them",
            "standard",
            {"hidden": Option("widths of the hidden layers", list[int], (128,))},
        ),
        ModelEntry(
            "cnn",
            "3x3 convolutions with group norm, 2x2 max-pooling and ReLU, one linear layer",
            "after LeNet (LeCun et al. 1998); group norm: Wu and He 2018",
            {
                "channels": Option("output channels of the convolutions", list[int], (16, 32)),
                "groups": Option("groups of the group norm", int, 8),
            },
            takes="images",
        ),
        ModelEntry(
            "resnet20",
            "ResNet-20 for 32x32 images, batch or group norm",
            "He et al. 2016, section 4.2; group norm: Wu and He 2018",
            _resnet_options("269,722", "272,474"),
            takes="images",
        ),
        ModelEntry(
            "resnet56",
            "ResNet-56 for 32x32 images, batch or group norm",
            "He et al. 2016, section 4.2; group norm: Wu and He 2018",
            _resnet_options("853,018", "855,770"),
            takes="images",
        ),
        ModelEntry(
            "vgg11",
            "VGG-11 for 32x32 images: eight convolutions and one linear layer",
            "Simonyan and Zisserman 2015, configuration A",
            {"norm": Option("batch norm after each convolution, or none", str, "batch", ("batch", "none"))},
            takes="images",
        ),
        ModelEntry(
            "vit",
            "vision transformer for small images, four blocks unless stated",
            "Lee, Lee, Song 2021, Vision Transformer for Small-Size Datasets (there 9 blocks)",
            {
                "depth": Option("transformer blocks", int, 4, at_most=100),
                "dim": Option("width", int, 192, at_most=16_384),
                "heads": Option("attention heads; divides the width", int, 12),
                "hidden": Option("width of the hidden layers, in widths", int, 2, at_most=100),
                "patch": Option("pixels of a patch's side; divides the image's", int, 4),
                "drop_path": Option(
                    "probability that a sample skips a branch in training (theirs: 0.1)",
                    float,
                    0.0,
                    at_least=0,
                    at_most=0.99,
                ),
                "spt": Option("shifted patch tokenization", bool, False),
                "lsa": Option("locality self-attention", bool, False),
            },
            takes="images",
        ),
        ModelEntry(
            "gpt",
            "decoder-only transformer over tokens, embeddings tied",
            "Radford et al. 2019, GPT-2; the small one after Karpathy's nanoGPT",
            {
                "depth": Option("transformer blocks", int, 4, at_most=100),
                "dim": Option("width", int, 128, at_most=16_384),
                "heads": Option("attention heads; divides the width", int, 4),
                "bias": Option("bias in linear layers and layer norms", bool, False),
                "dropout": Option("share of activations dropped in training", float, 0.0, at_least=0, at_most=0.99),
            },
            takes="tokens",
        ),
        ModelEntry(
            "lstm",
            "stacked LSTM over tokens",
            "McMahan et al. 2017 (FedAvg), Shakespeare; Reddi et al. 2021",
            {
                "embedding": Option("width of the embedding", int, 8, at_most=16_384),
                "hidden": Option("width of an LSTM layer", int, 256, at_most=16_384),
                "layers": Option("LSTM layers", int, 2, at_most=100),
            },
            takes="tokens",
        ),
        ImportModel(
            "import",
            "any torch.nn.Module of one's own, by import path; further keys are its arguments",
            "one's own",
            {
                "factory": ImportPath("makes the model; gets sample_shape and classes if it names them"),
                "folder": Option("where modules are looked for first; else the scenario's", Path, None),
            },
            takes="anything",
        ),
        ModelEntry(
            "given",
            "a torch.nn.Module handed to simgmc.run in Python",
            "one's own",
            {"what": Option("its class and size", str)},
            takes="anything",
        ),
    ),
    _own,
    later=True,
    listed="models",
)


def check_model(name: str, sample_shape: tuple[int, ...], tokens: bool = False, **options: Any) -> dict[str, Any]:
    """Every option of the model, defaults filled in. Needs no torch.

    Args:
        sample_shape: shape of one sample, e.g. (3, 32, 32), or (block,) of tokens.
        tokens: whether samples are whole numbers that stand for tokens.

    Raises:
        SimgmcError: unknown model or option, a value that is not valid, samples that it cannot take.
    """
    entry = MODELS[name]
    resolved = entry.resolve(options)
    if entry.takes == "anything":
        return resolved
    if tokens != (entry.takes == "tokens"):
        fitting = [one.name for one in MODELS.values() if (one.takes == "tokens") == tokens]
        what = "tokens of a text" if tokens else "values"
        raise SimgmcError(f"model {name!r} cannot take samples that are {what}; these can: {', '.join(fitting)}")
    if entry.takes == "images" and len(sample_shape) != 3:
        raise SimgmcError(f"model {name!r} needs images (channels, height, width), samples have shape {sample_shape}")
    if name in ("cnn", "resnet20", "resnet56"):
        channels = resolved["channels"] if name == "cnn" else (16, 32, 64)
        grouped = name == "cnn" or resolved["norm"] == "group"
        if grouped and any(width % resolved["groups"] for width in channels):
            raise SimgmcError(
                f"{name}: groups = {resolved['groups']} must divide every number of channels, {list(channels)}"
            )
    least = {"cnn": 2 ** len(resolved.get("channels", ())), "vgg11": 32}.get(name)
    if least and min(sample_shape[1:]) < least:
        raise SimgmcError(
            f"{name}: {least.bit_length() - 1} poolings need images of at least {least} pixels "
            f"a side, samples have shape {sample_shape}"
        )
    if name in ("vit", "gpt") and resolved["dim"] % resolved["heads"]:
        raise SimgmcError(f"{name}: heads = {resolved['heads']} must divide dim = {resolved['dim']}")
    if name == "vit" and any(side % resolved["patch"] for side in sample_shape[1:]):
        raise SimgmcError(
            f"vit: patch = {resolved['patch']} must divide the sides of the images, samples have shape {sample_shape}"
        )
    parameters = _rough_size(name, sample_shape, resolved)
    if parameters > MAX_PARAMETERS:
        raise SimgmcError(
            f"{name}: layers of {_shown(resolved)} have {parameters:,} parameters; at most {MAX_PARAMETERS:,}"
        )
    return resolved


def _rough_size(name: str, sample_shape: tuple[int, ...], options: dict[str, Any]) -> int:
    """Parameters of the layers whose size options decide."""
    if name in ("vit", "gpt"):
        hidden = options.get("hidden", 4)
        return options["depth"] * (4 + 2 * hidden) * options["dim"] ** 2
    if name == "lstm":
        inputs = [options["embedding"], *[options["hidden"]] * (options["layers"] - 1)]
        return sum(4 * options["hidden"] * (fan_in + options["hidden"]) for fan_in in inputs)
    widths = [
        math.prod(sample_shape[: 1 if name == "cnn" else None]),
        *options.get("hidden", options.get("channels", ())),
    ]
    return (9 if name == "cnn" else 1) * sum(a * b for a, b in itertools.pairwise(widths))


def _shown(options: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {list(value) if isinstance(value, tuple) else value}" for key, value in options.items())


def build_model(
    name: str, sample_shape: tuple[int, ...], classes: int, seed: int, tokens: bool = False, **options: Any
) -> nn.Module:
    """A model with its initial parameters, float32 on the CPU.

    The parameters depend on ``seed`` and the arguments alone: the model is initialised on the CPU
    whatever device it trains on, and torch's own generator is left as it was.

    Raises:
        SimgmcError: as :func:`check_model`.
    """
    resolved = check_model(name, sample_shape, tokens, **options)
    from simgmc.workloads.models.architectures import ARCHITECTURES  # loads torch

    if name == "given":
        raise SimgmcError("workload.model: it was given from Python; give it again: simgmc.run(scenario, model=...)")
    if name in ARCHITECTURES:
        build = partial(ARCHITECTURES[name], sample_shape, classes, **resolved)
    else:
        factory = {} if name == "import" else {"factory": name, "folder": None}
        build = partial(_imported, sample_shape, classes, **factory, **resolved)
    return seeded(build, seed)


def _imported(sample_shape: tuple[int, ...], classes: int, factory: str, folder: str | None, **arguments: Any) -> Any:
    offered = {"sample_shape": sample_shape, "classes": classes}
    return call("workload.model", factory, folder, arguments, offered)


def seeded(build: Callable[[], Any], seed: int) -> nn.Module:
    """The module that ``build`` makes, its random draws from the seed, float32 on the CPU.

    Raises:
        SimgmcError: it makes something else, or a module that cannot be trained as it is.
    """
    import torch  # not at the top: scenarios are checked without it

    from simgmc.workloads.seeding import drawing_from

    with drawing_from(int(generator(seed, "initial parameters").integers(2**63))):
        model = build()
    if not isinstance(model, torch.nn.Module):
        raise SimgmcError(f"workload.model: {model!r:.60} ({type(model).__name__}) is not a torch.nn.Module")
    return ready(model)


def ready(model: nn.Module) -> nn.Module:
    """The module itself, if all of its parameters are there, and real numbers where they are trained.

    Raises:
        SimgmcError: some are complex, on the meta device, or wait for a first batch (lazy modules); parts
            whose parameters cannot be exchanged (TorchScript) or whose gradients are sparse.
    """
    import torch  # not at the top: scenarios are checked without it

    for place, part in model.named_modules():
        where = f"workload.model: {type(model).__name__}" + (f": {place}" if place else "")
        if isinstance(part, torch.jit.ScriptModule):
            raise SimgmcError(
                f"{where} is TorchScript, whose parameters cannot be exchanged: give the module that it was made of"
            )
        if isinstance(part, (torch.nn.Embedding, torch.nn.EmbeddingBag)) and part.sparse:
            raise SimgmcError(f"{where} gives sparse gradients: make it with sparse = False")

    for name, parameter in model.named_parameters():
        where = f"workload.model: {type(model).__name__}: parameter {name}"
        if isinstance(parameter, torch.nn.parameter.UninitializedParameter):
            raise SimgmcError(
                f"{where} has no shape yet: send a first batch through a lazy module before handing it over"
            )
        if parameter.is_meta and not torch.empty(0).is_meta:  # else only its size is asked for
            raise SimgmcError(f"{where} has no values: it is on the meta device")
        if parameter.requires_grad and not parameter.is_floating_point():
            raise SimgmcError(
                f"{where} is {str(parameter.dtype).removeprefix('torch.')}: only real parameters can be trained"
            )
    return model
