import math

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.core.transport import Transport
from simgmc.results.directory.records import Evaluation, SeriesKey
from simgmc.results.directory.run_directory import create, open_run
from tests.results.synthetic_runs import accuracy_curve, breakdown, write_run

RING = Transport("collective", "ring")

POINTS = [{"cluster.collective": c, "cluster.bandwidth": "10 Mbit/s"} for c in ("parameter_server", "ring")]
METHODS = {"DMSGD": accuracy_curve(0.9, 0.3), "GMC": accuracy_curve(0.88, 0.3)}
ROW = Evaluation(10, 0.1, 1 / 3, None, 2.25, 0.125, 800, 1600, None)


def files(path):
    return {file.relative_to(path): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def small_run(path, **options):
    return write_run(path, METHODS, points=POINTS, seeds=(0, 1), evaluations=2, **options)


def test_metrics_have_the_documented_columns_then_the_grid_without_the_collective(tmp_path):
    directory = create(tmp_path, "x", grid_keys=("cluster.collective", "cluster.bandwidth", "workload.workers"))
    grid = {"cluster.collective": "ring", "cluster.bandwidth": "10 Mbit/s", "workload.workers": 8}
    directory.evaluated(SeriesKey("GMC", RING, 0, grid), ROW)
    assert (tmp_path / "metrics.csv").read_text() == (
        "method,collective,seed,round,epoch,sim_time_s,train_loss,test_loss,test_accuracy,bytes_up,bytes_down,rcc,"
        "cluster.bandwidth,workload.workers\n"
        "GMC,ring,0,10,0.1,0.3333333333333333,,2.25,0.125,800,1600,,10 Mbit/s,8\n"
    )


def test_the_same_run_gives_the_same_bytes(tmp_path):
    small_run(tmp_path / "a")
    small_run(tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


@settings(deadline=None)
@given(st.floats(), st.one_of(st.none(), st.floats()), st.integers(0, 2**60), st.text(min_size=1))
def test_numbers_and_names_are_read_back_exactly(tmp_path_factory, value, loss, nbytes, name):
    name = name.encode("utf-8", "ignore").decode() or "x"
    directory = create(tmp_path_factory.mktemp("run"), "")
    written = Evaluation(1, value, value, loss, loss, None, nbytes, nbytes, loss)
    directory.evaluated(SeriesKey(name, RING, 3), written)
    ((key, (read,)),) = open_run(directory.path).evaluations().items()
    assert key == SeriesKey(name, RING, 3)
    assert repr(read) == repr(written)  # repr: NaN equals itself, -0.0 is not 0.0


def test_a_count_of_bytes_is_a_whole_number(tmp_path):
    directory = create(tmp_path, "")
    with pytest.raises(ValueError, match="whole number"):
        directory.evaluated(SeriesKey("GMC", RING, 0), Evaluation(1, 1.0, 1.0, None, None, None, 1.5, 0, None))


def test_a_series_of_another_grid_is_refused(tmp_path):
    directory = create(tmp_path, "", grid_keys=("cluster.latency",))
    with pytest.raises(ValueError, match="cluster.latency"):
        directory.evaluated(SeriesKey("GMC", RING, 0), ROW)


def test_a_run_of_another_scenario_is_not_overwritten(tmp_path):
    small_run(tmp_path / "run")
    before = files(tmp_path / "run")
    with pytest.raises(SimgmcError, match=r"run already holds a run of another scenario.*--out.*--overwrite"):
        create(tmp_path / "run", "other")
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("there", "continues"),
    [
        ('# old\nname = "a"\n\n[grid]\n"x" = [1]\n"y" = [2]\n', True),
        ('name = "a"\r\n[grid]\r\nx = [ 1 ]   # as an editor left it\r\ny = [2]\r\n', True),
        ('name = "a"\n[grid]\ny = [2]\nx = [1]\n', False),
        ('name = "a"\n[grid]\nx = [1.0]\ny = [2]\n', False),
        ('name = "a"\n[grid]\nx = [1]\n', False),
        ('name = "a"\n[grid]\nx = [1', False),
    ],
)
def test_a_run_goes_on_if_its_scenario_says_the_same_however_it_is_written(tmp_path, there, continues):
    now = 'name = "a"\n\n[grid]\n"x" = [1]\n"y" = [2]\n'
    create(tmp_path, "").evaluated(SeriesKey("GMC", RING, 0), ROW)
    (tmp_path / "scenario.toml").write_bytes(there.encode())
    if continues:
        create(tmp_path, now)
    else:
        with pytest.raises(SimgmcError, match="another scenario"):
            create(tmp_path, now)


def test_overwriting_removes_what_a_run_wrote_and_nothing_else(tmp_path):
    directory = small_run(tmp_path)
    directory.write_costs("GMC", [])
    directory.replace(directory.plots / "accuracy_vs_time.png", b"")
    for name in ("map.html", "utilisation.csv", "report.html", "measured.json", "measured/key.csv"):
        directory.replace(tmp_path / name, b"")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "plots" / "mine.png").write_text("mine")
    (tmp_path / "plots" / "mine.partial").write_text("mine")
    (tmp_path / "plots" / "loss_vs_time.png").write_text("mine, though a run could call one so")
    assert not create(tmp_path, "other", overwrite=True).is_measured
    assert set(map(str, files(tmp_path))) == {
        ".pictures",
        "plots/loss_vs_time.png",
        "scenario.toml",
        "metrics.csv",
        "breakdown.csv",
        "notes.txt",
        "plots/mine.png",
        "plots/mine.partial",
    }
    assert open_run(tmp_path).evaluations() == {}


