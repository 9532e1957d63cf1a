"""What the proof of a route holds its numbers against: rounding alone is forgiven, and a stale copy shows."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from simgmc.workloads.gradients.private_copy import Copier
from simgmc.workloads.gradients.proof.comparison import _near
from simgmc.workloads.gradients.proof.plain_passes import PERIOD, beside
from simgmc.workloads.gradients.template import Template
from tests.workloads.module_kinds import KINDS

ODD = [0.0, 1.0, -1.0, 3e38, -3e38, 1e-44, float("nan"), float("inf"), float("-inf")]


def in_double_precision(found, right, tolerance, least):
    """What is asked of two vectors, worked out in the plainest way."""
    found, right = (np.where(np.isnan(one), 0.0, np.float64(one)) for one in (found, right))
    with np.errstate(invalid="ignore"):
        apart = np.linalg.norm(found - right)
    near = np.isfinite(apart) and apart <= tolerance * np.linalg.norm(right) + least + 1e-12
    return bool(near or (found == right).all())


@settings(max_examples=80)
@given(
    st.lists(st.one_of(st.floats(-10, 10, width=32), st.sampled_from(ODD)), min_size=1, max_size=6),
    st.integers(0, 5),
    st.sampled_from([*ODD, 0.9, 1.05, 1.003, 1.00003, 1.000001]),
)
def test_numbers_are_near_up_to_rounding_and_what_is_none_where_the_other_is_none(numbers, place, factor):
    right = torch.tensor(numbers)
    found = right.clone()
    found[place % len(right)] *= factor
    for tolerance in (1e-4, 1e-2):
        due = torch.equal(found.isnan(), right.isnan())
        due = due and in_double_precision(found.numpy(), right.numpy(), tolerance, 1e-6)
        assert _near(found, right, tolerance, 1e-6) == due


def test_the_point_of_the_proof_has_another_value_of_every_parameter_and_moves_no_two_rows_alike():
    rows = torch.zeros(7, PERIOD // 2)
    moved = beside(rows.flatten()).view_as(rows)
    assert (moved != 0).all() and moved.abs().max() <= 1e-3
    assert not any(torch.equal(one, other) for k, one in enumerate(moved) for other in moved[:k])
    assert torch.equal(beside(rows.flatten()), moved.flatten())


def test_copies_of_ordered_dicts_keep_their_order_what_they_share_and_what_else_they_hold():
    layer = nn.Linear(2, 2)
    hooks = layer._forward_hooks
    layer.also, layer.metadata = hooks, layer.state_dict()
    hooks["b"], hooks["a"] = [1], [2]
    copied = Copier()(layer)
    assert copied.also is copied._forward_hooks is not hooks and list(copied.also) == ["b", "a"]
    assert copied.also["b"] == [1] and copied.also["b"] is not hooks["b"]
    assert copied.metadata._metadata == layer.metadata._metadata  # an attribute of the dict itself


@pytest.mark.parametrize("given", [torch.float32, torch.float64])
@pytest.mark.parametrize("asked", [torch.float32, torch.float64])
def test_what_lies_in_a_parameters_memory_lies_there_in_every_copy_of_any_precision(given, asked):
    torch.manual_seed(0)
    torch.set_default_dtype(given)
    try:
        module = KINDS["views of a parameter wherever they are"][1]()
        module.alone, module.count, module.plain = torch.ones(2), torch.arange(2), nn.Parameter(torch.ones(2), False)
    finally:
        torch.set_default_dtype(torch.float32)
    copied = Template(module, torch.device("cpu"), asked).copy()
    with torch.no_grad():
        copied.weight.copy_(torch.arange(60.0).view(20, 3))
    right = copied.weight.detach()
    assert right.dtype == copied.alone.dtype == copied.plain.dtype == asked and copied.count.dtype == torch.int64
    views = [*copied.parts["rows"], copied.ask()]
    assert torch.equal(torch.cat(views[:2]), right) and torch.equal(views[2].t(), right)
    assert all(one._base is copied.weight for one in views)
    assert all(
        torch.equal(one, right) for one in (copied.detached, copied.as_buffer, torch.from_numpy(copied.by_numpy))
    )
    assert module.weight.dtype == given and not torch.equal(module.weight, copied.weight.to(given))  # the user's own


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6), st.sampled_from([1, 2, -1])), min_size=1, max_size=4))
@settings(max_examples=30)
def test_parts_of_an_array_are_parts_of_its_copy(slices):
    whole = np.arange(12, dtype=np.int16).reshape(6, 2)
    parts = [whole[start:][:length:step] for start, length, step in slices]
    copied, *others = Copier()([whole.T, *parts])
    copied[:] *= 10
    for part, other in zip(parts, others, strict=True):
        assert (other == 10 * part).all() and other.strides == part.strides
    assert whole.max() == 11
