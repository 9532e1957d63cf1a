"""What holds for the messages of every compressor."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from simgmc.compression import COMPRESSORS, build
from simgmc.compression.rows import POOL
from simgmc.compression.sparsification.message import SparseMessage
from simgmc.core.errors import SimgmcError
from simgmc.core.randomness import Randomness
from tests.compression.cases import CASES, REFUSED, compressor
from tests.compression.vectors import LAYOUT, adversarial, gaussian, randomness, stacked

EVERY = pytest.mark.parametrize("case", CASES)
INPUTS = adversarial(LAYOUT.d)


def test_every_compressor_is_covered():
    assert {name for name, _ in CASES.values()} == set(COMPRESSORS)


@EVERY
@pytest.mark.parametrize("kind", INPUTS)
def test_size_law_and_round_trip(case, kind):
    vector = INPUTS[kind]
    if (case, kind) in REFUSED:
        with pytest.raises(SimgmcError, match="left the lattice|infinity"):
            compressor(case)(vector, randomness())
        return
    message = compressor(case)(vector, randomness())
    for one in (message, message.mean()):
        payloads = [one.encode(row) for row in range(one.rows)]
        assert one.nbytes.dtype == np.int64 and one.nbytes.tolist() == [len(payload) for payload in payloads]
        decoded = one.decode(payloads)
        assert torch.equal(decoded.dense(), one.dense()), "decoded to other numbers"
        assert decoded.nbytes.tolist() == one.nbytes.tolist()
        assert torch.isfinite(one.dense()).all()
        assert one.wire


@settings(max_examples=12)
@given(stacked())
@pytest.mark.parametrize(
    "case",
    [
        case
        for case, (name, p) in CASES.items()
        if name not in ("low-rank", "grbs", "lattice") and not ({"per_tensor", "exempt_vectors"} & set(p))
    ],
)
def test_size_law_and_round_trip_on_any_vector(case, vector):
    message = compressor(case)(vector, randomness(len(vector)))
    payloads = [message.encode(row) for row in range(message.rows)]
    assert message.nbytes.tolist() == [len(payload) for payload in payloads]
    assert torch.equal(message.decode(payloads).dense(), message.dense())


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (5,)])
def test_shapes_dtypes_and_residuals(case, dtype, shape):
    vector = gaussian(*shape, LAYOUT.d, dtype=dtype)
    kept = vector.clone()
    message = compressor(case)(vector, randomness())
    assert message.dense().shape == vector.shape and message.dense().dtype == dtype
    assert message.mean().dense().shape == (1, LAYOUT.d)
    assert message.nbytes.shape == message.floats.shape == (max(1, vector.numel() // LAYOUT.d),)
    assert torch.equal(message.subtract_from(vector), vector - message.dense())
    rest = message.unsent(vector)
    assert rest.shape == vector.shape and not rest[message.dense() != 0].any()
    assert torch.equal(vector, kept), "the vector was changed"
    assert torch.equal(message.subtract_from(vector.clone(), overwrite=True), vector - message.dense())


@EVERY
def test_mean_adds_in_the_order_of_the_rows(case):
    if case in ("majority", "majority masked", "ternary shared"):
        pytest.skip("its mean is not a mean of floats: tested with the quantisers")
    name, parameters = CASES[case]
    message = compressor(case)(gaussian(5, LAYOUT.d), randomness())
    total = torch.zeros(1, LAYOUT.d)
    for row in message.dense():
        total = total + row
    difference = (message.mean().dense() - total / 5).abs().max()
    assert difference == 0 or (parameters.get("values", "fp32") != "fp32" and difference < 0.01)


@EVERY
def test_results_do_not_depend_on_the_number_of_threads(case):
    vector = gaussian(7, LAYOUT.d, seed=9)
    outcomes = []
    for threads in (1, 2, 4):
        POOL.threads = threads
        message = compressor(case)(vector, randomness())
        outcomes.append((message.dense(), message.mean().dense(), message.nbytes, message.encode(3)))
    POOL.threads = 2
    for dense, mean, nbytes, payload in outcomes[1:]:
        assert torch.equal(dense, outcomes[0][0]) and torch.equal(mean, outcomes[0][1])
        assert np.array_equal(nbytes, outcomes[0][2]) and payload == outcomes[0][3]


@EVERY
def test_each_row_is_what_its_worker_alone_would_send(case):
    if case == "ternary shared":
        pytest.skip("agrees on a scale with the other workers")
    vector = gaussian(4, LAYOUT.d, seed=5)
    stacked_message = compressor(case)(vector, randomness())
    for row in range(4):
        alone = compressor(case)(vector[row], Randomness(1, 0, 0, [row]))
        assert torch.equal(alone.dense(), stacked_message.dense()[row])
        assert alone.encode() == stacked_message.encode(row)


@EVERY
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_refused_and_the_row_is_named(case, poison):
    vector = torch.full((4, LAYOUT.d), 1.0)
    vector[2] = poison
    with pytest.raises(SimgmcError, match="row 2 .*NaN or infinity"):
        compressor(case)(vector, randomness())


@EVERY
def test_rows_of_some_workers_are_the_message_of_these_rows(case):
    message = compressor(case)(gaussian(4, LAYOUT.d, seed=6), randomness())
    some = message.among([3, 1])
    assert torch.equal(some.dense(), message.dense()[[3, 1]]) and some.summable == message.summable
    assert some.nbytes.tolist() == message.nbytes[[3, 1]].tolist()
    assert some.floats.tolist() == message.floats[[3, 1]].tolist()
    assert [some.encode(row) for row in range(2)] == [message.encode(row) for row in (3, 1)]
    assert message.among(range(4)).mean().encode() == message.mean().encode()
    shared = message.mean()
    assert shared.among([3, 1]) is shared


@EVERY
def test_a_late_message_counts_in_the_mean_as_the_vector_that_it_decodes_to(case):
    message = compressor(case)(gaussian(4, LAYOUT.d, seed=6), randomness())
    if message.late_refusal is not None:
        with pytest.raises(SimgmcError, match='use late = "dropped"'):
            message.with_late(range(4), {2: message.dense()[2]})
        return
    same = message.with_late(range(4), {2: message.dense()[2]}).mean()
    assert torch.allclose(same.dense(), message.mean().dense(), rtol=1e-6, atol=0)
    if case != "ternary shared":  # whose mean is whole numbers of levels, but not with a float among them
        assert torch.equal(same.dense(), message.mean().dense()) and same.encode() == message.mean().encode()
    other = -message.dense()[0]
    two = message.with_late([0, 1], {1: other})
    assert torch.equal(two.dense(), torch.stack([message.dense()[0], other]))


def test_only_messages_that_name_their_coordinates_can_be_carried_to_another_round():
    refused = {case for case in CASES if compressor(case)(gaussian(2, LAYOUT.d), randomness()).late_refusal}
    assert refused == {"random-k shared", "rbgs", "rbgs per tensor", "grbs", "block of levels"}


@EVERY
def test_masking_spares_what_is_exempt_from_compression(case):
    vector, momentum = gaussian(4, LAYOUT.d, seed=6), gaussian(4, LAYOUT.d, seed=7)
    message = compressor(case)(vector, randomness())
    expected = message.unsent(momentum)
    if CASES[case][1].get("exempt_vectors"):
        for shape, a, b in zip(LAYOUT.shapes, LAYOUT.offsets, LAYOUT.offsets[1:], strict=False):
            if len(shape) < 2:
                assert not expected[:, a:b].any()
                expected[:, a:b] = momentum[:, a:b]
    assert torch.equal(message.masked(momentum), expected)


@EVERY
def test_zeros_are_never_sent_by_sparse_messages(case):
    vector = gaussian(4, LAYOUT.d)
    vector[:, ::2] = 0
    message = compressor(case)(vector, randomness())
    if isinstance(message, SparseMessage):
        assert message.counts.tolist() == (message.dense() != 0).sum(1).tolist()


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_payloads_are_decoded_by_a_template_that_another_process_was_sent(case, dtype):
    """Float64 numbers too, which are written in full."""
    vector = gaussian(3, LAYOUT.d).to(dtype)
    message = compressor(case)(vector, randomness(3))
    for one in (message, message.mean()):
        payloads = [one.encode(row) for row in range(one.rows)]
        template = pickle.loads(pickle.dumps(one.template()))
        decoded = template.decode(payloads)
        assert template.same_length == one.same_length and (not one.same_length or len(set(map(len, payloads))) == 1)
        if CASES[case][0] == "lattice" and one is message:  # the receiver finds the points near what it has
            found = compressor(case).received(decoded.dense(), vector)
            assert torch.allclose(found, one.dense(), atol=1e-6)
        else:
            assert decoded.dense().dtype == dtype and torch.equal(decoded.dense().view_as(one.dense()), one.dense())


@pytest.mark.parametrize("case", ["identity", "top-k", "rbgs", "sign", "qsgd 8 bits"])
def test_float64_numbers_have_the_size_of_the_wire_format(case):
    vector = gaussian(2, LAYOUT.d)
    message = compressor(case)(vector.double(), randomness())
    assert message.nbytes.tolist() == compressor(case)(vector, randomness()).nbytes.tolist()


def test_closed_forms_of_the_papers_sizes():
    vector = gaussian(3, LAYOUT.d)
    d = LAYOUT.d
    assert build("identity")(vector, randomness()).nbytes.tolist() == [4 * d] * 3
    assert build("identity")(vector, randomness()).floats.tolist() == [d] * 3
    top = build("top-k", count=20)(vector, randomness())
    assert top.nbytes.tolist() == [8 * 20] * 3 and top.floats.tolist() == [40] * 3
    block = build("rbgs", count=20)(vector, randomness())
    assert block.nbytes.tolist() == [4 * 20] * 3 and block.floats.tolist() == [20] * 3
    assert build("sign")(vector, randomness()).nbytes.tolist() == [4 + -(-d // 8)] * 3
    assert build("sign", scale="none")(vector, randomness()).nbytes.tolist() == [-(-d // 8)] * 3
    assert build("qsgd", levels=7, bucket=100)(vector, randomness()).nbytes.tolist() == [4 * 6 + -(-d * 4 // 8)] * 3
    assert build("ternary")(vector, randomness()).nbytes.tolist() == [4 + -(-d // 5)] * 3
    assert build("lattice", side=0.1, bits=8)(vector, randomness()).nbytes.tolist() == [d] * 3


def test_the_mean_of_sparse_messages_is_the_union_without_what_cancels():
    vector = torch.zeros(2, 10)
    vector[0, [1, 4]] = torch.tensor([3.0, 5.0])
    vector[1, [4, 7]] = torch.tensor([-5.0, 2.0])
    mean = build("top-k", count=2)(vector, randomness()).mean()
    assert mean.indices.tolist() == [1, 7] and mean.values.flat.tolist() == [1.5, 1.0]


def test_a_mean_of_many_supports_is_sent_dense_where_that_is_shorter():
    """8 disjoint supports of 12 % each: 96 of 100 coordinates with indices are 768 bytes, all of them 400."""
    vector = torch.zeros(8, 100)
    for worker in range(8):
        vector[worker, 12 * worker : 12 * worker + 12] = 1.0 + worker
    one = build("top-k", count=12)(vector, randomness())
    mean = one.mean()
    assert mean.nbytes.tolist() == [400] and mean.floats.tolist() == [100]
    assert torch.equal(mean.dense(), vector.mean(0, keepdim=True))
    few = build("top-k", count=12)(vector[:4], randomness()).mean()
    assert few.nbytes.tolist() == [8 * 48]
    assert build("top-k", count=12, indices="bitmap")(vector, randomness()).mean().nbytes[0] <= 400


def test_summable_messages_are_those_that_cover_the_same_coordinates():
    vector = gaussian(3, LAYOUT.d)
    for case, (name, parameters) in CASES.items():
        promised = COMPRESSORS[name].summable(COMPRESSORS[name].resolve(parameters))
        assert compressor(case)(vector, randomness()).summable == promised, case
