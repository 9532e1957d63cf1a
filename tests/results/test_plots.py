import os
from functools import partial

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from simgmc.core.processes.side_by_side import Beside
from simgmc.core.transport import Transport
from simgmc.results.figures import looks, panels
from simgmc.results.figures.lines import measure_figure
from simgmc.results.figures.material import Material
from simgmc.results.figures.plots import draw_plots, figures_of
from simgmc.results.series.curves import finding, numeric_keys, reach_label, sweep_finding, wide
from simgmc.results.series.reach import Reach
from simgmc.results.series.read import ComparisonPoint, read_results
from tests.results.synthetic_runs import accuracy_curve, write_run
from tests.results.visible import shown

METHODS = {
    "DMSGD": accuracy_curve(0.98, 0.3),
    "DGC without masking": accuracy_curve(0.93, 0.2),
    "DGC with masking": accuracy_curve(0.955, 0.25),
    "GMC": accuracy_curve(0.975, 0.28),
}
BYTES = {"DMSGD": 1_000_000, "DGC without masking": 20_000, "DGC with masking": 20_000, "GMC": 20_000}
RATE = {"10 Mbit/s": 1e7, "100 Mbit/s": 1e8, "1 Gbit/s": 1e9, "10 Gbit/s": 1e10}


def seconds(method, point, seed):
    carried = BYTES.get(method, 1000) * 8 * (3 if point["cluster.collective"] == "ring" else 8)
    return (0.02 + carried / RATE[point["cluster.bandwidth"]]) * (1 + 0.01 * seed)


def grid(bandwidths, collectives=("parameter_server", "ring")):
    return [{"cluster.collective": c, "cluster.bandwidth": b} for b in bandwidths for c in collectives]


MANY = {
    f"{'A method with quite a long name, number ' if i % 3 == 0 else 'm'}{i}": accuracy_curve(0.5 + 0.04 * i, 0.3)
    for i in range(12)
}
RUNS = {
    "one panel, one seed": dict(points=grid(["100 Mbit/s"], ["ring"]), seeds=(0,)),
    "a sweep": dict(points=grid(list(RATE)[1:]), evaluations=6),
    "a sweep of one collective": dict(points=grid(RATE, ["ring"]), seeds=(0,), evaluations=6),
    "only a loss": dict(points=grid(["100 Mbit/s"]), loss_only=True, target=0.1),
    "one evaluation": dict(points=grid(["100 Mbit/s"], ["ring"]), evaluations=1),
    "only the start": dict(points=grid(["100 Mbit/s"], ["ring"]), evaluations=0, finish=False),
    "no target": dict(points=grid(["100 Mbit/s"], ["ring"]), target=None, baseline=None),
    "many methods": dict(points=grid(["100 Mbit/s"]), methods=MANY, seeds=(0, 1), target=0.8, baseline="m1"),
    "seven orders of magnitude": dict(
        points=grid(["100 Mbit/s"], ["ring"]),
        round_s=lambda m, p, s: 3e3 if m == "DMSGD" else 1e-4 * (1 + s),
        target=0.9,
    ),
    "names that are no formulas": dict(
        points=grid(["100 Mbit/s"]),
        methods={"$\\frac$": accuracy_curve(0.98, 0.3), "_a $b_": accuracy_curve(0.97, 0.3)},
        baseline="_a $b_",
    ),
    "values of the grid that are sentences": dict(
        points=[
            {**point, "workload.partition": '{ name = "dirichlet", ' + "and = 'so on', " * many + "}"}
            for many in (1, 9)
            for point in grid(["100 Mbit/s"], ["ring", "tree", "gossip"])
        ],
        methods={"DMSGD": METHODS["DMSGD"]},
        seeds=(0,),
    ),
    "no time at all": dict(points=grid(["100 Mbit/s"], ["ring"]), round_s=lambda m, p, s: 0.0),
    "a diverged method": dict(
        points=grid(["100 Mbit/s"]), methods={"DMSGD": METHODS["DMSGD"], "GMC": lambda epoch: float("nan")}
    ),
}


