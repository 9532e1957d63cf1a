import dataclasses
import io

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import LineCollection, QuadMesh
from rich.console import Console

from simgmc.core.units import grid_number
from simgmc.results.figures import looks, panels
from simgmc.results.figures.heat_maps import heat_map_figures
from simgmc.results.figures.material import Material
from simgmc.results.figures.plane_axes import Scale
from simgmc.results.figures.plots import draw_plots, figures_of
from simgmc.results.series.grids import (
    NOBODY,
    NOT_RUN,
    SOME_SEEDS,
    Key,
    axes_of,
    groups,
    speedup_finding,
    winner_finding,
)
from simgmc.results.series.read import read_results
from simgmc.results.series.summary import summarize
from simgmc.results.tables.large_tables import print_large_summary
from tests.results.synthetic_runs import accuracy_curve, write_run
from tests.results.visible import shown

METHODS = {"DMSGD": accuracy_curve(0.98, 0.3), "DGC": accuracy_curve(0.96, 0.25), "GMC": accuracy_curve(0.975, 0.28)}
BANDWIDTHS = ("1 Mbit/s", "10 Mbit/s", "100 Mbit/s", "1 Gbit/s")
LATENCIES = ("1 ms", "10 ms", "100 ms")


def plane(collectives=("ring",), bandwidths=BANDWIDTHS, latencies=LATENCIES, **more):
    return [
        {"cluster.collective": c, "cluster.bandwidth": b, "cluster.latency": latency, **more}
        for c in collectives
        for latency in latencies
        for b in bandwidths
    ]


def seconds(method, point, seed):
    """DMSGD sends much in one message, the others little in many: either can be first."""
    bits, messages = (1e6, 1) if method == "DMSGD" else (2e4, 8)
    carried = bits * (3 if point["cluster.collective"] == "ring" else 8) / grid_number(point["cluster.bandwidth"])[0]
    return (0.01 + carried + messages * grid_number(point["cluster.latency"])[0]) * (1 + 0.02 * seed)


def run(path, points=None, *, methods=METHODS, seeds=(0, 1), evaluations=15, **options):
    directory = write_run(
        path, methods, points=points or plane(), round_s=seconds, seeds=seeds, evaluations=evaluations, **options
    )
    return directory, read_results(directory, list(METHODS))


def edit_metrics(directory, keep):
    """Drops the series whose (method, seed, bandwidth, latency) ``keep`` refuses, from both tables."""
    for file in ("metrics.csv", "breakdown.csv"):
        path = directory.path / file
        header, *lines = path.read_text().splitlines(keepends=True)
        names = header.strip().split(",")
        rows = [(line, dict(zip(names, line.strip().split(","), strict=True))) for line in lines]
        path.write_text(header + "".join(line for line, row in rows if keep(row)))
    return read_results(directory, list(METHODS))


def the_plane(results, target=0.9, baseline="DMSGD"):
    (only,) = groups(results, ["cluster.bandwidth", "cluster.latency"], target, baseline)
    return only


def legend_texts(results, target, baseline):
    with panels.style():
        figures = heat_map_figures(results, target, baseline)["speedup_map"]
    return [" ".join(text.get_text().split()) for legend in figures[0].legends for text in legend.get_texts()]


def test_winners_and_speed_ups_are_those_of_the_points_themselves(tmp_path):
    _, results = run(tmp_path)
    found = the_plane(results)
    assert found.points.shape == (3, 4)
    rows = {(row.method, row.point): row for row in summarize(results, 0.9, "DMSGD")}
    for place, point in np.ndenumerate(found.points):
        assert (point.grid[0][1], point.grid[1][1]) == (BANDWIDTHS[place[1]], LATENCIES[place[0]])
        times = {method: rows[method, point].reach.spread.mean for method in METHODS}
        assert results.methods[found.winner[place]] == min(times, key=times.get)
        for method in ("DGC", "GMC"):
            assert found.advantages(method)[place].value == pytest.approx(times["DMSGD"] / times[method])
        assert found.advantages()[place].value == pytest.approx(times["DMSGD"] / min(times["DGC"], times["GMC"]))
    assert set(found.winner.flat) == {0, 2}


