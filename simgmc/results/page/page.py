"""One self-contained HTML file: a template with the house's style, figures as SVG inside it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from simgmc.results.figures.bars import PART_COLORS

if TYPE_CHECKING:  # jinja2 takes a moment to load
    from jinja2 import Environment


def page(template: str, **values: Any) -> str:
    """The page that a template of ``templates/`` makes of these values; texts are escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # commands that write no page do without it

    loader = PackageLoader("simgmc.results.page")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


_THEMED = {
    "#ffffff": "var(--page)",
    "#000000": "currentColor",
    "#d9d9d9": "var(--grid)",
    "#202020": "currentColor",
    "#404040": "var(--mark)",
    PART_COLORS["compute"].lower(): "var(--compute)",
    PART_COLORS["compress"].lower(): "var(--compress)",
}
"""Colours of figures that follow the page's, dark or light: what would be too near to its ground."""


def svg(figures: Sequence[Figure], alt: str) -> Markup:
    """Figures as pictures within a page; ``alt``: what they show, to which what they say themselves is added.

    To be called within :func:`simgmc.results.figures.panels.style`. The same figure gives the same bytes.
    """
    return Markup("\n").join(_svg(figure, alt) for figure in figures)


def png(content: bytes, alt: str) -> Markup:
    """A picture of a file within a page; ``alt``: what it shows."""
    address = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Markup('<div class="figure" tabindex="0" role="group" aria-label="{}"><img alt="{}" src="{}"></div>').format(
        alt, alt, address
    )


def _svg(figure: Figure, alt: str) -> Markup:
    stream = io.StringIO()
    salted = {"svg.fonttype": "path", "svg.hashsalt": "simgmc"}
    with matplotlib.rc_context(salted):  # type: ignore[arg-type]  # some stubs name only their own version's keys
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    drawing = text[text.index("<svg") :]
    head, body = drawing.split(">", 1)
    width, height = (float(size) for size in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head).groups())  # type: ignore[union-attr]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = _COORDINATES.sub(lambda path: _LONG.sub(_rounded, path[0]), body)
    themed = "themed" if _follows_the_page(figure) else "paper"
    if themed == "themed":
        body = re.sub("|".join(_THEMED), lambda found: _THEMED[found[0]], body)
    said = ". ".join([alt, *(_said(figure))])
    return Markup(
        f'<div class="figure" tabindex="0" role="group" aria-label="{{}}"><svg role="img" aria-label="{{}}" '
        f'class="{themed}" viewBox="0 0 {width:g} {height:g}" style="--width: {width:g}pt" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    ).format(alt, said) + Markup(f"{body.rstrip()}</div>")


_COORDINATES = re.compile(r' (?:d|x|y)="[^"]*"')
_LONG = re.compile(r"-?\d+\.\d{3,}")


def _rounded(number: re.Match) -> str:
    """To a hundredth of a point, which nobody sees and which halves the page."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _follows_the_page(figure: Figure) -> bool:
    """Whether a figure reads on dark ground once its black is light: not where colours are areas under letters."""
    return not any(axis.images or axis.collections and axis.texts and _filled(axis) for axis in figure.axes)


def _filled(axis: Any) -> bool:
    return any(type(one).__name__ in ("QuadMesh", "PolyQuadMesh") for one in axis.collections)


def _said(figure: Figure) -> list[str]:
    """Names of the panels and what is written over them."""
    texts = [text for axis in figure.axes for text in axis.texts if isinstance(text, Annotation)]
    return [" ".join(text.get_text().split()) for text in texts if text.get_text().strip()]