def made(path, *, methods=METHODS, target=0.95, baseline="DMSGD", round_s=seconds, **options):
    directory = write_run(path, methods, round_s=round_s, round_bytes=BYTES, **options)
    return directory, dict(methods=list(methods), target=target, baseline=baseline)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", RUNS)
def test_no_text_is_cut_off_or_covered_and_no_legend_lies_on_data(tmp_path, name):
    directory, options = made(tmp_path, **RUNS[name])
    methods = options.pop("methods")
    with panels.style():
        for file, figures in figures_of(Material(read_results(directory, methods), **options)).items():
            for figure in figures:
                figure.draw_without_rendering()
                width, height = figure.bbox.width, figure.bbox.height
                texts = shown(figure)
                for text, box in texts:
                    inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
                    assert inside, f"{file}: {text.get_text()!r} is cut off: {box} of {width} x {height}"
                for legend in figure.legends:
                    box = legend.get_window_extent()
                    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width
                    for axes in figure.axes:
                        assert not box.overlaps(axes.get_window_extent()), f"{file}: the legend covers a panel"
                for axes in figure.axes:
                    assert axes.get_window_extent().height > 40, f"{file}: a panel is squeezed flat"
                for i, (one, box) in enumerate(texts):
                    for other, its_box in texts[i + 1 :]:
                        shrunk = box.padded(-1.0)
                        assert not shrunk.overlaps(its_box.padded(-1.0)), (
                            f"{file}: {one.get_text()!r} on {other.get_text()!r}"
                        )


def test_every_plot_is_written_as_png_and_pdf(tmp_path, without_pictures):
    directory, options = made(tmp_path, points=grid(list(RATE)[:3], ["ring"]), evaluations=3, seeds=(0,))
    names = {file for files in draw_plots(directory, **options).values() for file in files}
    stems = [
        "accuracy_vs_time",
        "accuracy_vs_bytes",
        "accuracy_vs_epoch",
        "time_to_target",
        "time_to_target_vs_bandwidth",
    ]
    assert names == {f"{stem}.{form}" for stem in [*stems, "time_per_round"] for form in ("png", "pdf")}


@pytest.mark.slow
def test_pictures_drawn_beside_have_the_bytes_of_those_drawn_here(tmp_path, monkeypatch):
    directory, options = made(tmp_path, points=grid(list(RATE)[:3], ["ring"]), evaluations=3, seeds=(0,))
    here = draw_plots(directory, **options)
    monkeypatch.setattr("simgmc.core.processes.side_by_side.usable_cores", lambda: 2)
    with Beside() as beside:
        process = beside.call(os.getpid)()
        assert beside.call(partial(draw_plots, directory, **options))() == here and process != os.getpid()


def test_the_same_run_gives_the_same_picture_files(tmp_path):
    directory, _ = made(tmp_path, points=grid(["10 Mbit/s"], ["ring"]), evaluations=2, seeds=(0,))
    contents = []
    for _ in range(2):
        with panels.style():
            figures = measure_figure(read_results(directory), "sim_time_s", 0.5, "DMSGD")
            files = panels.save(figures, directory.plots, "plot", directory.replace, ("png", "pdf"))
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]


def test_a_run_without_evaluations_has_no_plots(tmp_path):
    directory, options = made(tmp_path, methods={}, baseline=None)
    assert draw_plots(directory, **options) == {}


def test_more_than_four_rows_go_on_further_pages(tmp_path):
    points = [
        {"cluster.collective": c, "cluster.latency": f"{i} ms"}
        for i in range(1, 6)
        for c in ("parameter_server", "ring")
    ]
    directory = write_run(
        tmp_path,
        METHODS,
        points=points,
        seeds=(0,),
        evaluations=2,
        round_s=lambda m, p, s: float(p["cluster.latency"][0]) + len(p["cluster.collective"]),
    )
    with panels.style():
        figures = figures_of(Material(read_results(directory), 0.5))
    assert [len(figure.axes) for figure in figures["accuracy_vs_time"]] == [8, 2]


