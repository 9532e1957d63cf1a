"""Kinds of modules that people hand over, and what plain PyTorch trains them to.

Each is built anew for every worker of the reference, so nothing of it is ever copied there.
"""

from __future__ import annotations

import itertools
import random
import types
import weakref
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.gradients.engine import dense
from simgmc.workloads.gradients.template import trained
from simgmc.workloads.seeding import drawing_from

WORKERS, BATCH, STEPS, LR = 3, 8, 20, 0.1
KINDS: dict[str, tuple[str, Callable[[], nn.Module]]] = {}
"""Name to (kind of samples, what builds the module)."""


def kind(samples):
    def add(build):
        KINDS[build.__name__.replace("_", " ")] = samples, build
        return build

    return add


def data(samples: str) -> Dataset:
    rng = np.random.default_rng(0)
    shape = {"features": (20,), "rows": (10, 8), "images": (3, 12, 12), "tokens": (12,)}[samples]
    if samples == "tokens":
        x = [rng.integers(0, 16, (n, *shape)) for n in (90, 30)]
        return Dataset("kinds", x[0], x[0].sum(1) % 3, x[1], x[1].sum(1) % 3, 3, tokens=True)
    x = [rng.normal(size=(n, *shape)).astype(np.float32) for n in (90, 30)]
    y = [(one.reshape(len(one), -1)[:, :9].sum(1) > 0).astype(int) + (one.reshape(len(one), -1)[:, 0] > 1) for one in x]
    return Dataset("kinds", x[0], y[0], x[1], y[1], 3)


