"""A method's colour, line style and marker: the same for the same name in every run where no other method has it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache

import matplotlib
from matplotlib.colors import to_hex, to_rgb

from simgmc.results.series.beside import Over

_LINES = ("-", "--", "-.", (0, (1, 1)), (0, (4, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_BLUE, _VERMILION, _GREEN, _PURPLE, _BLACK, _ORANGE, _SKY, _GREY = range(8)
"""Places in the style's colour cycle."""
_PREFERRED = {
    "dmsgd": _GREY, "dsgd": _GREY, "sgd": _GREY, "all-reduce": _GREY,
    "gmc": _BLUE, "gmc+": _SKY, "dgc": _VERMILION, "dgc w/o": _ORANGE, "def": _PURPLE, "def-a": _GREEN, "cser": _GREEN,
    "momentum on the server": _PURPLE, "local sgd": _GREEN, "pr-sgd": _GREEN, "quantized-pr-sgd": _BLUE,
    "qsgd": _PURPLE, "d-psgd": _ORANGE, "choco-sgd": _SKY, "pd-sgdm": _GREEN, "cpd-sgdm": _PURPLE, "lead": _BLACK,
    "dcd-psgd": _SKY, "ecd-psgd": _BLUE,
    "swarmsgd": _BLUE, "ad-psgd": _VERMILION, "sgp": _SKY, "overlap sgp": _PURPLE, "adsaga": _VERMILION,
}  # fmt: skip
"""Colours of well-known names, those that are compared with each other unlike, what is dense and central grey."""


def look(methods: Sequence[str], method: str) -> dict:
    """Colour, line style and marker of a method in a run of these methods.

    A known name (or what begins with one) has a fixed colour, any other one that follows from its letters; where
    another method has it already, the next that is free. Who chooses first follows from the names too, so that neither
    the order of the methods nor one that is less well known changes a colour. The lists have 8, 5 and 7 entries, so no
    two of the first 40 methods look alike. Over several collectives a method keeps its colour and marker; the
    collective gives the line, and how light the colour is.
    """
    if isinstance(method, Over):
        bare = tuple(dict.fromkeys(one.method if isinstance(one, Over) else one for one in methods))
        own = look(bare, method.method)
        return own | {"color": _lighter(own["color"], method.place), "linestyle": _LINES[method.place % len(_LINES)]}
    methods = [one.method if isinstance(one, Over) else one for one in methods]
    place = _places(tuple(dict.fromkeys(methods)))[method]
    colors = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    return {
        "color": colors[place % len(colors)],
        "linestyle": _LINES[place % len(_LINES)],
        "marker": _MARKERS[place % len(_MARKERS)],
    }


def _lighter(color: str, steps: int) -> str:
    """Towards white, 55 % of the way with each step."""
    rgb = (1 - 0.45**steps * (1 - part) for part in to_rgb(color))
    return to_hex(tuple(rgb))


@cache
def _places(methods: tuple[str, ...]) -> dict[str, int]:
    """A place per method, each different; known names choose first, exact ones before those that only begin so."""
    wishes = {method: _wish(method) for method in methods}
    taken: set[int] = set()
    places = {}
    for method in sorted(wishes, key=lambda method: (wishes[method], _number(method), method)):
        wanted = wishes[method][1]
        cycle = len(taken) // 8
        place = next(p for p in (8 * cycle + (wanted + step) % 8 for step in range(8)) if p not in taken)
        taken.add(place)
        places[method] = place
    return places


def _wish(method: str) -> tuple[int, int]:
    """How well a name is known (0 best) and the colour that it wants."""
    name = method.casefold().replace("_", "-").strip()
    if name in _PREFERRED:
        return 0, _PREFERRED[name]
    begins = [known for known in _PREFERRED if name.startswith(known) and not name[len(known)].isalnum()]
    if begins:
        return 1, _PREFERRED[max(begins, key=len)]
    return 2, _number(name) % 7


def _number(name: str) -> int:
    """A number that follows from a name's letters."""
    return zlib.crc32(name.encode("utf-8", "replace"))
