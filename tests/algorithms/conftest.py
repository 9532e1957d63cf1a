"""Tiny vectors: on one thread, as pools cost a hundred times the work."""

from __future__ import annotations

import pytest
import torch

from simgmc.compression import rows


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads(), rows.POOL.threads
    torch.set_num_threads(1)
    rows.POOL.threads = 1
    yield
    torch.set_num_threads(before[0])
    rows.POOL.threads = before[1]
