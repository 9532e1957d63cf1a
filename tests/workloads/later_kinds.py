"""Modules that do something on some minibatch only, which the first ones are not: no proof by numbers sees it."""

from __future__ import annotations

import random
import typing

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from simgmc.workloads.data.minibatches import Minibatches
from simgmc.workloads.gradients.routes import PROVED_ON
from tests.workloads.module_kinds import BATCH, KINDS, WORKERS, chain, data, kind


def _threshold(kind_of: str, place: tuple[int, ...]) -> float:
    """Of one number of a sample: those above it are in no minibatch that a proof looks at, and in some later ones."""
    taken = Minibatches(np.array_split(np.arange(90), WORKERS), BATCH, 3)
    seen = np.concatenate([taken.indices(0, 0), taken.indices(1, 0), taken.indices(2, WORKERS - 1)])
    samples = data(kind_of)
    looked_at = np.concatenate([samples.train_images[seen], samples.test_images[:PROVED_ON]])
    most = float(looked_at[(slice(None), *place)].max()) + 1e-3
    assert most < samples.train_images[(slice(None), *place)].max()
    return most


LATER = _threshold("features", (5,))
LATER_IMAGES = _threshold("images", (0, 0, 0))


class Later(nn.Module):
    """A chain whose subclasses do something more with unusual minibatches."""

    def __init__(self):
        super().__init__()
        self.body = chain()

    def forward(self, x):
        y = self.body(x)
        return self.unusual(x, y) if float(x[:, 5].max()) > LATER else y

    def unusual(self, x, y):
        raise NotImplementedError


def later(name):
    """Registers a class by what it does."""

    def add(cls):
        build = lambda: cls()  # noqa: E731 - the kind's name is the function's
        build.__name__ = f"{name} on a later minibatch"
        return kind("features")(build) and cls

    return add


@later("counts")
class _Counts(Later):
    seen = 0

    def unusual(self, x, y):
        self.seen += 1
        return y * (1 + self.seen)


@later("keeps a list")
class _KeepsAList(Later):
    def __init__(self):
        super().__init__()
        self.kept = []

    def unusual(self, x, y):
        self.kept.append(float(x.mean()))
        return y * len(self.kept)


@later("writes a dict")
class _WritesADict(Later):
    def __init__(self):
        super().__init__()
        self.memory = {"scale": 1.0}

    def unusual(self, x, y):
        self.memory["scale"] *= 1.1
        return y * self.memory["scale"]


@later("changes a tensor of its own")
class _ChangesATensor(Later):
    def __init__(self):
        super().__init__()
        self.running = torch.ones(3)

    def unusual(self, x, y):
        self.running.mul_(0.9)
        return y * self.running


@later("replaces a buffer")
class _ReplacesABuffer(Later):
    def __init__(self):
        super().__init__()
        self.register_buffer("running", torch.ones(3))

    def unusual(self, x, y):
        self.running = self.running * 0.9
        return y * self.running


@later("draws by torch")
class _DrawsByTorch(Later):
    def unusual(self, x, y):
        return y * torch.rand(3)


@later("draws by numpy")
class _DrawsByNumpy(Later):
    def unusual(self, x, y):
        return y * float(np.random.rand())  # noqa: NPY002 - what users write


@later("draws by python")
class _DrawsByPython(Later):
    def unusual(self, x, y):
        return y * random.random()


@later("drops out")
class _DropsOut(Later):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def unusual(self, x, y):
        return self.drop(y)


@later("drops out by a function, in one line")
class _DropsOutInOneLine(Later):
    def forward(self, x):
        y = self.body(x)
        return F.dropout(y, 0.5, self.training) if float(x[:, 5].max()) > LATER else y


@later("counts in its class")
class _CountsInItsClass(Later):
    seen: typing.ClassVar[list[int]] = []

    def unusual(self, x, y):
        self.seen.append(1)
        return y if len(self.seen) < 0 else 0.5 * y


@later("takes another branch")
class _AnotherBranch(Later):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(20, 3)

    def unusual(self, x, y):
        return y + self.other(x)


