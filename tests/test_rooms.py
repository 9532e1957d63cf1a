"""The rooms of the package: who may import whom, nothing in circles, nothing without a place or a word why."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.places import ROOT
from tests.rooms import SIMGMC, House, Rules

RULES = Rules(
    order=("low", "middle", "high", "__init__"),
    forbidden={"high": ("low",)},
    held_in={"heavy": ("middle",)},
    light={"high.a": ("heavy",), "high.b": ("numpy.linalg",)},
    root_files=("__init__",),
    max_folders=3,
    max_files=2,
    max_floors=3,
)
SOUND = {
    "__init__": '"""A house."""',
    "low/__init__": '"""The cellar."""',
    "low/a": "VALUE = 1",
    "middle/__init__": '"""May import low."""\nfrom house.middle.a import made',
    "middle/a": "import heavy\nfrom house.low.a import VALUE\n\ndef made(): ...",
    "high/__init__": '"""May import middle."""',
    "high/a": "def f():\n    from house.middle import made  # loads heavy",
    "high/b": "import json\n\ndef f():\n    import math\n    from . import a  # b is read before a is there",
}


def house(tmp_path, **files):
    """A package of these files in place of, or beside, those of a sound one; None: without it."""
    for name, text in (SOUND | files).items():
        path = tmp_path / "house" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(textwrap.dedent(text))
    return House(tmp_path / "house")


def test_the_rooms_of_simgmc_are_in_order():
    simgmc = House(ROOT / "simgmc")
    print(f"{len(simgmc.longest_chain)} floors, {len(simgmc.inside)} imports inside functions")
    assert simgmc.faults(SIMGMC) == []


def test_what_loads_no_torch_by_its_source_loads_none():
    light = [f"simgmc.{name}" for name, heavy in SIMGMC.light.items() if "torch" in heavy]
    code = f"import sys, {', '.join(light)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_sound_house_has_no_faults(tmp_path):
    assert house(tmp_path).faults(RULES) == []
    assert list(house(tmp_path).inside) == ["house/high/a.py:2", "house/high/b.py:5"]
    assert (
        house(tmp_path).longest_chain in (["low", "middle"], ["middle", "high"])
        or len(house(tmp_path).longest_chain) == 3
    )


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"low/a": "from house.middle import a"}, "low/a.py:1 imports house.middle.a: low may not import middle"),
        ({"low/a": "import house.high.b"}, "house/low/a.py:1 imports house.high.b: low may not import high"),
        ({"low/a": "from ..middle.a import made"}, "house/low/a.py:1 imports house.middle.a.made: low may not"),
        ({"low/a": "A = 'house.middle.a:made'"}, "house/low/a.py:1 imports house.middle.a.made: low may not"),
        (
            {"low/a": "def f():\n    # late\n    from house.middle import a"},
            "house/low/a.py:3 imports house.middle.a: low may not import middle, a later room",
        ),
        (
            {"low/a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.middle.a import made"},
            "house/low/a.py:3 imports house.middle.a.made: low may not import middle, a later room",
        ),
        ({"attic/__init__": '"""Old things."""'}, "attic: has no place in the order of rooms"),
        ({"attic/__init__": '"""Old things."""'}, "4 folders at the root, at most 3"),
        ({"loose": ""}, "loose.py at the root: belongs into a room"),
        ({"high/c": ""}, "house/high: 3 files, at most 2"),
        ({"high/deep/c": ""}, "house/high/deep: has no __init__.py"),
        ({"high/deep/__init__": ""}, "house/high/deep/__init__.py: does not say what the folder is for"),
        ({"middle/__init__": '"""The stairs."""'}, "middle/__init__.py: does not say that middle may import low"),
        ({"high/b": "from house.low import a"}, "high/b.py:1 imports house.low.a: high may not import low"),
        ({"high/b": "import heavy.part"}, "house/high/b.py:1 imports heavy.part: high may not import heavy"),
        ({"high/b": "def f():\n    import heavy  # slow"}, "high/b.py:2 imports heavy: high may not import heavy"),
        ({"high/a": "import house.middle"}, "high.a -> middle -> middle.a loads heavy"),
        ({"high/b": "from numpy import linalg"}, "high.b loads numpy.linalg"),
        ({"high/a": "from house.high.b import f", "high/b": "import house.high.a"}, "high.a -> high.b -> high.a"),
        (
            {"high/a": "from house.high.b import f", "high/b": "def f():\n    import house.high.a  # late"},
            "circle of modules: high.a -> high.b -> high.a",
        ),
        ({"low/a": "from house.low import A", "low/__init__": "from house.low.a import A"},
         "circle of modules: low -> "),
        (
            {
                "low/one/__init__": '"""One."""', "low/one/a": "import house.low.two.a", "low/one/b": "",
                "low/two/__init__": '"""Two."""', "low/two/a": "", "low/two/b": "import house.low.one.b",
            },
            "circle of parts of low: one -> two -> one",
        ),
        ({"high/a": "def f():\n    from house.middle import made"}, "house/high/a.py:2: does not say why"),
        ({"high/a": '"""See :mod:`house.middle.b`."""'}, "house/high/a.py: names house.middle.b, which is not there"),
        ({"high/a": '"""See :func:`~house.low.a.gone`."""'}, "house/high/a.py: names house.low.a.gone, which is not"),
        ({"high/a": "def f():\n    from numpy import zeros"}, "house/high/a.py:2: does not say why"),
        ({"high/a": "def f():\n    import numpy  # noqa: F401"}, "house/high/a.py:2: does not say why"),
        ({"high/a": "def f():\n    # late\n    import a\n    f()\n    import b"}, "/high/a.py:5: does not say why"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_told_with_its_place(tmp_path, files, fault):
    faults = house(tmp_path, **files).faults(RULES)
    assert any(fault in one for one in faults), faults


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    import numpy  # seldom needed",
        "def f():\n    # seldom needed\n    import numpy\n\n    import house.middle",
        "def f():\n    import numpy  # seldom needed\n    from scipy import (\n        optimize,\n    )",
        "def f():\n    import json",
    ],
)
def test_a_comment_beside_a_block_of_imports_or_above_it_explains_it(tmp_path, text):
    assert house(tmp_path, **{"high/b": text}).faults(RULES) == []


def test_a_chain_of_too_many_rooms_is_told(tmp_path):
    found = house(tmp_path).faults(Rules(order=RULES.order, max_floors=2))
    assert found == ["3 floors, at most 2: low < middle < high"]
