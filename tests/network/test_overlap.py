"""Averages that travel while workers compute."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from simgmc.costs.steps import Average, Compute, RoundCosts, Wait
from simgmc.network import ClusterSettings, ComputeTime, Duration, Host, simulate, star, worker_names
from simgmc.network.conditions.overlap import Overlap

K, BANDWIDTH, LATENCY, BYTES = 4, 1e6, 1e-3, 400_000


def settings(gradient):
    hosts = [Host(name, BANDWIDTH, BANDWIDTH, LATENCY) for name in (*worker_names(K), "server")]
    return ClusterSettings(
        star(hosts), worker_names(K), "server", "parameter-server", ComputeTime(gradient), Duration(0.0), Duration(0.0)
    )


def average(background):
    each = np.full(K, BYTES)
    return Average(each, BYTES, True, 4, each // 4, BYTES // 4, background=background)


EXCHANGE = 2 * (K * BYTES / BANDWIDTH + 2 * LATENCY)


@pytest.mark.parametrize("gradient", [0.1, 0.5, 3.0])
def test_an_average_in_the_background_costs_only_what_computing_does_not_hide(gradient):
    overlapped = RoundCosts((average(True), Compute(2), Wait(0)))
    timing = simulate(settings(gradient), [overlapped] * 3)
    assert timing.total == pytest.approx(3 * max(2 * gradient, EXCHANGE), rel=1e-9)
    blocking = simulate(settings(gradient), [RoundCosts((average(False), Compute(2)))] * 3)
    assert blocking.total == pytest.approx(3 * (2 * gradient + EXCHANGE), rel=1e-9)


def test_what_is_sent_in_the_background_is_not_cut_into_buckets():
    rounds = [RoundCosts((Compute(1), average(True), Compute(1), Wait(1)))] * 3
    plain = simulate(settings(0.3), rounds)
    cut = simulate(dataclasses.replace(settings(0.3), conditions=(Overlap(4),)), rounds)
    assert np.array_equal(cut.round_end, plain.round_end)


def test_the_parts_of_an_overlapped_round_add_up_to_its_time():
    timing = simulate(settings(0.3), [RoundCosts((average(True), Compute(2), Wait(0)))] * 2)
    assert np.allclose(timing.breakdown.sum(axis=(0, 2)), timing.round_end[-1], rtol=1e-12)
    exposed = timing.breakdown[..., 1:].sum(axis=(0, 2))
    assert np.allclose(exposed, timing.total - 4 * 0.3)