class Of(nn.Module):
    """A module from its parts and a function that is its forward."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._do = forward

    def forward(self, x):
        return self._do(self, x)


def chain():
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3))


@kind("features")
def plain_chain():
    return chain()


@kind("features")
def forward_hook():
    model = chain()
    model[0].register_forward_hook(lambda module, given, out: 0.5 * out)
    return model


@kind("features")
def forward_pre_hook():
    model = chain()
    model[2].register_forward_pre_hook(lambda module, given: (given[0] * 2,))
    return model


@kind("features")
def backward_hook():
    model = chain()
    model[2].register_full_backward_hook(lambda module, inner, outer: tuple(0.1 * g for g in inner))
    return model


@kind("features")
def parameter_hook():
    model = chain()
    for parameter in model.parameters():
        parameter.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))
    return model


@kind("features")
def hook_that_counts_in_a_closure():
    model, seen = chain(), [0]

    def fade(module, given, out):
        if module.training:
            seen[0] += 1
        return out / (1 + seen[0])

    model[0].register_forward_hook(fade)
    return model


@kind("features")
def patched_forward():
    model = chain()
    last = model[2]
    last.forward = types.MethodType(lambda self, x: 2 * F.linear(x, self.weight, self.bias), last)
    return model


@kind("features")
def patched_forward_by_a_closure():
    model = chain()
    last, before = model[2], model[2].forward
    last.forward = lambda x: before(x) + x[:, :3] * last.bias
    return model


@kind("features")
def spectral_norm_by_a_hook():
    model = chain()
    nn.utils.spectral_norm(model[0])
    return model


@kind("features")
def spectral_norm_by_a_parametrisation():
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(20, 16)), nn.ReLU(), nn.Linear(16, 3))


@kind("features")
def weight_norm_by_a_hook():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(20, 16)), nn.ReLU(), nn.Linear(16, 3))


@kind("features")
def weight_norm_by_a_parametrisation():
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(20, 16)), nn.ReLU(), nn.Linear(16, 3))


@kind("features")
def orthogonal_parametrisation():
    return nn.Sequential(parametrizations.orthogonal(nn.Linear(20, 16)), nn.ReLU(), nn.Linear(16, 3))


@kind("features")
def pruned_layer():
    model = chain()
    prune.l1_unstructured(model[0], "weight", 0.5)
    return model


@kind("rows")
def flatten_inside_a_chain():
    return nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Flatten(), nn.Linear(40, 3))


@kind("images")
def view_after_convolutions():
    return Of(
        lambda self, x: self.head(F.max_pool2d(F.relu(self.conv(x)), 2).view(-1, 150)),
        conv=nn.Conv2d(3, 6, 3), head=nn.Linear(150, 3),
    )  # fmt: skip


@kind("images")
def convolutions_and_batch_norm():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 3),
    )  # fmt: skip


@kind("images")
def channels_last_by_the_user():
    return convolutions_and_batch_norm().to(memory_format=torch.channels_last)


@kind("images")
def frozen_backbone_in_evaluation_mode():
    model = convolutions_and_batch_norm()
    model[:3].requires_grad_(False).eval()
    return model


@kind("images")
def group_norm_and_residual():
    return Of(
        lambda self, x: self.head((x[:, :1] + F.relu(self.norm(self.conv(x)))).flatten(1)),
        conv=nn.Conv2d(3, 4, 3, padding=1), norm=nn.GroupNorm(2, 4), head=nn.Linear(4 * 144, 3),
    )  # fmt: skip


@kind("features")
def complex_buffer():
    model = Of(
        lambda self, x: self.head(
            torch.view_as_real(torch.view_as_complex(x.reshape(-1, 10, 2)) * self.turn).flatten(1)
        ),
        head=nn.Linear(20, 3),
    )
    model.register_buffer("turn", torch.polar(torch.ones(10), torch.linspace(0.3, 1.4, 10)))
    return model


@kind("features")
def whole_number_buffer():
    model = Of(lambda self, x: self.head(x[:, self.order]), head=nn.Linear(20, 3))
    model.register_buffer("order", torch.arange(19, -1, -1))
    return model


@kind("rows")
def one_buffer_of_two_layers():
    mask, blocks = torch.ones(10, 10).tril().bool(), nn.ModuleList()
    for _ in range(2):
        block = Of(
            lambda self, h: h + (self.a(h) @ h.mT).masked_fill(~self.mask, -1e9).softmax(-1) @ h,
            a=nn.Linear(8, 8),
        )
        block.register_buffer("mask", mask)
        blocks.append(block)
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(80, 3))


@kind("features")
def buffer_replaced_in_forward():
    def forward(self, x):
        if self.training:
            self.seen = 0.9 * self.seen + 0.1 * x.detach().mean(0)
        return self.head(x - self.seen)

    model = Of(forward, head=nn.Linear(20, 3))
    model.register_buffer("seen", torch.zeros(20))
    return model


@kind("features")
def counter_of_python():
    def forward(self, x):
        if self.training:
            self.steps += 1
        return self.head(x) * min(1.0, self.steps / 10)

    return Of(forward, head=nn.Linear(20, 3), steps=0)


@kind("features")
def kept_on_itself():
    def forward(self, x):
        self.kept = x[:, :5]
        return self.head(torch.cat([torch.relu(self.body(x)), self.kept], 1))

    return Of(forward, body=nn.Linear(20, 8), head=nn.Linear(13, 3))


@kind("features")
def parameters_in_a_plain_list():
    model = Of(lambda self, x: torch.relu(x @ self.held[0].T) @ self.held[1].T, a=nn.Linear(20, 16), b=nn.Linear(16, 3))
    model.held = [model.a.weight, model.b.weight]
    return model


@kind("features")
def parameters_in_a_closure():
    layer = nn.Linear(20, 3)
    model = Of(lambda self, x: self.also(x) + self.layer(x), layer=layer)
    model.also = lambda x: x @ layer.weight.T
    return model


@kind("features")
def parent_by_weak_reference():
    model = Of(lambda self, x: self.inner(x), scale=nn.Parameter(torch.tensor(2.0)))
    model.inner = Of(lambda self, x: self.up().scale * self.layer(x), layer=nn.Linear(20, 3))
    model.inner.up = weakref.ref(model)
    return model


@kind("features")
def tied_weights():
    model = nn.Sequential(nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20), nn.Linear(20, 3))
    model[2].weight = model[0].weight
    return model


@kind("features")
def lora():
    def forward(self, x):
        return self.base(x) + x @ self.a.T @ self.b.T

    layer = Of(
        forward, base=nn.Linear(20, 3).requires_grad_(False), a=nn.Parameter(0.1 * torch.randn(2, 20)),
        b=nn.Parameter(torch.zeros(3, 2)),
    )  # fmt: skip
    return layer


@kind("features")
def adapters_on_a_frozen_int8_base():
    weight = torch.randn(3, 20)
    return Of(
        lambda self, x: x @ (self.weight.float() / 64).T + x @ self.a.T @ self.b.T,
        weight=nn.Parameter((weight * 64).round().clamp(-127, 127).to(torch.int8), requires_grad=False),
        a=nn.Parameter(0.1 * torch.randn(2, 20)), b=nn.Parameter(torch.zeros(3, 2)),
    )  # fmt: skip


@kind("features")
def adapters_on_a_frozen_half_precision_base():
    base = nn.Linear(20, 3).half().requires_grad_(False)
    return Of(lambda self, x: self.base(x.half()).float() + self.own(x), base=base, own=nn.Linear(20, 3))


@kind("features")
def teacher_that_follows():
    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.teacher.weight.lerp_(self.student.weight, 0.1)
        return self.student(x) + self.teacher(x)

    return Of(forward, student=nn.Linear(20, 3), teacher=nn.Linear(20, 3).requires_grad_(False))


@kind("features")
def unused_head():
    return Of(
        lambda self, x: self.a(x) if self.training else self.a(x) + self.b(x), a=nn.Linear(20, 3), b=nn.Linear(20, 3)
    )


@kind("features")
def checkpointing():
    return Of(
        lambda self, x: self.b(checkpoint(self.a, x, use_reentrant=False)),
        a=nn.Sequential(nn.Linear(20, 16), nn.ReLU()), b=nn.Linear(16, 3),
    )  # fmt: skip


@kind("features")
def reentrant_checkpointing():
    return Of(
        lambda self, x: self.c(checkpoint(self.b, torch.relu(self.a(x)), use_reentrant=True)),
        a=nn.Linear(20, 16), b=nn.Sequential(nn.Linear(16, 16), nn.ReLU()), c=nn.Linear(16, 3),
    )  # fmt: skip


@kind("features")
def dropout():
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


@kind("features")
def layers_dropped_by_numpy():
    def forward(self, x):
        if not self.training or np.random.rand() < 0.5:  # noqa: NPY002 - as users do
            x = x + torch.relu(self.b(x))
        return self.a(x)

    return Of(forward, a=nn.Linear(20, 3), b=nn.Linear(20, 20))


@kind("features")
def layers_dropped_by_python():
    def forward(self, x):
        if not self.training or random.random() < 0.5:
            x = x + torch.relu(self.b(x))
        return self.a(x)

    return Of(forward, a=nn.Linear(20, 3), b=nn.Linear(20, 20))


@kind("tokens")
def embedding_with_a_largest_norm():
    return Of(
        lambda self, x: self.head(self.embed(x).mean(1)), embed=nn.Embedding(16, 8, max_norm=1.0), head=nn.Linear(8, 3)
    )


@kind("tokens")
def recurrent_layers():
    return Of(
        lambda self, x: self.head(self.rnn(self.embed(x))[0][:, -1]),
        embed=nn.Embedding(16, 8), rnn=nn.LSTM(8, 8, 2, batch_first=True), head=nn.Linear(8, 3),
    )  # fmt: skip


@kind("tokens")
def attention_of_torch():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return Of(
        lambda self, x: self.head(self.layer(self.embed(x)).mean(1)),
        embed=nn.Embedding(16, 8),
        layer=layer,
        head=nn.Linear(8, 3),
    )


@kind("tokens")
def rotary_attention_with_a_cache():
    def forward(self, x):
        h = self.embed(x)
        if self.cache is None or self.cache.shape[0] != h.shape[1]:
            self.cache = torch.polar(
                torch.ones(h.shape[1], 4), torch.outer(torch.arange(h.shape[1]), torch.rand(4) * 0 + 0.1)
            )
        h = torch.view_as_real(torch.view_as_complex(h.unflatten(-1, (4, 2))) * self.cache).flatten(2)
        return self.head(((h @ h.transpose(1, 2)).softmax(-1) @ h).mean(1))

    return Of(forward, embed=nn.Embedding(16, 8), head=nn.Linear(8, 3), cache=None)


@kind("rows")
def batch_norm_in_a_plain_list():
    model = Of(lambda self, x: self.head(self.plain[0](x.flatten(1))), head=nn.Linear(80, 3))
    model.plain = [nn.BatchNorm1d(80, affine=False)]
    return model


SEEN: list[int] = []


@kind("features")
def counter_at_module_level():
    def forward(self, x):
        if self.training:
            SEEN.append(1)
        return self.head(x)

    return Of(forward, head=nn.Linear(20, 3))


@kind("features")
def synchronised_batch_norm():
    return nn.Sequential(nn.Linear(20, 16), nn.SyncBatchNorm(16), nn.ReLU(), nn.Linear(16, 3))


@kind("features")
def handed_over_in_evaluation_mode():
    return nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)).eval()


@kind("features")
def compiled_to_torchscript():
    return torch.jit.script(nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)))


@kind("tokens")
def sparse_gradients():
    return Of(
        lambda self, x: self.head(self.embed(x).mean(1)),
        embed=nn.Embedding(16, 8, sparse=True),
        head=nn.Linear(8, 3),
    )


@kind("features")
def freezes_a_layer_in_training():
    def forward(self, x):
        if self.training:
            self.steps += 1
            if self.steps == 4:
                self.a.weight.requires_grad_(False)
        return self.b(self.a(x).relu())

    return Of(forward, a=nn.Linear(20, 16), b=nn.Linear(16, 3), steps=0)


@kind("features")
def lazy_layers():
    return nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, 3))


@kind("features")
def parameter_made_in_forward():
    def forward(self, x):
        if not hasattr(self, "scale"):
            self.scale = nn.Parameter(torch.ones(3))
        return self.head(x) * self.scale

    return Of(forward, head=nn.Linear(20, 3))


@kind("features")
def complex_parameter():
    model = Of(lambda self, x: self.head((torch.fft.fft(x) * self.filter).real), head=nn.Linear(20, 3))
    model.filter = nn.Parameter(torch.randn(20, dtype=torch.complex64))
    return model


@kind("features")
def parameters_in_the_same_memory():
    model, memory = Of(lambda self, x: x @ self.u + x @ self.v), torch.randn(20, 4)
    model.u, model.v = nn.Parameter(memory[:, :3]), nn.Parameter(memory[:, 1:])
    return model


@kind("features")
def gives_a_dict():
    return Of(lambda self, x: {"logits": self.head(x)}, head=nn.Linear(20, 3))


class MergesAdapters(nn.Module):
    """Adds its adapters to the frozen weight in evaluation mode, and takes them off again in training mode."""

    def __init__(self):
        super().__init__()
        self.base, self.down, self.up = nn.Linear(20, 8).requires_grad_(False), nn.Linear(20, 2), nn.Linear(2, 8)
        self.head, self.merged = nn.Linear(8, 3), False

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            self.base.weight.data += (-1 if mode else 1) * (self.up.weight @ self.down.weight).data
            self.merged = not mode
        return self

    def forward(self, x):
        lower = self.base(x) if self.merged else self.base(x) + x @ self.down.weight.T @ self.up.weight.T
        return self.head(lower.relu())


@kind("features")
def adapters_merged_in_evaluation_mode():
    return MergesAdapters()


class Fuses(nn.Module):
    """Keeps the product of two layers from the moment on when it goes into evaluation mode."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.product = nn.Linear(20, 4, bias=False), nn.Linear(4, 3), None

    def train(self, mode=True):
        self.product = None if mode else (self.second.weight @ self.first.weight).detach()
        return super().train(mode)

    def forward(self, x):
        return self.second(self.first(x)) if self.product is None else x @ self.product.T + self.second.bias


