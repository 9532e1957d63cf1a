"""The lattice: exact near the reference, wrapped beyond, unbiased when dithered."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simgmc.compression import build
from simgmc.compression.quantisation.lattice import decode
from simgmc.core.errors import DivergenceError
from tests.compression.vectors import gaussian, randomness

SIDE, BITS = 0.01, 6
REACH = (2**BITS - 1) * SIDE / 2


def decoded(values, reference):
    """(rows, d): the colours of a message as a receiver with this reference decodes them."""
    flat = decode(values.colours, reference.reshape(-1), values.side, values.bits, values.shifts)
    return flat.view_as(reference)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-0.999, 0.999)), min_size=1, max_size=40))
def test_decoding_is_within_half_a_side_where_the_reference_is_near(pairs):
    x = torch.tensor([[point for point, _ in pairs]], dtype=torch.float64)
    y = x + REACH * torch.tensor([[offset for _, offset in pairs]], dtype=torch.float64)
    values = build("lattice", side=SIDE, bits=BITS)(x, randomness()).values
    assert ((decoded(values, y) - x).abs() <= SIDE / 2 * (1 + 1e-9)).all()
    assert torch.equal(decoded(values, y), values.by_row)


def test_beyond_its_reach_the_colours_wrap_by_whole_periods():
    x = gaussian(3, 500, dtype=torch.float64)
    y = x.clone()
    y[1, :20] += 3 * REACH
    values = build("lattice", side=SIDE, bits=BITS)(x, randomness()).values
    assert (decoded(values, y) != values.by_row).sum(1).tolist() == [0, 20, 0]
    periods = (decoded(values, y) - values.by_row) / (2**BITS * SIDE)
    assert torch.allclose(periods, periods.round(), atol=1e-9) and (periods[1, :20].round() != 0).all()


def test_a_receiver_decodes_the_payload_at_its_own_reference():
    x = gaussian(2, 300)
    y = x + 0.1 * gaussian(2, 300, seed=1).clamp(-1, 1)
    compress = build("lattice", side=SIDE, bits=BITS)
    sent, template = compress(x, randomness()), compress(y, randomness())
    received = template.decode([sent.encode(row) for row in range(2)])
    assert torch.equal(received.dense(), sent.dense())


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-9, 9)), min_size=1, max_size=40), st.booleans())
def test_what_is_received_is_the_point_of_the_sent_colour_near_the_reference(pairs, dither):
    """At any distance: what the colours decode to, from the points that they were made of."""
    x = torch.tensor([[point for point, _ in pairs]], dtype=torch.float64)
    y = x + REACH * torch.tensor([[offset for _, offset in pairs]], dtype=torch.float64)
    compress = build("lattice", side=SIDE, bits=BITS, dither=dither)
    message = compress(x, randomness())
    received = compress.received(message.dense(), y)
    between = ((y - message.dense()).abs() / (2**BITS * SIDE)) % 1  # half a period away two points are equally near
    clear = (between - 0.5).abs() > 1e-9
    assert torch.allclose(received[clear], decoded(message.values, y)[clear], rtol=0, atol=1e-9)
    near = (y - x).abs() < 0.99 * REACH
    assert torch.equal(received[near], message.dense()[near])


def test_the_dithered_lattice_is_unbiased_and_within_half_a_side():
    x = gaussian(60, dtype=torch.float64)
    compress = build("lattice", side=0.5, bits=8, dither=True)
    errors = torch.stack([compress(x, randomness(1, round=t)).dense() for t in range(3000)]) - x
    assert errors.abs().max() <= 0.25 * (1 + 1e-9)
    assert (errors.mean(0).abs() < 5 * (0.5 / 12**0.5) / 3000**0.5).all()


def test_a_vector_beyond_the_numbered_points_has_left_the_lattice():
    compress = build("lattice", side=1e-17, bits=8)
    reach = 2**52 * 1e-17
    assert torch.isfinite(compress(torch.tensor([0.99 * reach]), randomness()).dense()).all()
    with pytest.raises(DivergenceError, match=r"left the lattice: it holds 0\.0455.* = 0\.045"):
        compress(torch.tensor([1.01 * reach]), randomness())
