"""``simgmc new``: a start for a part of one's own, which works as it is, with its test."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from simgmc.core.errors import SimgmcError, reason, suggestion

KINDS = ("algorithm", "compressor", "collective", "topology")
"""What there is a start for: a file each in ``templates``."""
_KEYS = {
    "algorithm": 'algorithm = "{path}"', "compressor": 'compressor = "{path}"',
    "collective": 'cluster.collective = "{path}"', "topology": 'cluster.topology = "{path}"',
}  # fmt: skip


def template(kind: str) -> str:
    """The text of a start. Raises SimgmcError for a kind that has none."""
    if kind not in KINDS:
        raise SimgmcError(f"nothing to begin a {kind!r} with; {suggestion(kind, KINDS)}")
    return resources.files("simgmc.commands").joinpath("templates", f"{kind}.template").read_text(encoding="utf-8")


def new(kind: str, file: str | Path) -> str:
    """Write a start into a new file; returns what to do with it, in a few lines.

    Raises SimgmcError where the file is there already, or cannot be written or imported.
    """
    text, path = template(kind), Path(file)
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise SimgmcError(f"{path}: must be letters, digits and underscores and then .py, such as my_method.py")
    try:
        with open(path, "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise SimgmcError(f"{path} is there already, and is left as it is: choose another name") from None
    except OSError as error:
        raise SimgmcError(f"cannot write {path}: {reason(error)}") from None
    name = text.partition("\nclass ")[2].partition("(")[0]
    key = _KEYS[kind].format(path=f"{path.stem}:{name}")
    plural = "topologies" if kind == "topology" else f"{kind}s"
    return (
        f"wrote {path}; in a scenario of its folder: {key}\n"
        f"its options: simgmc list {plural} {path.stem}:{name}; its test (pip install pytest): python -m pytest {path}"
    )
