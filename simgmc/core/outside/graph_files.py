"""Graphs from outside as nodes and edges with what the file says of them: GraphML, GML, and edge lists in CSV."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from simgmc.core.errors import SimgmcError, nearest, show_value, suggestion
from simgmc.core.files import read_text, shown
from simgmc.core.outside.link_measures import OF_LINK
from simgmc.core.outside.tables import check_name, read_rows
from simgmc.core.outside.xml_tree import Element, read_xml


@dataclass(frozen=True)
class Edge:
    """An edge as it is drawn."""

    source: str
    destination: str
    directed: bool
    """False: it counts both ways."""
    attributes: dict[str, str]
    place: str
    """The file, the line and the edge's ends, for errors."""


@dataclass(frozen=True)
class DrawnGraph:
    """The nodes and edges of a file, nothing left out; edges from a node to itself are among them."""

    nodes: dict[str, dict[str, str]]
    """What the file says of each node, by its name."""
    edges: list[Edge]

    def ways(self) -> list[tuple[str, str]]:
        """Every direction of every edge."""
        return [way for edge in self.edges for way in _ways(edge)]


def _ways(edge: Edge) -> list[tuple[str, str]]:
    forth = (edge.source, edge.destination)
    return [forth] if edge.directed else [forth, forth[::-1]]


def read_graph(file: str) -> DrawnGraph:
    """The graph of a ``.graphml`` (or ``.xml``) or ``.gml`` file, or of an edge list.

    An edge list may say of its edges what networks need (:mod:`simgmc.core.outside.link_measures`) beside ``source``
    and ``destination``.

    Raises:
        SimgmcError: naming the file, the line and what would be right.
    """
    text, suffix, name = read_text(file, "network file"), Path(file).suffix.lower(), shown(file)
    if suffix in (".graphml", ".xml"):
        return graph_of_graphml(read_xml(text, name), name)
    if suffix == ".gml":
        return _gml(text, name)
    rows = read_rows(text, name, ("source", "destination"), OF_LINK)
    edges = [
        Edge(
            row.cells["source"],
            row.cells["destination"],
            True,
            {key: cell for key, cell in row.cells.items() if key not in ("source", "destination") and cell},
            f"{row.place} ({row.cells['source']} -> {row.cells['destination']})",
        )
        for row in rows
    ]
    for edge in edges:
        if not edge.source or not edge.destination:
            raise SimgmcError(f"{edge.place}: a link needs both its ends, source and destination")
    return DrawnGraph({node: {} for edge in edges for node in (edge.source, edge.destination)}, edges)


# GraphML ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Key:
    name: str | None
    domain: str
    default: str | None


def graph_of_graphml(root: Element, name: str) -> DrawnGraph:
    """The one graph of a GraphML document, with the graphs that are nested in its nodes.

    As the format says (graphml.graphdrawing.org): a key's default holds wherever no value is given; an edge may
    say its own direction; ports are places on their node. A node that only holds a graph is no machine.
    """
    if root.tag != "graphml":
        raise SimgmcError(f"{name}, line {root.line}: begins with <{root.tag}>, a GraphML file with <graphml>")
    _check_contents(root, name)
    graphs = list(root.all("graph"))
    if len(graphs) != 1:
        raise SimgmcError(f"{name}: holds {len(graphs)} graphs side by side; a network is one")
    keys: dict[str, _Key] = {}
    for key in root.all("key"):
        default = next((child.text.strip() for child in key.all("default")), None)
        named = key.attributes.get("attr.name")
        ident = _attribute(key, "id", name)
        if ident in keys:
            raise SimgmcError(f"{name}, line {key.line}: key {show_value(ident)} is there twice")
        keys[ident] = _Key(named, key.attributes.get("for", "all"), default)
    nodes: dict[str, dict[str, str]] = {}
    edges: list[Edge] = []
    holders: set[str] = set()
    waiting = [graphs[0]]
    while waiting:
        graph = waiting.pop(0)
        default = graph.attributes.get("edgedefault", "undirected")
        if default not in ("directed", "undirected"):
            raise SimgmcError(
                f"{name}, line {graph.line}: edgedefault = {show_value(default)}: must be directed or undirected"
            )
        _check_contents(graph, name)
        for node in graph.all("node"):
            _check_contents(node, name)
            ident = _attribute(node, "id", name)
            if ident in nodes:
                raise SimgmcError(f"{name}, line {node.line}: node {show_value(ident)} is there twice")
            nodes[ident] = _data(node, keys, "node", name)
            for inner in node.all("graph"):
                holders.add(ident)
                waiting.append(inner)
        for one in graph.children:
            if one.tag == "hyperedge":
                raise SimgmcError(
                    f"{name}, line {one.line}: a hyperedge joins many nodes at once; draw a node with an edge to each "
                    "instead"
                )
            if one.tag == "edge":
                edges.append(_edge(one, keys, default == "directed", name))
                waiting += one.all("graph")
    for edge in edges:
        for end in (edge.source, edge.destination):
            if end not in nodes:
                raise SimgmcError(f"{edge.place}: there is no node {show_value(end)} in the file")
    used = {end for edge in edges for end in (edge.source, edge.destination)}
    return DrawnGraph({node: data for node, data in nodes.items() if node in used or node not in holders}, edges)


