"""Code of the user's own: which files a scenario runs, and that it is those as they are now."""

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.core.files import reading_copies
from simgmc.core.own_code.code import Code, announced_to, hand_over, is_import_path, looking_in, mention
from simgmc.core.own_code.imports import find


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text("from helper import two\nimport pack.inner as inner\nvalue = two + inner.three\n")
    (tmp_path / "helper.py").write_text("import json, numpy\n\ntwo = 2\n")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/__init__.py").write_text("")
    (tmp_path / "pack/inner.py").write_text("from . import deeper\nthree = deeper.three\n")
    (tmp_path / "pack/deeper.py").write_text("def late():\n    import lazy\n\nthree = 3\n")
    (tmp_path / "lazy.py").write_text("")
    (tmp_path / "unused.py").write_text("1 / 0\n")
    return tmp_path


def test_a_scenario_runs_the_module_that_it_names_and_what_this_imports_from_its_folder(folder):
    with looking_in(code := Code(str(folder))):
        assert find("part", "mine:value") == 5
    assert set(code.used) == {"mine", "helper", "pack", "pack.inner", "pack.deeper", "lazy"}
    assert all(one.file.startswith(str(folder)) and len(one.sha256) == 64 for one in code.used.values())
    assert not list(folder.rglob("__pycache__"))


def test_what_runs_is_told_before_it_runs_once(folder):
    heard = []
    (folder / "loud.py").write_text("raise RuntimeError('ran')\n")
    with announced_to(lambda one: heard.append(one.module)), looking_in(Code(str(folder))):
        mention("loud:x")
        assert heard == ["loud"]
        with pytest.raises(SimgmcError, match=r"RuntimeError: ran \(.*loud.py, line 1"):
            find("part", "loud:x")
    assert heard == ["loud"]


def test_a_module_is_the_one_of_the_folder_as_it_is_now(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "helper.py").write_text("two = 20\n")
    (other / "mine.py").write_text("from helper import two\nvalue = two\n")
    found = []
    for place in (folder, other, folder):
        with looking_in(Code(str(place))):
            found.append(find("part", "mine:value"))
    (folder / "helper.py").write_text("two = 200\n")  # as an editor saves it, within the clock's tick
    with looking_in(Code(str(folder))):
        found.append(find("part", "mine:value"))
    assert found == [5, 20, 5, 203]


def test_copies_run_in_the_place_of_files(folder):
    with looking_in(before := Code(str(folder))):
        find("part", "mine:value")
    (folder / "copy").write_bytes((folder / "helper.py").read_bytes())
    (folder / "helper.py").unlink()
    with reading_copies({str(folder / "helper.py"): folder / "copy"}), looking_in(now := Code(str(folder))):
        assert find("part", "mine:value") == 5
    assert now.used == before.used
    with looking_in(Code(None, stated=before.used)), reading_copies({str(folder / "helper.py"): folder / "copy"}):
        assert find("part", "mine:value") == 5  # found by what a resolved scenario states, from any folder


def test_objects_from_python_are_found_while_they_last():
    def mine():
        pass

    path = hand_over(mine)
    with looking_in(code := Code(handed={path: mine})):
        assert find("part", path) is mine
    (one,) = code.used.values()
    assert one.file == __file__ and is_import_path(path)
    with looking_in(Code()), pytest.raises(SimgmcError):
        find("part", path)
