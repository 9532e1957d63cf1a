"""The user's objects beside the model: a state is written only as long as they are as they were at the start."""

import itertools
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from simgmc.algorithms.sgd import DMSGD
from simgmc.core.errors import SimgmcError
from simgmc.training.saved_state import from_arrays, to_arrays
from simgmc.training.stacked import StackedTrainer
from simgmc.workloads.as_begun import AsBegun
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.own_data import read_own
from simgmc.workloads.gradients.held import OUTSIDE
from simgmc.workloads.losses.functions import OwnLoss
from tests.workloads.module_kinds import built, data

SEEN, DRAWS = [], np.random.RandomState(3)  # noqa: NPY002 - as users draw


def in_an_attribute():
    class Kept:
        def __init__(self):
            self.count = {"n": [0]}

        def __call__(self, late):
            self.count = {"n": [self.count["n"][0] + late]}

    return Kept()


def in_a_closure():
    n = 0

    def call(late):
        nonlocal n
        n += late

    return call


def at_module_level(late):
    SEEN.extend([1] * late)


def by_a_generator_at_module_level(late):
    DRAWS.rand(int(late))


def in_a_class():
    class Kept:
        count = 0

        def __call__(self, late):
            Kept.count += late

    return Kept()


def in_an_object_of_its_class():
    class Counter:
        made = 0

    class Kept:
        counter = Counter()

        def __call__(self, late):
            type(self.counter).made += late

    return Kept()


def by_a_generator_of_its_own(kept=None):
    class Kept:
        draws = random.Random(3)

        def __call__(self, late):
            if late:
                self.draws.random()

    return Kept()


def in_a_default():
    return lambda late, seen=[]: seen.extend([1] * late)  # noqa: B006 - what users do


KINDS = [
    in_an_attribute(), in_a_closure(), at_module_level, by_a_generator_at_module_level, in_a_class(),
    in_an_object_of_its_class(), by_a_generator_of_its_own(), in_a_default(),
]  # fmt: skip


@pytest.mark.parametrize("call", KINDS, ids=lambda call: getattr(call, "__qualname__", type(call).__qualname__))
def test_whatever_a_call_changes_is_seen_however_late(call):
    watched = AsBegun(loss=call, metric=None)
    for _ in range(3):
        call(False)
    assert watched.state() == {}
    call(True)
    assert len(watched.state()[OUTSIDE].names) == 1


@pytest.mark.parametrize("held", [itertools.count(), (n for n in range(3)), iter([1])])
def test_what_cannot_be_seen_to_stand_still_counts_as_changed(held):
    assert AsBegun(loss=lambda: held).state()
    assert AsBegun(loss=F.cross_entropy, schedule=lambda epoch: 0.1).state() == {}


def workload(loss=None, samples=None, model="plain chain"):
    owned = [range(0, 45), range(45, 90)]
    return ClassificationWorkload(built(model), samples or data("features"), owned, batch=8, seed=3, loss=loss)


def test_no_file_takes_a_state_once_a_loss_or_a_schedule_has_changed():
    def loss(output, target):
        SEEN.extend([1] * (float(output.detach().abs().max()) > 1e3))
        return F.cross_entropy(output, target)

    for own, rate in ((OwnLoss(loss, "loss"), lambda epoch: 0.1), (None, lambda epoch: SEEN.append(1) or 0.1)):
        trainer = StackedTrainer(DMSGD(momentum=0.9), workload(own), rate)
        to_arrays(trainer.state_dict())
        trainer.worker.params = trainer.worker.params * 1e4
        trainer.next_round().with_everybody()
        with pytest.raises(TypeError, match="what changes outside the workers: SEEN of tests.workloads.test_as_begun"):
            to_arrays(trainer.state_dict())


def test_other_samples_than_those_that_a_training_began_with_are_refused():
    class Unseeded(Dataset):
        def __init__(self):
            self.draws = np.random.default_rng()

        def __len__(self):
            return 90

        def __getitem__(self, index):
            return self.draws.normal(size=20).astype(np.float32), index % 3

    first, second = (workload(samples=read_own("own", Unseeded(), Unseeded())) for _ in range(2))
    trainers = [StackedTrainer(DMSGD(momentum=0.9), work, lambda epoch: 0.1) for work in (first, second)]
    arrays, plain = to_arrays(trainers[0].state_dict())
    trainers[0].load_state_dict(from_arrays(dict(arrays), plain))
    with pytest.raises(SimgmcError, match=r"the samples, .*are others than those with which .* give it a seed"):
        trainers[1].load_state_dict(from_arrays(arrays, plain))


def test_a_loss_that_holds_a_generator_is_refused_by_its_name():
    numbers = (n for n in range(3))
    with pytest.raises(SimgmcError, match="workload.loss: holds the generator <genexpr>, which cannot be copied"):
        workload(OwnLoss(lambda output, target: F.cross_entropy(output, target) + next(numbers), "loss"))


def test_samples_that_depend_on_more_than_their_seed_are_said_and_kept_from_files():
    class Counts(Dataset):
        reads = 0

        def __len__(self):
            return 90

        def __getitem__(self, index):
            self.reads += 1
            return np.random.randn(20).astype(np.float32) * self.reads, index % 3  # noqa: NPY002

    read = read_own("own", Counts(), data_of_zeros())
    assert read.notes[0].endswith("what the data set keeps itself is one for all workers")
    work = workload(samples=read)
    assert OUTSIDE not in work.as_begun.state()
    work.gradients(work.initial_parameters()[None], 3)
    assert OUTSIDE in work.as_begun.state()


def data_of_zeros():
    return [(torch.zeros(20), 0)] * 3
