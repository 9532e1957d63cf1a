"""The gallery of scenarios, scenarios/README.md, from the scenarios' headers and the committed figures.

    python analysis/gallery.py

A header is comment lines at the top of a scenario: first the question; a sentence that begins with "Takes"; last a
paragraph that begins with "Answer:", and ends with the picture in brackets, ``(analysis/results/NAME.png)``, if there
is one.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from simgmc.scenario import ScenarioFile
from simgmc.workloads.data.catalogue import DATASETS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "scenarios" / "README.md"
HEAD = """# Scenarios

What each of them asks, how to run it, and what came out. `DATA` is a data directory with the published files; a file
that is missing is named, with where to get it. Every scenario takes `--set KEY=VALUE` (`KEY=null` takes a key out), and
`--dry-run`, which predicts time and memory. How to write one of your own: [WRITING.md](WRITING.md); every key:
[REFERENCE.md](REFERENCE.md). This page is written by `python analysis/gallery.py`.
"""
FIGURES = "analysis/results"


@dataclass(frozen=True)
class Shown:
    """What the page says of a scenario."""

    name: str
    question: str
    takes: str
    answer: str
    picture: str | None
    """Its path in the repository."""
    data: bool
    """Whether it needs a data directory."""
    sweep: bool
    """Whether it is a search, for ``simgmc sweep``."""

    @property
    def at_full_size(self) -> bool:
        """Whether it is meant for a GPU."""
        return self.takes.startswith("Takes hours")


def read(file: Path) -> Shown:
    """A scenario's header. Raises ValueError where a part of it is missing."""
    lines, content = [], file.read_text(encoding="utf-8")
    for line in content.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    paragraphs = [" ".join(one.split()) for one in "\n".join(lines).split("\n\n")]
    takes = re.search(r"(?:^|\s)(Takes .*?\.)(?:\s|$)", " ".join(paragraphs))
    answer = re.fullmatch(r"Answer: (.*)", paragraphs[-1])
    if takes is None or answer is None or len(paragraphs) < 3:
        raise ValueError(f'{file}: its header needs a question, a sentence "Takes ...", and at last "Answer: ..."')
    named = re.search(rf" \(({FIGURES}/\S+\.png)\)$", answer[1])
    text, picture = (answer[1], None) if named is None else (answer[1][: named.start()], named[1])
    if picture is not None and not (ROOT / picture).is_file():
        raise ValueError(f"{file}: there is no {picture}")
    scenario = ScenarioFile.read(file)
    names = {name for point in scenario.points for name in point.scenario.workload.datasets}
    needs = any(DATASETS[name].forms for name in names)
    return Shown(file.stem, paragraphs[0], takes[1], text, picture, needs, "sweep" in tomllib.loads(content))


def page() -> str:
    """The page."""
    found = [read(file) for file in sorted((ROOT / "scenarios").glob("*.toml"))]
    found.sort(key=lambda one: (one.name != "quickstart", one.at_full_size, one.data, one.name))
    table = ["| scenario | question | takes |", "| --- | --- | --- |"]
    table += [f"| [{one.name}](#{one.name}) | {one.question} | {one.takes.removeprefix('Takes ')} |" for one in found]
    return "\n".join([HEAD, *table, "", *(_section(one) for one in found)])


def _section(one: Shown) -> str:
    verb = "sweep" if one.sweep else "run"
    command = f"simgmc {verb} scenarios/{one.name}.toml" + (" --data-dir DATA" if one.data else "")
    parts = [f"## {one.name}", f"**{one.question}**", f"    {command}", f"{one.takes} [The scenario]({one.name}.toml)."]
    if one.picture:
        parts.append(f"![The figure of {one.name}, which the answer below sums up](../{one.picture})")
    parts.append(f"Answer: {one.answer}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