def lines_of(figure, color):
    return [line for axes in figure.axes for line in axes.lines if line.get_color() == color and len(line.get_xdata())]


def test_a_method_keeps_its_colour_in_every_plot_whatever_else_is_there(tmp_path):
    directory, _ = made(tmp_path, points=grid(list(RATE)[:3], ["ring"]), seeds=(0,), evaluations=12)
    order = ["absent", *METHODS]
    results = read_results(directory, order)
    with panels.style():
        every = [looks.look(results.methods, method) for method in METHODS]
        figures = figures_of(Material(results, 0.5))
        assert every[0]["color"] != looks.look(results.methods, "absent")["color"]
        for name in ("accuracy_vs_time", "accuracy_vs_bytes", "accuracy_vs_epoch", "time_to_target_vs_bandwidth"):
            for look in every:
                drawn = lines_of(figures[name][0], look["color"])
                assert drawn and {line.get_marker() for line in drawn} == {look["marker"]}
        bars = {patch.get_facecolor() for axes in figures["time_to_target"][0].axes for patch in axes.patches}
    assert len(bars) == len(METHODS)


def test_forty_methods_all_look_different():
    with panels.style():
        methods = [str(number) for number in range(40)]
        assert len({tuple(looks.look(methods, method).values()) for method in methods}) == 40


def test_panels_that_would_show_the_same_are_drawn_once(tmp_path):
    directory, _ = made(tmp_path, points=grid(RATE), seeds=(0,), evaluations=3)
    with panels.style():
        figures = figures_of(Material(read_results(directory)))
    assert len(figures["accuracy_vs_epoch"][0].axes) == 1
    assert len(figures["accuracy_vs_time"][0].axes) == 8


def test_an_axis_is_logarithmic_where_the_shortest_series_would_be_squeezed(tmp_path):
    directory, _ = made(tmp_path, points=grid(["10 Mbit/s"]), seeds=(0,), evaluations=3)
    other, _ = made(tmp_path / "fast", points=grid(["10 Gbit/s"]), seeds=(0,), evaluations=3)
    with panels.style():
        slow, fast = figures_of(Material(read_results(directory))), figures_of(Material(read_results(other)))
    assert slow["accuracy_vs_time"][0].axes[0].get_xscale() == "log"
    assert fast["accuracy_vs_time"][0].axes[0].get_xscale() == "linear"
    assert slow["accuracy_vs_epoch"][0].axes[0].get_xscale() == "linear"
    assert wide([1.0, 10.0], 10.0) and not wide([1.0, 9.9], 10.0) and not wide([0.0, 5.0], 10.0)


@pytest.mark.parametrize("loss_only", [False, True])
def test_the_untrained_start_does_not_squeeze_what_comes_after_it(tmp_path, loss_only):
    """Where the rest has two thirds of the height beside it, the start is shown."""
    limits = {}
    for name, speed in (("quick", 3.0), ("slow", 0.05)):
        methods = {"A": accuracy_curve(0.97, speed), "B": accuracy_curve(0.95, speed)}
        directory, _ = made(
            tmp_path / name,
            methods=methods,
            points=grid(["100 Mbit/s"], ["ring"]),
            seeds=(0,),
            evaluations=8,
            loss_only=loss_only,
        )
        with panels.style():
            (figure,) = figures_of(Material(read_results(directory), target=None if loss_only else 0.96))[
                "loss_vs_epoch" if loss_only else "accuracy_vs_epoch"
            ]
        limits[name] = figure.axes[0].get_ylim()
    start, later = (2.3 * 0.9, 2.3 * 0.08) if loss_only else (10.0, 91.0)
    low, high = limits["quick"]
    assert low < later < high and not low < start < high
    low, high = limits["slow"]
    assert low < start < high
    assert loss_only or low < 96 < high, "the target is shown"