_CONTENTS = {
    "graphml": ("desc", "key", "data", "graph"),
    "graph": ("desc", "data", "node", "edge", "hyperedge"),
    "node": ("desc", "data", "port", "graph"),
    "edge": ("desc", "data", "graph"),
}
"""What lies within what. A locator refers to a file elsewhere, which is not read."""


def _check_contents(element: Element, name: str) -> None:
    """Refuse what would be lost without a word."""
    for child in element.children:
        if child.tag not in _CONTENTS[element.tag]:
            raise SimgmcError(
                f"{name}, line {child.line}: <{child.tag}> is not read within <{element.tag}>; "
                f"{suggestion(child.tag, _CONTENTS[element.tag])}"
            )


def _edge(element: Element, keys: dict[str, _Key], directed: bool, name: str) -> Edge:
    _check_contents(element, name)
    source, target = (_attribute(element, end, name) for end in ("source", "target"))
    own = element.attributes.get("directed")
    if own not in (None, "true", "false", "0", "1"):
        raise SimgmcError(f"{name}, line {element.line}: directed = {show_value(own)}: must be true or false")
    return Edge(
        source,
        target,
        directed if own is None else own in ("true", "1"),
        _data(element, keys, "edge", name),
        f"{name}, line {element.line} ({source} - {target})",
    )


def _data(element: Element, keys: dict[str, _Key], domain: str, name: str) -> dict[str, str]:
    """What the file says of a node or an edge, defaults included, by the names of its attributes."""
    found = {
        key.name: key.default
        for key in keys.values()
        if key.name and key.default is not None and key.domain in (domain, "all")
    }
    given: set[str] = set()
    for data in element.all("data"):
        ident = _attribute(data, "key", name)
        if ident not in keys:
            raise SimgmcError(f"{name}, line {data.line}: there is no <key> of id {show_value(ident)}")
        named = keys[ident].name
        if (named or ident) in given:
            raise SimgmcError(f"{name}, line {data.line}: gives {show_value(named or ident)} twice")
        given.add(named or ident)
        if named:
            found[named] = data.text.strip()
        elif domain == "node" and (drawn := _first(data, "NodeLabel")) is not None:
            found.setdefault("label", drawn.text.strip())  # yEd's
    return found


def _first(element: Element, tag: str) -> Element | None:
    """The first element of this name within another, however deep."""
    for child in element.children:
        if (found := child if child.tag == tag else _first(child, tag)) is not None:
            return found
    return None


def _attribute(element: Element, key: str, name: str) -> str:
    if key not in element.attributes:
        raise SimgmcError(f"{name}, line {element.line}: <{element.tag}> has no {key}")
    check_name(element.attributes[key], f"{name}, line {element.line}: {key}")
    return element.attributes[key]


# GML ----------------------------------------------------------------------------------------------

_TOKEN = re.compile(r'\s*(?:(?P<text>"[^"]*")|(?P<mark>[\[\]])|(?P<word>[^\s\[\]"]+)|(?P<wrong>"))')
_MAX_DEPTH = 32


@dataclass
class _List:
    """Keys and values between brackets, in order; a key may come often."""

    line: int
    items: list[tuple[str, str | _List, int]]

    def lists(self, key: str) -> Iterable[_List]:
        return (value for name, value, _ in self.items if name == key and isinstance(value, _List))

    def plain(self, name: str) -> dict[str, str]:
        """Its texts and numbers. Raises SimgmcError where a key has several; ``name`` is the file's."""
        found: dict[str, str] = {}
        for key, value, line in self.items:
            if isinstance(value, str):
                if key in found:
                    raise SimgmcError(f"{name}, line {line}: gives {show_value(key)} twice")
                found[key] = value
        return found


