import dataclasses
import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console

from simgmc.core.transport import Transport
from simgmc.results.directory.details import PARTS, Details, LinkTraffic
from simgmc.results.directory.records import Evaluation, SeriesKey
from simgmc.results.directory.run_directory import create
from simgmc.results.figures import panels
from simgmc.results.figures.load_plots import consensus_figure, idle_bars, single_worker_figure, staleness_bars
from simgmc.results.figures.plots import draw_plots
from simgmc.results.series.loads import loads_of
from simgmc.results.series.read import read_results
from simgmc.results.tables.load_table import print_loads
from tests.results.synthetic_runs import breakdown

METHODS = ("all-reduce", "SwarmSGD")


def seconds(workers, slow=1.0):
    """Every worker takes 10 s; all but the first are busy for ``slow`` of it, 0.5 s of that compressing."""
    found = np.zeros((workers, len(PARTS)))
    busy = np.r_[10.0, np.full(workers - 1, 10 * slow)]
    found[:, :3] = np.stack([busy - 0.5, np.full(workers, 0.5), np.zeros(workers)], axis=1)
    found[:, PARTS.index("latency")] = (10 - busy) / 4
    found[:, PARTS.index("wait")] = 3 * (10 - busy) / 4
    return found


def run(
    path, *, workers=4, seeds=(0, 1), slow=(0.25, 0.9), collectives=("ring",), stale=True, single=True, step=(1.0, 0.3)
):
    directory = create(path, "", grid_keys=("cluster.collective",))
    for collective in collectives:
        for place, method in enumerate(METHODS):
            for seed in seeds:
                key = SeriesKey(method, Transport.read(collective), seed)
                own = single and place == 1
                for index in range(6):
                    time = index * step[place]
                    others = {
                        "consensus distance": 0.1 * index * (1 + seed),
                        "test_accuracy mean worker": 0.1 * index,
                        "test_accuracy worst worker": 0.09 * index,
                    }
                    # Evaluated at stated times, an asynchronous method can be at the same round twice.
                    number = index // 2 if own else index
                    directory.evaluated(
                        key,
                        Evaluation(number, number / 2, time, None, 1.0, 0.11 * index, 0, 0, None),
                        others if own else None,
                    )
                links = (
                    LinkTraffic("worker1", "switch", 1000 * (seed + 1), 3),
                    LinkTraffic("worker0", "switch", 999, 9),
                )
                histogram = {0: 90, 3: 9, 7 + seed: 1} if stale and own else {}
                directory.finish(
                    key,
                    dataclasses.replace(breakdown(5, 10.0, 10, collective), evaluations=6),
                    Details(seconds(workers, slow[place]), np.full(workers, 5), links, histogram),
                )
    return directory


def loads(directory):
    results = read_results(directory, METHODS)
    return results, loads_of(results, directory.details())


def printed(directory):
    console = Console(file=io.StringIO(), width=200)
    print_loads(console, *loads(directory))
    return console.file.getvalue()


def test_idle_shares_the_busiest_link_and_staleness_are_means_over_seeds(tmp_path):
    _, (dense, swarm) = loads(run(tmp_path))
    assert dense.mean_idle.mean == pytest.approx(0.75 * 3 / 4)
    assert swarm.mean_idle.mean == pytest.approx(0.1 * 3 / 4)
    assert dense.worst == (1, pytest.approx(0.75))
    assert dense.busiest_link == ("worker1", "switch", 1500.0, 3.0)
    assert dense.staleness is None
    mean, high, most = swarm.staleness_summary
    assert (mean.mean, high, most) == (pytest.approx(0.27 + 0.075), 3, 8)


def test_shares_of_a_workers_time_add_up_to_all_of_it(tmp_path):
    for load in loads(run(tmp_path))[1]:
        assert sum(load.shares.values()) == pytest.approx(np.ones((2, 4)))
        assert load.shares["compute"] + load.shares["compress"] == pytest.approx(1 - load.idle)


def test_the_table_names_the_worst_worker_and_the_busiest_link(tmp_path):
    text = printed(run(tmp_path))
    assert "75.0 (worker1)" in text and "worker1 -> switch" in text and "1.50 kB" in text and "0.345 ± 0.007" in text


def test_columns_that_no_method_has_something_for_are_left_out(tmp_path):
    assert "staleness" not in printed(run(tmp_path, stale=False))


def test_a_single_worker_has_no_table(tmp_path):
    assert printed(run(tmp_path, workers=1)) == ""


def test_runs_without_details_have_neither_table_nor_pictures(tmp_path):
    directory = run(tmp_path)
    for name in ("workers.csv", "links.csv", "staleness.csv"):
        (tmp_path / name).unlink()
    assert printed(directory) == ""
    drawn = draw_plots(directory, formats=("png",))
    assert {"idle_per_worker", "staleness"} & drawn.keys() == set() and "accuracy_vs_time" in drawn


def test_no_picture_of_idle_shares_where_all_workers_are_alike(tmp_path):
    assert idle_bars(*loads(run(tmp_path, slow=(1.0, 0.999)))) is None


@pytest.mark.parametrize("workers", [4, 8, 64])
def test_bars_are_stacked_to_the_whole_of_every_workers_time(tmp_path, workers):
    with panels.style():
        (figure,) = idle_bars(*loads(run(tmp_path, workers=workers)))
    for axes in figure.axes:
        tops = {}
        for patch in axes.patches:
            place = round(patch.get_x() + patch.get_width() / 2)
            tops[place] = max(tops.get(place, 0.0), patch.get_y() + patch.get_height())
        assert tops == pytest.approx(dict.fromkeys(range(workers), 100.0))