def test_findings_say_who_is_first_and_by_how_much(tmp_path):
    directory, _ = made(tmp_path, points=grid(["100 Mbit/s", "10 Gbit/s"]), seeds=(0,), evaluations=25)
    results = read_results(directory)
    slow_ps, _, _, fast_ring = results.points
    assert finding(results, slow_ps, "sim_time_s", 0.95, "DMSGD") == "GMC reaches 95 % 18.6× sooner than DMSGD"
    assert finding(results, slow_ps, "bytes_up", 0.95, "DMSGD") == "GMC reaches 95 % on 46.2× fewer bytes than DMSGD"
    assert finding(results, slow_ps, "epoch", 0.95, "DMSGD") == "DMSGD needs the fewest epochs to reach 95 %"
    assert finding(results, slow_ps, "sim_time_s", 0.95, "DGC without masking").startswith("GMC reaches 95 % over ")
    assert finding(results, slow_ps, "sim_time_s", 0.978, "DMSGD") == "only DMSGD reaches 97.8 %"
    assert finding(results, slow_ps, "sim_time_s", 0.99, "DMSGD") == "no method reaches 99 %"
    assert finding(results, fast_ring, "sim_time_s", None, None) == "DMSGD ends best, at 98.0 %"


def test_a_bars_label_is_its_length():
    assert reach_label(Reach({0: 10.0, 1: 14.0}, {})) == "12.0 ± 2.8 s"
    assert reach_label(Reach({0: 10.0, 1: 14.0}, {2: 30.0})) == "over 18.0 s (2 of 3 seeds)"
    assert reach_label(Reach({}, {0: 30.0})) == "not within 30.0 s"
    assert reach_label(Reach({}, {0: 0.0})) == "not reached"


def test_a_sweeps_finding_says_where_the_answer_flips(tmp_path):
    directory, _ = made(
        tmp_path,
        points=grid(RATE, ["ring"]),
        seeds=(0,),
        evaluations=25,
        round_s=lambda m, p, s: seconds(m, p, s) + (0.005 if m == "GMC" else 0),
    )
    results = read_results(directory)
    texts = list(RATE)
    assert (
        sweep_finding(results, results.points, texts, 0.95, "DMSGD")
        == "first at 95 %: GMC up to 1 Gbit/s, DMSGD from 10 Gbit/s"
    )
    assert sweep_finding(results, results.points[:2], texts[:2], 0.95, "DMSGD") == (
        "GMC reaches 95 % first throughout: 30.6× sooner than DMSGD at 10 Mbit/s, 8.05× at 100 Mbit/s"
    )


def test_only_keys_with_three_quantities_of_one_kind_are_swept(tmp_path):
    points = [
        {"cluster.collective": "ring", "a.bandwidth": b, "a.model": m, "a.workers": str(w)}
        for b, m, w in (("1 Gbit/s", "cnn", 4), ("2 Gbit/s", "mlp", 8), ("1000 Mbit/s", "vit", 16))
    ]
    directory = write_run(tmp_path, METHODS, points=points, seeds=(0,), evaluations=1)
    results = read_results(directory)
    assert numeric_keys(results) == ["a.workers"]  # 1 Gbit/s and 1000 Mbit/s are the same
    assert results.label(results.points[0]) == "ring, 1 Gbit/s, model cnn, workers 4"
    assert (
        results.label(ComparisonPoint(Transport("collective", "ring"), results.points[0].grid))
        == "ring, 1 Gbit/s, model cnn, workers 4"
    )


def test_the_legend_holds_every_name_as_it_is(tmp_path):
    names = ("_first", "$\\frac$", "a_b^c", "50 % & more")
    directory, _ = made(
        tmp_path,
        methods={name: accuracy_curve(0.9, 0.3) for name in names},
        baseline=None,
        target=None,
        points=grid(["100 Mbit/s"], ["ring"]),
    )
    with panels.style():
        (figure,) = figures_of(Material(read_results(directory)))["accuracy_vs_time"]
        FigureCanvasAgg(figure).draw()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(names)
