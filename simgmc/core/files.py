"""Text from outside: CSV tables, and graphs as GraphML or edge lists."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import networkx as nx

from simgmc.core.errors import SimgmcError, reason


def read_text(file: str | Path) -> str:
    try:
        return Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SimgmcError(f"cannot read the network file {file}: it must be text in UTF-8") from None
    except (OSError, ValueError) as error:
        raise SimgmcError(f"cannot read the network file {str(file)!r}: {reason(error)}") from None


def read_table(text: str, name: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV table with these columns; lines that begin with # are comments. ``name``: the file,
    for errors.
    """
    reader = csv.DictReader(
        (line for line in text.splitlines() if line.strip() and not line.startswith("#")), strict=True
    )
    rows = []
    try:
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise SimgmcError(
                f"{name} has no column {missing[0]!r}; its first line must name the columns {', '.join(columns)}"
            )
        for row in reader:
            if any(row[column] is None for column in columns):
                raise SimgmcError(
                    f"{name}: the line {','.join(filter(None, map(str, row.values())))!r} has too few columns"
                )
            rows.append(row)
    except csv.Error as error:
        raise SimgmcError(f"{name}: not a CSV file of columns {', '.join(columns)}: {error}") from None
    if not rows:
        raise SimgmcError(f"{name} has no line below its header; each line gives {', '.join(columns)}")
    return rows


def read_number(row: dict[str, str], column: str, name: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        raise SimgmcError(f"{name}: {column} = {row[column]!r} must be a number") from None
    if not 0 <= value < float("inf"):
        raise SimgmcError(f"{name}: {column} = {row[column]!r} must be finite and at least 0")
    return value


def drawn_nodes(file: str) -> list[str]:
    """The nodes of a network file, in its order."""
    return drawn_graph(file)[0]


def drawn_graph(file: str) -> tuple[list[str], list[tuple[str, str, dict]]]:
    """The nodes and the directed edges of a network file."""
    if Path(file).suffix.lower() in (".graphml", ".xml"):
        read_text(file)
        try:
            drawn = nx.read_graphml(file)
        except (nx.NetworkXError, SyntaxError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise SimgmcError(f"{file} is not a GraphML file that can be read: {error}") from None
        edges = [(a, b, data) for a, b, data in drawn.edges(data=True)]
        if not drawn.is_directed():
            edges = [*edges, *((b, a, data) for a, b, data in edges)]
        nodes = list(drawn)
    else:
        rows = read_table(read_text(file), str(file), ("source", "destination"))
        edges = [(row["source"].strip(), row["destination"].strip(), row) for row in rows]
        nodes = list(dict.fromkeys(node for a, b, _ in edges for node in (a, b)))
    return nodes, edges