@pytest.mark.parametrize("most", [3, 30, 1000])
def test_all_gradients_are_in_the_histogram_but_for_the_last_hundredth(tmp_path, most):
    directory = run(tmp_path, single=False)
    results = read_results(directory, METHODS)
    histogram = {value: 1000 // (1 + value) + 1 for value in range(most)}
    details = {key: dataclasses.replace(one, staleness=histogram) for key, one in directory.details().items()}
    with panels.style():
        (figure,) = staleness_bars(results, loads_of(results, details))
    for axes in figure.axes:
        inside = [patch for patch in axes.patches if patch.get_x() < axes.get_xlim()[1]]
        assert sum(patch.get_height() for patch in axes.patches) == pytest.approx(100)
        assert sum(patch.get_height() for patch in inside) >= 99 and len(inside) <= 41


def test_no_bar_of_staleness_is_cut_off_by_a_panel_with_lower_ones(tmp_path):
    directory = run(tmp_path, collectives=("ring", "parameter-server"), single=False)
    results = read_results(directory, METHODS)
    flat, steep = dict.fromkeys(range(10), 100), {0: 990, 1: 10}
    details = {
        key: dataclasses.replace(one, staleness=flat if key.transport.name == "ring" else steep)
        for key, one in directory.details().items()
    }
    with panels.style():
        (figure,) = staleness_bars(results, loads_of(results, details))
    assert len(figure.axes) > 1
    for axes in figure.axes:
        assert max(patch.get_height() for patch in axes.patches) < axes.get_ylim()[1]


@pytest.mark.parametrize("rare", [4, 6, 7, 60])
def test_rare_staleness_is_off_the_axis_only_where_it_lies_far_out_and_no_bar_is_cut(tmp_path, rare):
    directory = run(tmp_path)
    results = read_results(directory, METHODS)
    counts = ({0: 300, 1: 500, 2: 100, 3: 96, rare: 4}, {0: 300, 1: 300, 2: 300, 3: 96, rare: 4})
    details = {
        key: dataclasses.replace(one, staleness=counts[key.seed] if one.staleness else {})
        for key, one in directory.details().items()
    }
    with panels.style():
        (figure,) = staleness_bars(results, loads_of(results, details))
    (axes,) = figure.axes
    left, right = axes.get_xlim()
    bars = [bar for bar in axes.patches if bar.get_x() < right]
    assert all(left < bar.get_x() and bar.get_x() + bar.get_width() < right for bar in bars)
    assert len(bars) == (rare if rare <= 6 else 3) + 1
    whiskers = [segment for lines in axes.collections for segment in lines.get_segments()]
    assert max(end for segment in whiskers for _, end in segment) < axes.get_ylim()[1]


def test_values_of_evaluations_at_the_same_round_are_kept_apart(tmp_path):
    results = read_results(run(tmp_path), METHODS)
    (swarm, _) = results.at("SwarmSGD", results.points[0])
    assert swarm["round"].tolist() == [0, 0, 1, 1, 2, 2]
    assert swarm["consensus distance"] == pytest.approx(0.1 * np.arange(6))


def test_an_interrupted_evaluations_values_belong_to_no_evaluation(tmp_path):
    directory = run(tmp_path)
    text = (tmp_path / "metrics.csv").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.csv").write_text("".join(text[:-1]))
    (_, last) = read_results(directory, METHODS).at("SwarmSGD", read_results(directory).points[0])
    assert last["consensus distance"] == pytest.approx(0.2 * np.arange(5))


def test_consensus_is_drawn_for_the_methods_that_have_it(tmp_path):
    results = read_results(run(tmp_path), METHODS)
    with panels.style():
        (figure,) = consensus_figure(results)
        (lines,) = [axes.lines for axes in figure.axes]
    assert len(lines) == 1
    assert lines[0].get_xdata() == pytest.approx(0.3 * np.arange(6))
    assert np.isnan(lines[0].get_ydata()[0])  # no place for 0 on a logarithmic axis
    assert lines[0].get_ydata()[1:] == pytest.approx(0.15 * np.arange(1, 6))


def test_single_workers_are_drawn_beside_the_averaged_model(tmp_path):
    results = read_results(run(tmp_path), METHODS)
    with panels.style():
        (figure,) = single_worker_figure(results)
        FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    ends = [line.get_ydata()[-1] for line in axes.lines]
    assert ends == pytest.approx([55, 50, 45])
    assert any("worst worker ends 10.0 points below" in text.get_text().replace("\n", " ") for text in axes.texts)


def test_single_workers_start_from_the_model_that_all_have_where_nobody_took_it_down(tmp_path):
    results = read_results(run(tmp_path), METHODS)
    names = ("test_accuracy mean worker", "test_accuracy worst worker")
    late = [
        dataclasses.replace(
            one,
            columns={
                **one.columns,
                **{name: np.where(one["sim_time_s"] > 0, one[name], np.nan) for name in names if name in one.columns},
            },
        )
        for one in results.series
    ]
    with panels.style():
        (figure,) = single_worker_figure(dataclasses.replace(results, series=tuple(late)))
    (axes,) = figure.axes
    assert [line.get_ydata()[0] for line in axes.lines] == pytest.approx([0.0, 0.0, 0.0]) and len(
        {line.get_xdata()[0] for line in axes.lines}
    ) == 1


def test_methods_without_workers_of_their_own_have_neither_picture(tmp_path):
    results = read_results(run(tmp_path, single=False), METHODS)
    assert consensus_figure(results) is None and single_worker_figure(results) is None


def test_more_panels_than_readable_are_not_drawn(tmp_path):
    directory = run(tmp_path, collectives=tuple("abcdefg"), seeds=(0,))
    results, found = loads(directory)
    assert len(found) == 14
    assert idle_bars(results, found) == []