@later("bounds a parameter")
class _BoundsAParameter(Later):
    def unusual(self, x, y):
        with torch.no_grad():
            self.body[0].weight.clamp_(-0.1, 0.1)
        return y


@later("changes a parameter's data")
class _ChangesData(Later):
    def unusual(self, x, y):
        weight = self.body[0].weight
        weight.data.clamp_(-0.1, 0.1)
        return y


@later("calls backward")
class _CallsBackward(Later):
    def unusual(self, x, y):
        if self.training:
            (0.5 * self.body(x).square().mean()).backward()
        return y


class _Tracker:
    seen = 0.0

    def observe(self, x):
        self.seen += float(x.mean())
        return self.seen


@later("an object of its own changes")
class _Tracks(Later):
    def __init__(self):
        super().__init__()
        self.tracker = _Tracker()

    def unusual(self, x, y):
        return y * (1 + self.tracker.observe(x))


@later("a teacher follows")
class _TeacherFollows(Later):
    def __init__(self):
        super().__init__()
        self.teacher = chain().requires_grad_(False)

    def forward(self, x):
        return super().forward(x) + self.teacher(x)

    def unusual(self, x, y):
        with torch.no_grad():
            for old, new in zip(self.teacher.parameters(), self.body.parameters(), strict=True):
                old.lerp_(new, 0.5)
        return y


@later("puts batch norm into evaluation mode")
class _NormSleeps(Later):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(20)

    def forward(self, x):
        return super().forward(self.norm(x))

    def unusual(self, x, y):
        self.norm.eval()
        return y


@later("freezes a layer")
class _Freezes(Later):
    def unusual(self, x, y):
        self.body[0].weight.requires_grad_(False)
        return y


@later("changes an attribute of a layer")
class _ChangesALayer(Later):
    def unusual(self, x, y):
        self.body[1].inplace, self.body.factor = True, 2.0
        return y

    def forward(self, x):
        return super().forward(x) * getattr(self.body, "factor", 1.0)


@later("keeps a list in a layer")
class _KeepsInALayer(Later):
    def __init__(self):
        super().__init__()
        self.body.kept = []

    def unusual(self, x, y):
        self.body.kept.append(float(x.mean()))
        return y * len(self.body.kept)


def _stronger(layer):
    layer.forward = lambda x, before=layer.forward: 1.5 * before(x)


@later("gives a layer another forward")
class _AnotherForward(Later):
    def unusual(self, x, y):
        _stronger(self.body[0])
        return y


@later("hooks a layer")
class _Hooks(Later):
    def unusual(self, x, y):
        self.body[0].register_forward_hook(lambda module, given, output: 1.5 * output)
        return y


@later("changes what a hook looks at")
class _HookLooks(Later):
    def __init__(self):
        super().__init__()
        seen, setting = [], {"scale": 1.0}
        self.setting, self.times = setting, 0

        def hook(module, given, output):
            seen.append(1)
            return output * setting["scale"]

        self.body[0].register_forward_hook(hook)

    def unusual(self, x, y):
        self.times += 1
        if self.times > 1:
            self.setting["scale"] *= 0.5
        return y


@later("sets what it computes the name of")
class _Sets(Later):
    def forward(self, x):
        return super().forward(x) * getattr(self.body, "scale", 1.0)

    def unusual(self, x, y):
        setattr(self.body, "sca" + "le", 0.5)
        return y


class _Images(nn.Module):
    """A convolution whose output is flattened in another way where a minibatch is unusual."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(400, 3)

    def forward(self, x):
        y = F.relu(self.conv(x))
        return self.head(self.flat(y) if float(x[:, 0, 0, 0].max()) > LATER_IMAGES else y.flatten(1))


@kind("images")
def views_on_a_later_minibatch():
    model = _Images()
    model.__class__ = type("Views", (_Images,), {"flat": lambda self, y: y.view(len(y), 400)})
    return model


@kind("images")
def strides_on_a_later_minibatch():
    model = _Images()
    model.__class__ = type("Strides", (_Images,), {"flat": lambda self, y: y.as_strided((len(y), 400), (400, 1))})
    return model


NAMES = [name for name in KINDS if name.endswith("on a later minibatch")]
