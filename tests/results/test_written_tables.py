"""Tables to put elsewhere: names that are special in Markdown or LaTeX are as they are, and LaTeX compiles them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from simgmc.results.series.read import read_results
from simgmc.results.series.summary import summarize
from simgmc.results.tables.written import written
from tests.results.synthetic_runs import accuracy_curve, write_run

NAMES = ("50 % of $x_1$ & more #2", r"a\b{c}~d^e", "p|q <r> *s* `t` [u]", "GMC γ = 0.1, λ", "ü é ß − × ±")
POINTS = [{"cluster.collective": "ring", "cluster.bandwidth": rate} for rate in ("1 Mbit/s", "10 Mbit/s")]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    methods = {name: accuracy_curve(0.9, 0.1 * (place + 1)) for place, name in enumerate(NAMES)}
    run = write_run(tmp_path_factory.mktemp("written") / "run", methods, points=POINTS)
    results = read_results(run, list(NAMES))
    return results, summarize(results, 0.8, NAMES[0])


def test_markdown_has_a_column_for_the_varied_key_and_escapes_its_marks(found):
    table = written(*found, 0.8, NAMES[0])
    head, rule, *rows = table.splitlines()
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert columns[:2] == ["method", "bandwidth"] and "final accuracy %" in columns and len(rows) == 2 * len(NAMES)
    assert r"p\|q \<r\> \*s\* \`t\` \[u\]" in rows[2] and r"a\\b{c}~d^e" in rows[1]
    assert all(row.replace(r"\|", "").count("|") == head.count("|") for row in rows)


def test_latex_escapes_what_is_special(found):
    table = written(*found, 0.8, NAMES[0], form="latex")
    assert r"50 \% of \$x\_1\$ \& more \#2" in table and r"a\textbackslash{}b\{c\}" in table
    assert r"\ensuremath{\gamma}" in table and r"\toprule" in table and table.startswith("% Results (target")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
@pytest.mark.parametrize("kind", ["results", "rounds"])
def test_pdflatex_compiles_the_table(found, kind, tmp_path):
    table = written(*found, 0.8, NAMES[0], kind=kind, form="latex")
    page = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n" + table + "\\end{document}\n"
    (tmp_path / "page.tex").write_text(page, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert b"Missing character" not in done.stdout and (tmp_path / "page.pdf").is_file()
