import numpy as np
import pytest
import torch

from simgmc.results.directory.checkpoint import Checkpoints
from simgmc.training.saved_state import from_arrays, to_arrays

DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.float8_e4m3fn,
]


def through_a_file(state, directory):
    checkpoints = Checkpoints(directory, "x")
    checkpoints.save(*to_arrays(state))
    return from_arrays(*Checkpoints(directory, "x").load())


def bits(tensor):
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().flatten().view(torch.uint8).tolist()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3, 1)], ids=str)
def test_tensors_of_any_dtype_and_shape_come_back_with_the_same_bits(tmp_path, dtype, shape):
    tensor = (torch.arange(int(np.prod(shape))).reshape(shape) / 3 - 0.5).to(dtype)
    assert bits(through_a_file(tensor, tmp_path)) == bits(tensor)


def test_nan_payloads_infinities_and_signed_zeros_are_kept(tmp_path):
    tensor = (
        torch.tensor([0x7FC12345, 0x7F800000, -0x80000000, 1], dtype=torch.int64).to(torch.int32).view(torch.float32)
    )
    assert bits(through_a_file(tensor, tmp_path)) == bits(tensor)


def test_nested_state_comes_back_with_its_types(tmp_path):
    state = {
        "a": None, "b": (1, [2.5, True], ()), "c": {1: "x", "1": {"empty": {}}},
        "d": [torch.ones(2), (torch.zeros(()),)],
        "e": np.arange(3, dtype=np.int16), "f": np.float64(1 / 3), "g": float("-inf"), "a.0:b": "text",
    }  # fmt: skip
    found = through_a_file(state, tmp_path)
    assert list(found) == list(state) and type(found["f"]) is np.float64 and found["e"].dtype == np.int16
    assert repr(found) == repr(state)


def test_views_are_stored_by_what_they_show(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    found = through_a_file([whole.T, whole[:, ::2], whole[:1].expand(3, 4)], tmp_path)
    assert [tensor.tolist() for tensor in found] == [
        whole.T.tolist(),
        whole[:, ::2].tolist(),
        whole[:1].expand(3, 4).tolist(),
    ]


def test_what_comes_back_shares_no_memory_with_what_was_read(tmp_path):
    arrays, plain = to_arrays({"x": torch.ones(3), "y": np.ones(3)})
    read = dict(arrays)
    found = from_arrays(read, plain)
    arrays["state.0:x"][:] = arrays["state.1:y"][:] = 7
    assert not read
    assert found["x"].tolist() == found["y"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("state", [{"x": [object()]}, {"x": {(1, 2): 3}}, {"x": {1, 2}}])
def test_what_cannot_be_stored_is_named_by_its_place(state):
    with pytest.raises(TypeError, match=r"state\.0:x"):
        to_arrays(state)