@pytest.mark.parametrize("own", [True, False])
def test_overwriting_removes_the_timelines_of_the_run_before_and_no_other_files(tmp_path, own):
    directory = small_run(tmp_path)
    for name in ("GMC.trace.json", "GMC.gantt.png", "GMC.links.pdf", "GMC-ring.topology.png", "GMC.trace.json.partial"):
        directory.replace(tmp_path / "timeline" / name, b"")
    if not own:
        (tmp_path / "timeline" / "mine.png").write_text("mine")
    create(tmp_path, "other", overwrite=True)
    left = [] if own else ["mine.png"]
    assert [file.name for file in (tmp_path / "timeline").glob("*")] == left and (
        tmp_path / "timeline"
    ).exists() == bool(left)


def pictures(path):
    return sorted(str(file.relative_to(path)) for folder in ("plots", "timeline") for file in (path / folder).glob("*"))


def test_any_picture_that_a_run_writes_is_its_own_whatever_it_is_called(tmp_path):
    directory = small_run(tmp_path)
    for name in ("plots/a new figure_2.svg", "timeline/GMC, seed 1.html", "plots/é.png"):
        directory.replace(tmp_path / name, b"")
    directory.replace(tmp_path / "plots" / "é.png", b"again")
    assert (tmp_path / ".pictures").read_text().count("\n") == 3
    create(tmp_path, "other", overwrite=True)
    assert pictures(tmp_path) == []


@pytest.mark.parametrize("killed", ["before the picture", "in the picture", "in the list"])
def test_a_run_killed_while_it_draws_leaves_no_picture_that_is_not_listed(tmp_path, killed):
    directory = small_run(tmp_path)
    directory.replace(tmp_path / "plots" / "one.png", b"1")
    listed = tmp_path / ".pictures"
    listed.write_text(listed.read_text() + ("plots/tw" if killed == "in the list" else "plots/two.png\n"))
    if killed == "in the picture":
        (tmp_path / "plots" / "two.png.partial").write_bytes(b"half")
    (tmp_path / "plots" / "mine.png").write_text("mine")
    directory = create(tmp_path, directory.scenario_text(), grid_keys=tuple(POINTS[0]))
    directory.replace(tmp_path / "plots" / "three.png", b"3")
    create(tmp_path, "other", overwrite=True)
    assert pictures(tmp_path) == ["plots/mine.png"]


