"""The table ``[code]`` of a resolved scenario: the user's own code that it runs, with its files and digests."""

from __future__ import annotations

from typing import Any

from simgmc.core.errors import SimgmcError, show_value
from simgmc.core.imports import Code, CodeFile
from simgmc.core.registry import Entry, Option

CODE = Entry(
    "code.MODULE",
    "code of one's own that a run has used; the run writes it into its resolved scenario, nobody else needs to",
    "code of a scenario",
    {
        "file": Option("where the module was found", str),
        "sha256": Option("digest of that file; where it is another now, the run does not go on", str),
    },
)
"""What is told of the table."""


def read_code(table: Any, place: str) -> dict[str, CodeFile]:
    """The modules that a resolved scenario states. Raises SimgmcError for a table that is none."""
    found = {}
    for module, stated in table.items() if isinstance(table, dict) else [("", table)]:
        if (
            not isinstance(stated, dict)
            or stated.keys() != CODE.options.keys()
            or not all(isinstance(one, str) for one in stated.values())
        ):
            key = f"code.{module}" if module else "code"
            raise SimgmcError(
                f"{place}: {key} = {show_value(stated)}: must be a table of file and sha256, as a run writes it; leave "
                "[code] out of a scenario of your own"
            )
        found[module] = CodeFile(module, **stated)
    return found


def written_code(code: Code) -> dict[str, Any]:
    """The table, with its key; nothing where no code is the user's own."""
    if not code.used:
        return {}
    return {"code": {name: {"file": one.file, "sha256": one.sha256} for name, one in sorted(code.used.items())}}


def changed(code: Code) -> list[str]:
    """The modules whose files are not what the resolved scenario states."""
    both = ((one, code.stated[name]) for name, one in sorted(code.used.items()) if name in code.stated)
    return [now.file or now.module for now, stated in both if now.sha256 != stated.sha256]