@kind("features")
def layers_fused_in_evaluation_mode():
    return Fuses()


class _KeepsItsNorm(nn.BatchNorm1d):
    def train(self, mode=True):
        return super().train(False)


@kind("features")
def batch_norm_never_in_training_mode():
    return nn.Sequential(nn.Linear(20, 8), _KeepsItsNorm(8), nn.ReLU(), nn.Linear(8, 3)).train()


@kind("features")
def tied_by_a_view():
    def forward(self, x):
        return self.head(self.encoder(x).relu() @ self.decoder.T)

    module = Of(forward, encoder=nn.Linear(20, 6), head=nn.Linear(20, 3))
    module.decoder = module.encoder.weight.t()
    return module


@kind("features")
def views_of_a_parameter_wherever_they_are():
    def forward(self, x):
        first, rest = self.parts["rows"]
        stale = self.detached + torch.from_numpy(self.by_numpy) + self.as_buffer
        return self.head(x) + x @ (self.ask().t() + 0.1 * stale) + x[:, :5] @ first + x[:, 5:] @ rest

    module = Of(forward, head=nn.Linear(20, 3), weight=nn.Parameter(torch.randn(20, 3) * 0.1))
    turned = module.weight.t()
    module.ask = lambda: turned
    module.parts = {"rows": [module.weight[:5], module.weight[5:]]}
    module.detached, module.by_numpy = module.weight.detach(), module.weight.detach().numpy()
    module.register_buffer("as_buffer", module.weight.data)
    return module


