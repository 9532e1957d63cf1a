"""Tiny vectors are compressed without a thread pool."""

from __future__ import annotations

import pytest

from simgmc.compression import rows


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = rows._threads
    rows.set_threads(1)
    yield
    rows.set_threads(before)
