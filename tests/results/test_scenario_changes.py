from pathlib import Path

import pytest

from simgmc.results.directory.scenario_changes import changes, refusal

BASE = """
seeds = [1]
[cluster]
latency = "1 ms"
[cluster.compute]
gradient = "3 ms"
[[methods]]
name = "A"
momentum = 0.9
[[methods]]
name = "B"
[grid]
"cluster.bandwidth" = ["1 Gbit/s"]
"""


@pytest.mark.parametrize(
    ("replaced", "by", "lines"),
    [
        ("", "", []),
        ("seeds = [1]", "seeds = [1, 2]", ["seeds: was [1], is [1, 2]"]),
        ("momentum = 0.9", "momentum = 0.8", ["methods.A.momentum: was 0.9, is 0.8"]),
        ("momentum = 0.9", "", ["methods.A.momentum: was 0.9, is not there"]),
        (
            'name = "B"',
            'name = "C"',
            ['methods.B: was { name = "B" }, is not there', 'methods.C: was not there, is { name = "C" }'],
        ),
        ('"1 Gbit/s"', '"2 Gbit/s"', ['grid.cluster.bandwidth: was ["1 Gbit/s"], is ["2 Gbit/s"]']),
        ("[grid]", "[cluster.crashes]\nat = 1\n[grid]", ["cluster.crashes: was not there, is { at = 1 }"]),
        ("[cluster.compute]\ngradient", "compute", ['cluster.compute: was { gradient = "3 ms" }, is "3 ms"']),
        ("1 ms", "1\\nms", ['cluster.latency: was "1 ms", is "1\\nms"']),
    ],
)
def test_every_key_that_differs_is_named_with_both_values(replaced, by, lines):
    found = changes(BASE, BASE.replace(replaced, by))
    assert [line.replace("\\u000a", "\\n") for line in found] == lines


def test_methods_in_another_order_differ_by_their_order():
    a, b = '[[methods]]\nname = "A"\n', '[[methods]]\nname = "B"\n'
    assert changes(a + b, b + a) == ["methods: was in the order A, B, is in the order B, A"]


def test_a_refusal_lists_ten_keys_and_counts_the_rest():
    text = refusal(Path("runs/x"), [f"k{number}" for number in range(13)])
    assert text.splitlines()[1:] == [*(f"  k{number}" for number in range(10)), "  and 3 more"]
    assert "--out" in text.splitlines()[0] and "--overwrite" in text.splitlines()[0]


def test_a_damaged_scenario_is_said_to_be_so():
    assert changes("a = ", BASE) is None
    assert "is damaged" in refusal(Path("x"), None)


@pytest.mark.parametrize(
    ("now", "kept"),
    [
        ("[cluster]\nlatency = '2 ms'\n[report]\ntarget = 0.4\n[workload]\nworkers = 8\n", True),
        ("[cluster]\nlatency = '2 ms'\n[report]\ntarget = 0.8\n[workload]\nworkers = 9\n", False),
    ],
)
def test_of_a_run_that_needs_no_other_training_it_is_said_how_to_keep_it(now, kept):
    before = "[cluster]\nlatency = '1 ms'\n[report]\ntarget = 0.8\n[workload]\nworkers = 8\n"
    text = refusal(Path("runs/my run"), changes(before, now))
    assert ("simgmc replay 'runs/my run' --set KEY=VALUE" in text) == kept and "--overwrite" in text