@kind("features")
def views_of_a_buffer():
    def forward(self, x):
        if self.training:
            self.scale.mul_(0.95)
        return self.head(x) * torch.cat([self.first, self.turned[1:]])

    module = Of(forward, head=nn.Linear(20, 3))
    module.register_buffer("scale", torch.ones(3))
    module.register_buffer("turned", module.scale.view(3))
    module.first = module.scale[:1]
    return module


class _Remembers:
    """An object of the user's own."""

    def __init__(self, weight):
        self.weight, self.draws, self.seen = weight, random.Random(3), 0


@kind("features")
def remembers_all_sorts_of_things():
    """What attributes have in common, views of what is the module's, generators, iterators, objects."""

    def forward(self, x):
        self.passes.append(next(self.number))
        self.array[1:] += 0.1
        self.running.mul_(0.99)
        self.memory.seen += 1
        scale = 1 + 0.1 * len(self.head.passes) + 0.1 * self.memory.draws.random() + 0.1 * self.numpy.random_sample()
        stale = self.memory.weight + self.memory.seen * torch.from_numpy(self.by_numpy)
        own = self.running * torch.from_numpy(self.box["array"]) * self.box["running"].sum()
        return self.head(x) * scale + own + x @ (self.weight + 0.01 * stale)

    module = Of(forward, head=nn.Linear(20, 3), weight=nn.Parameter(torch.randn(20, 3) * 0.1))
    module.number, module.passes, module.numpy = itertools.count(), [], np.random.RandomState(4)  # noqa: NPY002
    module.head.passes, module.running, module.array = module.passes, torch.ones(3), np.ones(4, np.float32)
    module.passes.append(module.passes)
    module.box = {"running": module.running[1:], "array": module.array[:3]}
    module.memory, module.by_numpy = _Remembers(module.weight.detach()), module.weight.detach().numpy()
    return module