def test_a_plane_takes_the_two_numeric_keys_of_the_cluster_and_keeps_the_others_apart(tmp_path):
    points = [
        point | {"optimizer.learning_rate": str(rate), "cluster.topology": shape}
        for rate in (0.1, 0.2, 0.3)
        for shape in ("star", "ring")
        for point in plane(("ring", "parameter_server"), BANDWIDTHS[:3])
    ]
    points = [{"optimizer.learning_rate": point["optimizer.learning_rate"], **point} for point in points]
    _, results = run(tmp_path, points, seeds=(0,), evaluations=1)
    keys = axes_of(results)
    assert keys == ["cluster.bandwidth", "cluster.latency"]  # the grid's order, the learning rate last
    names = [group.name for group in groups(results, keys, 0.9, None)]
    assert len(names) == len(set(names)) == 12
    assert names[0] == "ring, learning rate 0.1, topology star"


def test_a_key_with_two_values_or_one_value_written_twice_makes_no_plane(tmp_path):
    _, two = run(tmp_path / "two", plane(latencies=LATENCIES[:2]), seeds=(0,), evaluations=1)
    _, twice = run(tmp_path / "twice", plane(latencies=("1 ms", "0.001 s", "2 ms", "3 ms")), seeds=(0,), evaluations=1)
    for results in (two, twice):
        assert axes_of(results) == []
        assert heat_map_figures(results, 0.9, "DMSGD") == {}


def test_what_was_not_run_or_not_reached_is_told_apart(tmp_path):
    directory, _ = run(tmp_path, seeds=(0, 1))
    results = edit_metrics(
        directory,
        lambda row: (
            (row["cluster.bandwidth"], row["cluster.latency"]) != ("1 Gbit/s", "100 ms")
            and (row["cluster.bandwidth"], row["cluster.latency"], row["method"], row["seed"])
            != ("1 Mbit/s", "1 ms", "GMC", "1")
        ),
    )
    found = the_plane(results)
    assert found.winner[2, 3] == NOT_RUN and (found.winner == NOT_RUN).sum() == 1
    assert found.incomplete[0, 0] and found.incomplete.sum() == 1
    assert set(the_plane(results, 0.999).winner.flat) == {NOBODY, NOT_RUN}


def test_a_seed_without_the_target_makes_a_bound_and_only_some_seeds_no_winner(tmp_path):
    never = {"DMSGD": METHODS["DMSGD"], "DGC": accuracy_curve(0.5, 0.2), "GMC": METHODS["GMC"]}
    _, results = run(tmp_path, methods=never)
    found = the_plane(results)
    for place, ratio in np.ndenumerate(found.advantages("DGC")):
        reaches = found.reaches[place]
        bound = sum(reaches["DMSGD"].needed.values()) / sum(reaches["DGC"].spent.values())
        assert (ratio is None) if bound > 1 else (ratio.bound, ratio.value) == ("<", pytest.approx(bound))
    assert any(ratio is None for ratio in found.advantages("DGC").flat) and any(found.advantages("DGC").flat)
    assert {ratio.bound for ratio in the_plane(results, baseline="DGC").advantages("GMC").flat} == {">"}
    assert "at most: only DMSGD had reached 90 % with every seed" in legend_texts(results, 0.9, "DMSGD")
    assert "over a speed-up: at least, DGC had not reached 90 %" in legend_texts(results, 0.9, "DGC")
    best = max(one["test_accuracy"].max() for one in results.series if one.key.seed == 0)
    other = max(one["test_accuracy"].max() for one in results.series if one.key.seed == 1)
    between = the_plane(results, (best + other) / 2)
    assert best != other and set(between.winner.flat) == {SOME_SEEDS}


def test_a_point_is_undecided_where_a_seed_has_another_first(tmp_path):
    def by_seed(method, point, seed):
        slow = point["cluster.bandwidth"] == "1 Mbit/s"
        return {"DMSGD": 1.0, "DGC": 9.0, "GMC": (0.5, 1.2)[seed] if slow else 0.5}[method]

    same = dict.fromkeys(METHODS, accuracy_curve(0.98, 0.3))
    directory = write_run(tmp_path, same, points=plane(), round_s=by_seed, seeds=(0, 1), evaluations=15)
    found = the_plane(read_results(directory, list(METHODS)))
    assert set(found.winner.flat) == {2}
    assert found.undecided.tolist() == [[True, False, False, False]] * 3


def test_findings_say_where_the_answer_flips(tmp_path):
    _, results = run(tmp_path)
    found = the_plane(results)
    assert found.line_text(0) == "GMC up to 100 Mbit/s, DMSGD from 1 Gbit/s"
    assert found.line_text(2) == "GMC up to 1 Mbit/s, DMSGD from 10 Mbit/s"
    # With equally many rounds to 90 % it is the ratio of a round's seconds: 3.011 to 0.078, and 0.113 to 0.81.
    assert (
        winner_finding(found)
        == "first at 90 %: GMC at 6, DMSGD at 6 of 12 points; GMC up to 100 Mbit/s at 1 ms, up to 1 Mbit/s at 100 ms"
    )
    assert (
        speedup_finding(found, "GMC")
        == "from 38.6× at 1 Mbit/s, 1 ms to 0.139× at 1 Gbit/s, 100 ms; sooner at 6 of 12 points"
    )
    assert winner_finding(the_plane(results, 0.999)) == "no method reaches 99.9 % with every seed"