def test_a_damaged_list_removes_nothing_that_is_no_picture(tmp_path):
    directory = small_run(tmp_path / "run")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "run" / "plots").mkdir()
    lines = ("../notes.txt", "plots/../../notes.txt", str(tmp_path / "notes.txt"), "plots/..", "plots", "", "costs/x")
    (tmp_path / "run" / ".pictures").write_text("\n".join(lines) + "\n")
    create(directory.path, "other", overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine" and (tmp_path / "run" / "plots").is_dir()


@pytest.mark.parametrize("draws_more", [False, True])
def test_a_directory_from_before_there_was_a_list_is_overwritten_with_its_pictures(tmp_path, draws_more):
    directory = small_run(tmp_path)
    earlier = ["plots/gap_vs_bytes_2.pdf", "plots/time_to_target_vs_bandwidth.png", "timeline/GMC-ring.gantt.png"]
    for name in earlier:
        directory.replace(tmp_path / name, b"")
    (tmp_path / ".pictures").unlink()
    (tmp_path / "plots" / "mine.png").write_text("mine")
    directory = create(tmp_path, directory.scenario_text(), grid_keys=tuple(POINTS[0]))
    if draws_more:
        directory.replace(tmp_path / "plots" / "new.png", b"")
    create(tmp_path, "other", overwrite=True)
    assert pictures(tmp_path) == ["plots/mine.png"]


@pytest.mark.parametrize("name", ["notes.txt", "scenario.toml", "plots"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_with_other_files_is_left_alone(tmp_path, name, overwrite):
    (tmp_path / name).mkdir() if name == "plots" else (tmp_path / name).write_text("mine")
    with pytest.raises(SimgmcError, match=f"holds no run .it has {name}.*--out"):
        create(tmp_path, "x", overwrite=overwrite)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_file_in_the_way_is_a_clear_error(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(SimgmcError, match="cannot make the run directory"):
        create(tmp_path / "run", "x")


def test_a_directory_without_a_run_is_a_clear_error(tmp_path):
    with pytest.raises(SimgmcError, match="holds no run"):
        open_run(tmp_path)


def test_a_damaged_row_is_named_by_its_line(tmp_path):
    directory = small_run(tmp_path)
    with (tmp_path / "metrics.csv").open("a") as stream:
        stream.write("GMC,ring,zero\n")
    with pytest.raises(SimgmcError, match="line 26"):
        directory.evaluations()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("whole")).path


def continued(path):
    """Runs what is unfinished, as a caller does."""
    scenario = "# synthetic\n"
    directory = create(path, scenario, grid_keys=tuple(POINTS[0]))
    done = directory.finished()
    for key, evaluations in open_run(path.parent / "whole").evaluations().items():
        if key not in done:
            for evaluation in evaluations:
                directory.evaluated(key, evaluation)
            directory.finish(key, open_run(path.parent / "whole").breakdowns()[key])
    return directory


@settings(deadline=None)
@given(st.data())
def test_a_run_killed_at_any_byte_and_continued_equals_one_never_killed(tmp_path_factory, whole, data):
    base = tmp_path_factory.mktemp("kill")
    (base / "whole").symlink_to(whole)
    (base / "run").mkdir()
    metrics, parts = (whole / "metrics.csv").read_bytes(), (whole / "breakdown.csv").read_bytes()
    header = metrics.index(b"\n") + 1
    cut = data.draw(st.integers(header, len(metrics)))
    finished = metrics[:cut].count(b"\n") // 3 - (1 if metrics[:cut].count(b"\n") % 3 == 0 else 0)
    kept = data.draw(st.integers(max(finished - 1, 0), finished)) if finished else 0
    lines = parts.splitlines(keepends=True)
    torn = lines[kept + 1][: data.draw(st.integers(0, len(lines[kept + 1]) - 1))] if kept + 1 < len(lines) else b""
    (base / "run" / "metrics.csv").write_bytes(metrics[:cut])
    (base / "run" / "breakdown.csv").write_bytes(b"".join(lines[: kept + 1]) + torn)
    (base / "run" / "scenario.toml").write_text("# synthetic\n")
    (base / "run" / ".pictures").write_text("")
    continued(base / "run")
    assert files(base / "run") == files(whole)


def test_a_finished_run_is_left_as_it_is(tmp_path):
    directory = small_run(tmp_path)
    before = files(tmp_path)
    again = create(tmp_path, directory.scenario_text(), grid_keys=tuple(POINTS[0]))
    assert files(tmp_path) == before
    assert len(again.finished()) == 8


def test_what_was_evaluated_before_a_kill_can_be_read(tmp_path):
    small_run(tmp_path, finish=False)
    with (tmp_path / "metrics.csv").open("a") as stream:
        stream.write("GMC,ring,0,3")
    directory = open_run(tmp_path)
    assert len(directory.evaluations()) == 8
    assert directory.finished() == set()


def test_a_breakdown_is_read_back_exactly(tmp_path):
    directory = create(tmp_path, "")
    written = breakdown(100, math.pi, 12345, "ring")
    directory.finish(SeriesKey("GMC", RING, 0), written)
    assert directory.breakdowns() == {SeriesKey("GMC", RING, 0): written}


def test_results_without_their_scenario_are_not_taken_for_an_empty_directory(tmp_path):
    small_run(tmp_path)
    (tmp_path / "scenario.toml").unlink()
    before = files(tmp_path)
    with pytest.raises(SimgmcError, match="without their scenario.toml.*--overwrite"):
        create(tmp_path, "x")
    assert files(tmp_path) == before
    create(tmp_path, "x", overwrite=True)
    assert open_run(tmp_path).evaluations() == {}


@pytest.mark.parametrize("name", ["scenario.toml", "breakdown.csv", "metrics.csv"])
def test_a_directory_in_place_of_a_file_is_one_line_that_names_it(tmp_path, name):
    small_run(tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    (tmp_path / "run" / name).mkdir()
    with pytest.raises(SimgmcError, match=rf"{name}: \w[^\n]*$"):
        create(tmp_path / "run", "x", overwrite=True)


@pytest.mark.parametrize("where", ["x" * 300, "nul\0"])
def test_an_impossible_path_is_a_clear_error(tmp_path, where):
    for opened in (lambda: create(tmp_path / where, "x"), lambda: open_run(tmp_path / where)):
        with pytest.raises(SimgmcError):
            opened()


def test_a_write_that_fails_names_the_file_and_leaves_no_part(tmp_path, monkeypatch):
    directory = small_run(tmp_path)
    before = files(tmp_path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SimgmcError, match=r"summary\.csv: No space left on device"):
        directory.replace(tmp_path / "summary.csv", b"x")
    assert files(tmp_path) == before


@pytest.mark.parametrize("file", ["metrics.csv", "breakdown.csv"])
@pytest.mark.parametrize("damage", [b"\xff\xfe\n", b'GMC,"ring"x,0\n', b"\0\n", b"x" * 200_000 + b"\n"])
def test_a_damaged_file_is_one_error_that_names_it(tmp_path, file, damage):
    directory = small_run(tmp_path)
    with (tmp_path / file).open("ab") as stream:
        stream.write(damage)
    with pytest.raises(SimgmcError, match=file.replace(".", r"\.")):
        directory.finished()


@pytest.mark.parametrize(
    ("file", "column", "value"),
    [("metrics.csv", 3, "-1"), ("metrics.csv", 3, "1.5"), ("breakdown.csv", 4, "-3"), ("breakdown.csv", 5, "nan")],
)
def test_numbers_that_no_run_gives_are_named_by_their_line(tmp_path, file, column, value):
    directory = small_run(tmp_path)
    lines = (tmp_path / file).read_text().splitlines()
    cells = lines[1].split(",")
    cells[column] = value
    (tmp_path / file).write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    with pytest.raises(SimgmcError, match=f"{file}, line 2"):
        directory.finished()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=40))
@example([(161, 228)])  # a header that claims fewer bytes than there are
def test_a_damaged_journal_is_named_or_reads_as_it_was(tmp_path, changes):
    directory = create(tmp_path, "x", overwrite=True)
    journal = np.arange(3000) ** 2 % 1009
    file = directory.write_journal("Async, seed 1", journal)
    content = bytearray(file.read_bytes())
    for place, byte in changes:
        content[place % len(content)] = byte
    file.write_bytes(content)
    try:
        assert np.array_equal(directory.read_journal("Async, seed 1"), journal)
    except SimgmcError as error:
        assert str(file) in str(error)