@kind("features")
def computed_from_a_parameter():
    def forward(self, x):
        return self.head(x) + x @ self.twice

    module = Of(forward, head=nn.Linear(20, 3), weight=nn.Parameter(torch.randn(20, 3) * 0.1))
    module.twice = 2 * module.weight
    return module


class _CopiedAsItself(nn.Linear):
    def __deepcopy__(self, memo):
        return self


@kind("features")
def copied_as_itself():
    return nn.Sequential(_CopiedAsItself(20, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


class _Sharing(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def __deepcopy__(self, memo):
        return _Sharing(self.inner)

    def forward(self, x):
        return self.inner(x)


@kind("features")
def copies_that_share_their_parameters():
    return nn.Sequential(_Sharing(nn.Linear(20, 8)), nn.ReLU(), nn.Linear(8, 3))


@kind("features")
def weights_kept_small_by_their_data():
    def forward(self, x):
        if self.training:
            self.body[0].weight.data.clamp_(-0.1, 0.1)
            self.frozen.data.mul_(0.9)
        return self.body(x) + self.frozen

    module = Of(forward, body=chain())
    module.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    return module


@kind("features")
def iterator_on_itself():
    def forward(self, x):
        return self.body(x) * (next(self.turns) if self.training else 1)

    module = Of(forward, body=chain())
    module.turns = itertools.cycle([1.0, 2.0, 0.5])
    return module


@kind("features")
def generator_on_itself():
    module = Of(lambda self, x: self.body(x) * next(self.turns), body=chain())
    module.turns = (1.0 + turn for turn in range(1000))
    return module


@kind("features")
def parameter_replaced_in_forward():
    def forward(self, x):
        self.head.weight = nn.Parameter(0.9 * self.head.weight.detach())
        return self.head(x)

    return Of(forward, head=nn.Linear(20, 3))


@kind("features")
def backward_within_forward():
    def forward(self, x):
        lower = self.lower(x).relu()
        if self.training:
            (0.1 * lower.square().mean()).backward()
        return self.head(lower.detach())

    return Of(forward, lower=nn.Linear(20, 8), head=nn.Linear(8, 3))


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return KINDS[name][1]()


def difference(name: str, steps: int = STEPS, decay: float = 0.01, **how) -> tuple[str, float]:
    """The route, and the largest difference from plain PyTorch in parameters after some steps of SGD."""
    found = data(KINDS[name][0])
    owned = np.array_split(np.arange(90), WORKERS)
    work = ClassificationWorkload(built(name), found, owned, batch=BATCH, seed=3, **how)
    ours = work.initial_parameters()[None]
    modules = [built(name) for _ in range(WORKERS)]
    if not modules[0].training:
        for module in modules:
            module.train()
    largest, every = 0.0, [list(trained(module).values()) for module in modules]
    for step in range(steps):
        gradients, _ = work.gradients(ours, step)
        gradients.add_(ours, alpha=decay)
        for worker in range(WORKERS):
            for number in work.absent(worker):
                gradients[worker, slice(*work.layout.offsets[number : number + 2])] = 0
        batch = work._training.at_step(step)
        for worker, module in enumerate(modules):
            x, y = batch.worker(worker)
            module.zero_grad()
            with drawing_from(batch.seed(worker)):
                F.cross_entropy(module(x.contiguous()), y).backward()
        with torch.no_grad():  # one model of all workers, updated by their mean gradient
            for of_all in zip(*every, strict=True):
                if any(one.grad is not None for one in of_all):
                    each = [torch.zeros_like(p) if p.grad is None else dense(p.grad) + decay * p for p in of_all]
                    value = torch.stack([one.detach() for one in of_all])
                    for one in of_all:
                        one.copy_(_moved(value) - LR * torch.stack(each).mean(0))
        ours = ours - LR * gradients.mean(0, keepdim=True)
        right = torch.cat([p.detach().reshape(-1) for p in every[0]])
        largest = max(largest, float((ours[0] - right).abs().max() / right.abs().max()))
    return work.route, largest


def _moved(values: torch.Tensor) -> torch.Tensor:
    """What the workers' copies of a parameter are after their passes: what any of them has scaled, is scaled."""
    smallest = values.abs().argmin(0, keepdim=True)
    return values.gather(0, smallest)[0]