def test_a_scale_is_the_one_that_spaces_the_values_evenly():
    def kind(*values):
        return Scale.of(Key("cluster.bandwidth", tuple(map(str, values)), values, "")).kind

    assert kind(1.0, 10.0, 100.0) == kind(1.0, 2.0, 5.0, 10.0) == kind(1e6, 1e8, 1e9) == "log"
    assert kind(1.0, 2.0, 3.0, 4.0) == kind(0.0, 0.5, 1.0) == "linear"
    assert kind(0.0, 1.0, 10.0, 100.0) == "even"
    edges = Scale.of(Key("k", ("1", "10", "100"), (1.0, 10.0, 100.0), "")).edges
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5]


def test_cells_have_the_methods_colours_and_edges_lie_where_the_answer_flips(tmp_path):
    _, results = run(tmp_path)
    found = the_plane(results)
    with panels.style():
        axis = heat_map_figures(results, 0.9, "DMSGD")["first_to_target_map"][0].axes[0]
        hues = [matplotlib.colors.to_rgb(looks.look(results.methods, method)["color"]) for method in METHODS]
    (mesh,) = [one for one in axis.collections if isinstance(one, QuadMesh)]
    cells = mesh.get_array().reshape(3, 4, 3)
    for place, index in np.ndenumerate(found.winner):
        assert np.argmin([np.abs(1 - 0.72 * (1 - np.array(hue)) - cells[place]).sum() for hue in hues]) == index
    (edges,) = [one for one in axis.collections if isinstance(one, LineCollection) and not isinstance(one, QuadMesh)]
    changes = (found.winner[:, 1:] != found.winner[:, :-1]).sum() + (found.winner[1:] != found.winner[:-1]).sum()
    assert len(edges.get_segments()) == changes == 5
    assert [[2.5 + 6, -0.5 - 3], [2.5 + 6, 0.5 - 3]] in [np.round(line, 9).tolist() for line in edges.get_segments()]


def test_speed_ups_are_white_at_one_and_the_scale_is_symmetric(tmp_path):
    _, results = run(tmp_path)
    with panels.style():
        figure = heat_map_figures(results, 0.9, "DMSGD")["speedup_map"][0]
    bar = figure.axes[-1]
    low, high = bar.get_ylim()
    assert low * high == pytest.approx(1.0) and high == pytest.approx(50.0)
    assert bar.get_ylabel() == "speed-up over DMSGD\nin time to 90 %"
    labels = [text.get_text() for axis in figure.axes[:2] for text in axis.texts]
    assert "1×" in labels and "10×" in labels


