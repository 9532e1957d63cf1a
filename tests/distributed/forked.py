"""Processes of a group for tests: forked, so that they need not load anything."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any


def on_ranks(size: int, task: Callable[[], Any], timeout: float = 60.0) -> list[Any]:
    """What ``task()`` gives on each of so many ranks, whose environment is that of torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    ends = [context.Pipe(duplex=False) for _ in range(size)]

    def run(rank: int) -> None:
        chosen = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in chosen.items()} | {"MASTER_ADDR": "127.0.0.1"}
        try:
            found = task()
        except BaseException:
            found = RuntimeError(f"rank {rank}:\n{traceback.format_exc()}")
        ends[rank][1].send(found)
        ends[rank][1].close()
        os._exit(0)

    ranks = [context.Process(target=run, args=(rank,), daemon=True) for rank in range(size)]
    try:
        for process in ranks:
            process.start()
        found = []
        for rank, (end, _) in enumerate(ends):
            assert end.poll(timeout), f"rank {rank} says nothing"
            found.append(end.recv())
    finally:
        for process in ranks:
            process.kill()
            process.join()
    for one in found:
        if isinstance(one, RuntimeError):
            raise one
    return found
