"""Whatever the width, no number of a table is broken and no line is too long."""

import io
import re

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from simgmc.core.terminal import fold, print_line, print_table

NAMES = st.text("abcXYZ012-_. /%漢é€", min_size=1, max_size=90).map(lambda text: " ".join(text.split()) or "x")
NUMBERS = st.sampled_from(["98.15 ± 0.42", "13.9 ± 0.0 min", "< 0.1", "1.2e-05 ± 3.4e-06 s", "no server", "–", "4.21×"])
WIDTHS = st.sampled_from([40, 72, 80, 200])


def printed(width, *arguments, **options):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    print_table(console, "", *arguments, **options)
    return console.file.getvalue().splitlines()


@given(st.data(), WIDTHS, st.integers(1, 3), st.integers(1, 9), st.integers(1, 4))
def test_a_table_shows_every_number_whole_in_lines_that_fit(data, width, names, numbers, count):
    rows = [[*(data.draw(NAMES) for _ in range(names)), *(data.draw(NUMBERS) for _ in range(numbers))]
            for _ in range(count)]  # fmt: skip
    header = [*(f"key {place}" for place in range(names)), *(f"what number {place} is" for place in range(numbers))]
    lines = printed(width, header, {"": rows}, names=names)
    assert max(map(cell_len, lines)) <= width
    found = [cell for line in lines for cell in re.split(r"  +", line.strip())]
    for number in {cell for row in rows for cell in row[names:]}:
        assert sum(row[names:].count(number) for row in rows) <= found.count(number)


def test_a_table_that_is_too_wide_goes_on_below_with_the_names_again():
    rows = {"star": [["GMC-without-masking", "98.15 ± 0.42", "4.21 s"]], "ring": [["DGC", "95.2 ± 0.1", "8.2 s"]]}
    lines = printed(36, ["method", "final accuracy", "time to target"], rows, notes={"ring": ["a note"]})
    assert lines == [
        "                              final",
        "  method                   accuracy",
        "─ star",
        "  GMC-without-masking  98.15 ± 0.42",
        "─ ring",
        "  DGC                    95.2 ± 0.1",
        "",
        "                       time to",
        "  method                target",
        "─ star",
        "  GMC-without-masking   4.21 s",
        "─ ring",
        "  DGC                    8.2 s",
        "  a note",
    ]


def test_names_are_folded_where_that_takes_fewer_lines():
    lines = printed(26, ["method", "loss"], {"": [["DGC without any masking", "0.1 ± 0.2"], ["GMC", "0.3"]]})
    assert lines[2:] == ["  DGC without    0.1 ± 0.2", "  any masking", "  GMC                  0.3"]


def test_into_a_file_a_table_is_as_wide_as_it_needs(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    console = Console(file=io.StringIO(), width=20)
    print_table(console, "", ["method", "loss"], {"": [["a name that is long", "0.1 ± 0.2"]]})
    assert "  a name that is long  0.1 ± 0.2" in console.file.getvalue()


@given(st.text("ab 12.±%", max_size=80), st.integers(1, 30))
def test_folded_text_is_all_there(text, width):
    lines = fold(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(cell_len(line) <= width for line in lines)


def test_a_quantity_is_not_folded_before_its_unit_and_a_path_not_at_all():
    assert fold("links of 10 Mbit/s and 3 ± 1 %", 18) == ["links of 10 Mbit/s", "and 3 ± 1 %"]
    assert fold("links of 10 Mbit/s", 12) == ["links of", "10 Mbit/s"]
    console = Console(file=io.StringIO(), width=20, force_terminal=True, color_system=None)
    print_line(console, "written to runs/a/path/that/is/long/x.csv [b] and more, so", hang=2)
    assert console.file.getvalue().splitlines() == [
        "written to", "  runs/a/path/that/is/long/x.csv", "  [b] and more, so",
    ]  # fmt: skip