RUNS = {
    "one collective, three by four": dict(points=plane()),
    "four collectives": dict(
        points=plane(("parameter_server", "ring", "tree", "two-level"), BANDWIDTHS[:3]), seeds=(0,)
    ),
    "a long name": dict(
        points=plane(bandwidths=BANDWIDTHS[:3]),
        methods=METHODS | {"A method with quite a long name indeed": METHODS["DGC"]},
        seeds=(0,),
    ),
    "nobody reaches it": dict(points=plane(), target=0.999),
    "some seeds": dict(points=plane(), target=0.9794),
    "a latency of 0": dict(points=plane(bandwidths=BANDWIDTHS[:3], latencies=("0 ms", "1 ms", "10 ms")), seeds=(0,)),
    "a narrow range": dict(
        points=plane(latencies=("10 ms", "11 ms", "12 ms"), bandwidths=("1 Mbit/s", "1.5 Mbit/s", "2 Mbit/s"))
    ),
    "no baseline": dict(points=plane(), baseline=None),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", RUNS)
def test_no_text_is_cut_off_or_covered_and_every_panel_is_a_map(tmp_path, name):
    options = dict(RUNS[name])
    target, baseline = options.pop("target", 0.9), options.pop("baseline", "DMSGD")
    _, results = run(tmp_path, **options)
    with panels.style():
        figures = heat_map_figures(results, target, baseline)
        assert "first_to_target_map" in figures and ("speedup_map" in figures) == (baseline is not None)
        for file, pages in figures.items():
            for figure in pages:
                figure.draw_without_rendering()
                assert figure.get_figwidth() <= 7
                texts = shown(figure)
                for text, box in texts:
                    inside = (
                        box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
                    )
                    assert inside, f"{file}: {text.get_text()!r} is cut off: {box}"
                for i, (one, box) in enumerate(texts):
                    for other, its_box in texts[i + 1 :]:
                        assert not box.padded(-1.0).overlaps(its_box.padded(-1.0)), (
                            f"{file}: {one.get_text()!r} on {other.get_text()!r}"
                        )
                for legend in figure.legends:
                    assert not any(
                        legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes
                    )
                assert all(axes.get_window_extent().height > 100 for axes in figure.axes)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """24 grid points; DGC never reaches 95.5 %."""
    return run(tmp_path_factory.mktemp("large"), plane(("parameter_server", "ring")), round_bytes={"DMSGD": 10**6})


def test_a_large_grid_draws_maps_and_no_panel_per_point_and_says_what_is_left_out(large, without_pictures):
    directory, results = large
    drawn = draw_plots(
        directory, methods=list(METHODS), target=0.9, baseline="DMSGD", formats=("png",), results=results
    )
    maps = ["first_to_target_map", "speedup_map"]
    sweeps = ["time_to_target_vs_bandwidth", "time_to_target_vs_latency"]
    stems = ["accuracy_vs_bytes", "accuracy_vs_epoch", "collectives", *maps, *sweeps]
    assert {file for files in drawn.values() for file in files} == {f"{stem}.png" for stem in stems}
    assert [name for name, files in drawn.items() if not files] == [
        "accuracy_vs_time", "time_to_target", "time_per_round",
    ]  # fmt: skip


def test_a_grid_of_twelve_points_is_shown_point_by_point(tmp_path):
    directory, results = run(tmp_path, seeds=(0,), evaluations=2)
    with panels.style():
        figures = figures_of(Material(results, 0.3, "DMSGD"))
    assert sum(len(page.axes) for page in figures["accuracy_vs_time"]) == 12
    assert "first_to_target_map" in figures and all(figures.values())


def printed(results, target, baseline):
    stream = io.StringIO()
    print_large_summary(
        Console(file=stream, width=200), results, summarize(results, target, baseline), target, baseline
    )
    return stream.getvalue()


def test_a_large_grids_table_has_ranges_counts_and_flips(large):
    text = printed(large[1], 0.955, "DMSGD")
    lines = text.splitlines()
    assert lines[0].startswith("24 grid points (target: test accuracy 95.5 %, speed-up against DMSGD")
    assert "─ ring: 12 points, bandwidth 1 Mbit/s to 1 Gbit/s, latency 1 ms to 100 ms" in lines
    plane_of = {group.name: group for group in groups(large[1], axes_of(large[1]), 0.955, "DMSGD")}
    section = lines[lines.index("─ ring: 12 points, bandwidth 1 Mbit/s to 1 Gbit/s, latency 1 ms to 100 ms") :]
    row = next(line for line in section if line.startswith("  GMC ")).split()
    assert int(row[-2]) == plane_of["ring"].firsts()["GMC"] and int(row[-1]) == 0
    assert f"  first at 95.5 %, 1 ms: {plane_of['ring'].line_text(0)}" in section
    assert len(lines) < 24


def test_a_large_grid_without_a_target_or_numbers_is_still_summarised(tmp_path, large):
    assert "time to" not in printed(large[1], None, None)
    points = [
        {
            "cluster.collective": "ring",
            "cluster.topology": f"shape {'abcdefghijklmn'[i]}",
            "cluster.bandwidth": "1 Mbit/s",
            "cluster.latency": "1 ms",
        }
        for i in range(14)
    ]
    _, results = run(tmp_path, points, seeds=(0,), evaluations=5)
    text = printed(results, 0.5, "DMSGD")
    assert "─ ring: 14 points" in text and text.count("\n") < 10


def test_a_large_grids_table_treats_diverged_series_as_the_small_one_does(large):
    def diverging(one):
        bad = one.key.method == "DGC" or (
            one.key.method == "GMC" and one.point == large[1].points[0] and one.key.seed == 0
        )
        return dataclasses.replace(one, breakdown=dataclasses.replace(one.breakdown, diverged=7)) if bad else one

    results = dataclasses.replace(large[1], series=tuple(map(diverging, large[1].series)))
    text = printed(results, 0.955, "DMSGD")
    dgc, gmc = (next(line for line in text.splitlines() if line.startswith(f"  {name} ")) for name in ("DGC", "GMC"))
    assert "diverged at all 12 points" in dgc and "(diverged at 1 of 12 points)" in gmc
    assert "diverged: training ended there" in text
