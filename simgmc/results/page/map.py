"""A map of networks to walk about in: sliders, curves, and the verdict, on one page of HTML.

The page holds what a replay gave at every point of a grid. At these points it shows just that; between them it
interpolates (logarithms of times, multilinearly in the places along the axes) and says so.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import to_hex, to_rgb

from simgmc.results.figures import looks, panels
from simgmc.results.page.page import page
from simgmc.results.series import curves
from simgmc.results.series.grids import Key
from simgmc.results.series.read import Results, transport_text, value_text
from simgmc.results.series.verdict import Choice, Found, Pairs, Verdict

MAX_NUMBERS = 4_000_000
"""Numbers of curves that a page may hold, beyond which they have fewer places."""
_PLACES, _FEWEST = 41, 9
"""Places of a curve, at most and at least."""

_LABELS = {"cluster.compute.gradient": "compute time"}
"""What sliders are called whose key says too little by itself."""


@dataclass(frozen=True)
class MapOf:
    """What a map is of."""

    name: str
    """Of the run."""
    results: Results
    target: float | None
    baseline: str | None
    notes: Sequence[str]
    """How the grid was made, what is left out."""
    start: Mapping[str, str]
    """By key of the grid, the value that sliders begin at; in the middle where there is none."""


def map_page(of: MapOf) -> str:
    """The page. The same run gives the same bytes."""
    verdict = Verdict(of.results, of.target, of.baseline)
    sliders = [_key(of.results, key, verdict) for key in verdict.numeric if key.startswith("cluster.")]
    keys = [key for key in of.results.varying if key not in verdict.tuned and key not in {one.name for one in sliders}]
    networks = list(verdict.found)
    selects = {key: list(dict.fromkeys(dict(network)[key] for network in networks)) for key in keys}
    measure = of.results.measure
    with panels.style():  # whose colours methods have
        colors = [_colors(of.results.methods, method) for method in of.results.methods]
    data = {
        "goal": None if of.target is None else measure.value_text(of.target),
        "target": of.target,
        "measure": {
            "text": measure.text,
            "share": measure.share,
            "prefix": measure.named(""),
            "higher": measure.higher_is_better,
        },
        "baseline": of.baseline,
        "methods": list(of.results.methods),
        "colors": colors,
        "seeds": sorted({one.key.seed for one in of.results.series}),
        "sliders": [_slider(one, of.start) for one in sliders],
        "selects": [
            {
                "key": key,
                "label": of.results.key_labels[key],
                "options": list(map(value_text, texts)),
                "texts": [of.results.value(key, text) for text in texts],
            }
            for key, texts in selects.items()
        ],
        "choices": _choices(verdict, _places_of(networks, sliders, selects)),
    }
    return page(
        "map.html.jinja",
        title=f"{of.name}: a map of networks",
        name=of.name,
        goal=data["goal"],
        notes=of.notes,
        sliders=sliders,
        selects=data["selects"],
        data=json.dumps(data, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c"),
    )


def _key(results: Results, key: str, verdict: Verdict) -> Key:
    found = verdict.numbers(key)
    assert found is not None  # it is numeric
    known, unit = found
    ordered = sorted(known, key=lambda text: known[text])
    return Key(
        key, tuple(ordered), tuple(known[text] for text in ordered), unit, _LABELS.get(key, results.key_labels[key])
    )


def _slider(key: Key, start: Mapping[str, str]) -> dict[str, Any]:
    begin = key.texts.index(start[key.name]) if start.get(key.name) in key.texts else (len(key.texts) - 1) // 2
    return {"key": key.name, "label": key.text, "unit": key.unit, "texts": key.texts, "values": key.values,
            "begin": begin}  # fmt: skip


def _places_of(networks: Sequence[Pairs], sliders: Sequence[Key], selects: Mapping[str, list[str]]) -> np.ndarray:
    """Networks, as numbers from 0 on, at their places: an axis for each select, then for each slider; -1: not run."""
    shape = [*(len(texts) for texts in selects.values()), *(len(one.texts) for one in sliders)]
    places = np.full(shape, -1)
    for number, network in enumerate(networks):
        values = dict(network)
        index = [texts.index(values[key]) for key, texts in selects.items()]
        index += [one.texts.index(values[one.name]) for one in sliders]
        places[tuple(index)] = number
    return places


def _choices(verdict: Verdict, places: np.ndarray) -> list[dict[str, Any]]:
    """Every method over every transport at every setting, with what it needed everywhere."""
    networks = list(verdict.found)
    there: dict[Choice, dict[int, Found]] = {}
    for number, network in enumerate(networks):
        for one in verdict.found[network]:
            there.setdefault(one.choice, {})[number] = one
    many = min(_PLACES, max(_FEWEST, MAX_NUMBERS // max(1, 2 * len(there) * places.size)))
    return [_choice(verdict, choice, at, places.ravel().tolist(), many) for choice, at in there.items()]


def _choice(
    verdict: Verdict, choice: Choice, at: Mapping[int, Found], places: Sequence[int], many: int
) -> dict[str, Any]:
    results, column = verdict.results, verdict.results.measure.column
    seeds = sorted({one.key.seed for one in results.series})
    needed, before = np.full((2, len(places), len(seeds)), np.nan)
    met = np.zeros((len(places), len(seeds)), np.uint8)
    x, y = np.full((2, len(places), many), np.nan)
    final, lost = np.full(len(places), np.nan), np.zeros(len(places), np.uint8)
    for place, network in enumerate(places):
        if (found := at.get(network)) is None:
            continue
        if found.final is not None:
            final[place] = found.final.mean
        lost[place] = min(found.lost, 255)
        for one in found.series:
            number = seeds.index(one.key.seed)
            hit = None if verdict.target is None else one.first_reaching(results.measure, verdict.target)
            needed[place, number] = one["sim_time_s"][-1 if hit is None else hit]
            before[place, number] = one["sim_time_s"][hit - 1] if hit else needed[place, number]
            met[place, number] = hit is not None
        curve = curves.curve_of(found.series, column, "sim_time_s")
        # Denser at the beginning, which a logarithmic axis shows large.
        chosen = ((len(curve.x) - 1) * np.linspace(0, 1, many) ** 1.5).round().astype(int)
        x[place], y[place] = curve.x[chosen], curve.mean[chosen]
    settings = ", ".join(f"{results.key_labels[key]} {value}" for key, value in choice.settings)
    return {
        "method": choice.method,
        "over": transport_text(choice.transport),
        "collective": choice.transport.is_collective,
        "settings": settings,
        "final": _packed(final, "<f8"),
        "lost": _packed(lost, "u1"),
        "needed": _packed(needed, "<f8"),
        "before": _packed(before, "<f8"),
        "met": _packed(met, "u1"),
        "x": _packed(x, "<f4"),
        "y": _packed(y, "<f4"),
        "places": many,
    }


def _packed(numbers: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers, dtype=kind).tobytes()).decode()


def _colors(methods: Sequence[str], method: str) -> list[str]:
    """On light ground the one of the figures, on dark ground the same, lighter the darker it is."""
    color = to_rgb(looks.look(methods, method)["color"])
    luminance = float(np.dot(color, (0.2126, 0.7152, 0.0722)))
    lift = 0.15 + 0.75 * max(0.0, 0.45 - luminance) / 0.45
    return [to_hex(color), to_hex(tuple(1 - (1 - lift) * (1 - part) for part in color))]