def _gml(text: str, name: str) -> DrawnGraph:
    """The graph of a GML file (Himsolt, 1997). A node is called by its label where no other node has the same, else by
    its id.
    """
    graphs = list(_gml_list(text, name).lists("graph"))
    if len(graphs) != 1:
        raise SimgmcError(f"{name}: holds {len(graphs)} graphs; a network is one: graph [ ... ]")
    (graph,) = graphs
    idents: dict[str, dict[str, str]] = {}
    for node in graph.lists("node"):
        data = node.plain(name)
        if "id" not in data:
            raise SimgmcError(f"{name}, line {node.line}: a node has no id")
        for key in ("id", "label"):
            check_name(data.get(key, ""), f"{name}, line {node.line}: {key}")
        if data["id"] in idents:
            raise SimgmcError(f"{name}, line {node.line}: node {show_value(data['id'])} is there twice")
        idents[data["id"]] = data
    labels = [data.get("label", "") for data in idents.values()]
    taken = {label for label in labels if labels.count(label) > 1} | set(idents) | {""}
    names = {ident: ident if data.get("label", "") in taken else data["label"] for ident, data in idents.items()}
    directed = graph.plain(name).get("directed", "0")
    if directed not in ("0", "1"):
        raise SimgmcError(f"{name}, line {graph.line}: directed = {show_value(directed)}: must be 0 or 1")
    for key, value, line in graph.items:
        near = nearest(key, ("node", "edge"))
        if isinstance(value, _List) and near and key != near:
            raise SimgmcError(f'{name}, line {line}: {key} [ ... ] is not read; did you mean "{near}"?')
    edges = []
    for edge in graph.lists("edge"):
        data, place = edge.plain(name), f"{name}, line {edge.line}"
        for end in ("source", "target"):
            if data.get(end) not in idents:
                raise SimgmcError(f"{place}: an edge's {end} = {show_value(data.get(end))} is no node's id")
        source, target = names[data["source"]], names[data["target"]]
        own = {key: value for key, value in data.items() if key not in ("source", "target")}
        edges.append(Edge(source, target, directed == "1", own, f"{place} ({source} - {target})"))
    return DrawnGraph({names[ident]: data for ident, data in idents.items()}, edges)


def _gml_list(text: str, name: str) -> _List:
    top = _List(1, [])
    open_lists, key = [top], None
    line, at = 1, 0
    end = len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None or token["wrong"]:
            raise SimgmcError(f"{name}, line {line}: not GML: a text without its closing quote")
        line += text.count("\n", at, token.end())
        at = token.end()
        begin = token.start("word")
        if begin >= 0 and text[begin] == "#" and not text[text.rfind("\n", 0, begin) + 1 : begin].strip():
            at = max(text.find("\n", begin), 0) or end  # a comment is a whole line; a colour #ff0000 is a value
            continue
        mark, word = token["mark"], token["word"]
        if token["text"] is not None:
            word = html.unescape(token["text"][1:-1])
            if key is None:
                raise SimgmcError(f"{name}, line {line}: not GML: the text {show_value(word)} has no key before it")
        if mark == "]":
            if key is not None or len(open_lists) == 1:
                raise SimgmcError(f"{name}, line {line}: not GML: a bracket closes where none is open")
            open_lists.pop()
        elif mark == "[":
            if key is None or len(open_lists) > _MAX_DEPTH:
                why = "a bracket opens without a key before it" if key is None else f"nested deeper than {_MAX_DEPTH}"
                raise SimgmcError(f"{name}, line {line}: not GML: {why}")
            inner = _List(line, [])
            open_lists[-1].items.append((key, inner, line))
            open_lists.append(inner)
            key = None
        elif word is not None:
            if key is None:
                key = word
            else:
                open_lists[-1].items.append((key, word, line))
                key = None
    if len(open_lists) > 1 or key is not None:
        raise SimgmcError(f"{name}, line {line}: not GML: ends within graph [ ... ]")
    return top


__all__ = ["DrawnGraph", "Edge", "graph_of_graphml", "read_graph"]
