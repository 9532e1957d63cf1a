"""Hosts for networks from files, and where the shipped examples are."""

from pathlib import Path

import simgmc.network
from simgmc.network.topology.graph import Host, worker_names

EXAMPLES = Path(simgmc.network.__file__).parent / "data" / "examples"


def hosts(workers, server=True, access=None):
    """Workers, and a server after them; ``access``: bytes/s of their access links, None: the file draws them."""
    names = (*worker_names(workers), *(["server"] * server))
    return [Host(name, access, access, None if access is None else 0.0) for name in names]
