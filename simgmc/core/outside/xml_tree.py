"""XML from outside: read by defusedxml, without entities, without anything from elsewhere, and never deeper than people
nest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from simgmc.core.errors import SimgmcError

_MAX_DEPTH = 64
_MAX_ELEMENTS = 1_000_000
"""Elements of a document, and how deep they lie within each other."""


@dataclass
class Element:
    """One element: its name without namespace, its attributes, what it holds, and its line."""

    tag: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    """Of all text directly within it."""
    children: list[Element] = field(default_factory=list)

    def all(self, *tags: str) -> Iterator[Element]:
        """Its children of these names."""
        return (child for child in self.children if child.tag in tags)


def read_xml(text: str, name: str) -> Element:
    """The root of an XML document.

    Raises:
        SimgmcError: it is not well formed, declares entities or refers to files, or is nested without end.
    """
    # Loaded here: only files in XML need it.
    from xml.parsers.expat import ExpatError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser, ParseError

    tree = _Tree(name)
    parser = DefusedXMLParser(target=tree)
    tree.line = lambda: parser.parser.CurrentLineNumber
    try:
        parser.feed(text)
        return parser.close()
    except (ParseError, ExpatError) as error:
        raise SimgmcError(f"{name} is not XML: {error}") from None
    except DefusedXmlException as error:
        what = type(error).__name__
        found = "declares entities" if "Entities" in what else "refers to something outside itself"
        raise SimgmcError(
            f"{name}, line {tree.line()}: {found}, which is never followed: write out what it means"
        ) from None
    except ValueError as error:
        raise SimgmcError(f"{name} is not XML: {error}") from None


class _Tree:
    """What the parser tells of goes into elements; it stops where there are too many, or too deep ones."""

    def __init__(self, name: str):
        self.name = name
        self.line = lambda: 1
        self._open: list[Element] = []
        self._root: Element | None = None
        self._count = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self._count += 1
        if len(self._open) >= _MAX_DEPTH or self._count > _MAX_ELEMENTS:
            limit = (
                f"is nested deeper than {_MAX_DEPTH}"
                if self._count <= _MAX_ELEMENTS
                else f"has more than {_MAX_ELEMENTS:,} elements"
            )
            raise SimgmcError(f"{self.name}, line {self.line()}: {limit}; no network needs that")
        element = Element(_local(tag), {_local(key): value for key, value in attributes.items()}, self.line())
        if self._open:
            self._open[-1].children.append(element)
        elif self._root is None:
            self._root = element
        self._open.append(element)

    def data(self, text: str) -> None:
        """Text within the element that is open."""
        if self._open and not text.isspace():
            self._open[-1].text += text

    def end(self, tag: str) -> None:
        """An element ends."""
        self._open.pop()

    def close(self) -> Element:
        """The whole."""
        assert self._root is not None  # the parser refuses a document without an element
        return self._root


def _local(name: str) -> str:
    return name.rpartition("}")[2]
