"""The gallery and the landing page are current, and lead to what is there."""

import importlib.util
import re
import sys

import pytest

from tests.places import ROOT

spec = importlib.util.spec_from_file_location("gallery", ROOT / "analysis" / "gallery.py")
gallery = sys.modules["gallery"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gallery)
PAGES = ["README.md", "simgmc/README.md", "analysis/results/README.md"]
PAGES += [f"scenarios/{name}.md" for name in ("README", "WRITING", "OWN", "RESULTS", "REAL")]


def test_the_gallery_is_what_the_scenarios_say():
    text = gallery.PAGE.read_text(encoding="utf-8")
    assert text == gallery.page(), "stale: python analysis/gallery.py"
    for file in (ROOT / "scenarios").glob("*.toml"):
        assert f"\n## {file.stem}\n" in text


def test_a_header_without_an_answer_or_with_a_picture_that_is_not_there_is_refused(tmp_path):
    text = (ROOT / "scenarios/quickstart.toml").read_text(encoding="utf-8")
    for before, after in (("# Answer: ", "# "), ("# Takes ", "# It takes "), ("1.5 times:", "1.5 times:")):
        (tmp_path / "quickstart.toml").write_text(text.replace(before, after), encoding="utf-8")
        if before == after:
            assert gallery.read(tmp_path / "quickstart.toml").answer.startswith("over the server GMC")
        else:
            with pytest.raises(ValueError, match="its header needs a question"):
                gallery.read(tmp_path / "quickstart.toml")
    head, _, rest = text.partition("\n\n")
    named = head.replace("quickstart.png)", "nothing.png)") + f"\n\n{rest}"
    (tmp_path / "quickstart.toml").write_text(named, encoding="utf-8")
    with pytest.raises(ValueError, match="there is no analysis/results/nothing.png"):
        gallery.read(tmp_path / "quickstart.toml")


def _anchors(text):
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    path = ROOT / page
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for link in links:
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target.read_text(encoding="utf-8")), link


def test_the_landing_page_is_short_and_has_the_three_commands_of_ci():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    lines = [line for line in text.splitlines() if line.startswith("    ") and ".venv/bin/" in line]
    assert sum("pytest" in line for line in lines) == sum("[test,dev]" in line for line in lines) == 1
