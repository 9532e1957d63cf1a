"""The paths and links of every page lead somewhere."""

from __future__ import annotations

import re

import pytest

from tests.places import ROOT

TOPS = ("simgmc", "scenarios", "analysis", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for top in TOPS for page in (ROOT / top).rglob("*.md"))])


def leading_nowhere(text, folder):
    """Paths below the project's folders (a file's end may be left out), and links, that lead nowhere.

    Blocks of Python and of changes are what a reader is to write.
    """
    text = re.sub(r"```(?:diff|python).*?```", "", text, flags=re.DOTALL)
    paths = [ROOT / path for path in re.findall(rf"(?<![\w./-])(?:{'|'.join(TOPS)})/[\w./-]*[\w/]", text)]
    links = [folder / link for link in re.findall(r"\]\(([^)#\s]+)", text) if ":" not in link]
    there = {place for place in paths if place.exists() or list(place.parent.glob(f"{place.name}.*"))}
    return [str(place) for place in [*paths, *links] if place not in there and not place.exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_and_links_of_a_page_lead_somewhere(page):
    assert leading_nowhere(page.read_text(encoding="utf-8"), page.parent) == []


def test_what_leads_nowhere_is_found():
    text = "`simgmc/cli.py`, `scenarios/quickstart`, `simgmc/gone.py`, [a page](README.md), [another](gone.md)"
    assert leading_nowhere(text, ROOT) == [str(ROOT / "simgmc/gone.py"), str(ROOT / "gone.md")]
