"""Partitions: equal, disjoint, seeded, and as skewed as they are asked to be."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from simgmc.core.errors import SimgmcError
from simgmc.workloads.partitions.catalogue import PARTITIONS, label_counts, partition
from simgmc.workloads.problems.catalogue import PROBLEMS

options = st.one_of(
    st.tuples(st.sampled_from(["iid", "contiguous"]), st.just({})),
    st.tuples(
        st.just("dirichlet"),
        st.fixed_dictionaries(
            {
                "alpha": st.floats(1e-6, 1e6, allow_nan=False),
                "definition": st.sampled_from(["sequential", "equal-size"]),
            }
        ),
    ),
    st.tuples(st.just("shards"), st.fixed_dictionaries({"shards_per_worker": st.integers(1, 3)})),
)


@settings(max_examples=150, deadline=None)
@given(
    labels=st.lists(st.integers(0, 9), min_size=12, max_size=200),
    workers=st.integers(1, 4),
    how=options,
    seed=st.integers(0, 2**40),
)
def test_equal_sizes_no_sample_twice_and_the_same_for_the_same_seed(labels, workers, how, seed):
    labels, (name, chosen) = np.array(labels), how
    owned = partition(name, labels, workers, seed, **chosen)
    assert [len(piece) for piece in owned] == [len(labels) // workers] * workers
    together = np.concatenate(owned)
    assert len(np.unique(together)) == len(together)
    assert together.min() >= 0 and together.max() < len(labels)
    again = partition(name, labels, workers, seed, **chosen)
    assert all((a == b).all() for a, b in zip(owned, again, strict=True))


@pytest.mark.parametrize("name", [name for name in PARTITIONS if name != "file"])
def test_another_seed_gives_another_partition(name):
    labels = np.arange(600) % 10
    assert partition(name, labels, 4, 0)[0].tolist() != partition(name, labels, 4, 1)[0].tolist()


def test_dirichlet_goes_from_few_labels_per_worker_to_all_labels_alike():
    labels = np.repeat(np.arange(10), 500)

    def labels_per_worker(alpha):
        counts = label_counts(labels, partition("dirichlet", labels, 5, 0, alpha=alpha), 10)
        share = counts / counts.sum(1, keepdims=True)
        return (1 / (share**2).sum(1)).mean()  # effective number of labels

    few, some, all_labels = (labels_per_worker(alpha) for alpha in (0.05, 1.0, 1000.0))
    assert few < some < all_labels
    assert few < 4 and all_labels > 9.7


@pytest.mark.parametrize(
    ("definition", "least", "most"), [("equal-size", 0.45, 0.53), ("sequential", 0.57, 0.65), ("per-class", 0.53, 0.61)]
)
def test_dirichlet_definitions_differ_in_how_much_of_a_worker_its_largest_label_is(definition, least, most):
    """alpha = 0.1, 8 workers, 10 labels: 0.49, 0.61 and 0.57 over 60 seeds; in turn and per class are harder."""
    labels = np.repeat(np.arange(10), 500)
    shares = []
    for seed in range(40):
        counts = label_counts(labels, partition("dirichlet", labels, 8, seed, alpha=0.1, definition=definition), 10)
        shares.append((counts.max(axis=1) / counts.sum(axis=1)).mean())
    assert least < np.mean(shares) < most


def test_in_turn_all_but_who_comes_late_get_the_proportions_that_they_drew():
    """With enough of every label, counts are multinomial in the drawn proportions: two workers of many labels."""
    labels = np.repeat(np.arange(1000), 2)
    one, other = partition("dirichlet", labels, 2, 3, alpha=1e6)
    counts = label_counts(labels, (one, other), 1000)
    # a worker draws 1,000 times among 1,000 labels of which it can have two: both draw all, one the rest of the other
    assert (counts.sum(axis=0) == 2).all() and (counts <= 2).all()
    assert 0.3 < (counts[0] == 1).mean() < 0.45  # Poisson(1) cut at 2 and drawn again: about 0.37


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(20, 80), min_size=2, max_size=6),
    workers=st.integers(1, 4),
    minimum=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_per_class_hands_out_every_sample_and_nobody_holds_less_than_the_minimum(counts, workers, minimum, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    owned = partition("dirichlet", labels, workers, seed, alpha=1.0, definition="per-class", minimum=minimum)
    assert sorted(np.concatenate(owned).tolist()) == list(range(len(labels)))
    assert min(map(len, owned)) >= minimum


def test_dirichlet_options_that_do_not_go_together_are_refused():
    labels = np.repeat(np.arange(10), 5)
    with pytest.raises(SimgmcError, match='minimum = 3 belongs to definition = "per-class"'):
        partition("dirichlet", labels, 5, 0, minimum=3)
    with pytest.raises(SimgmcError, match="always a worker of 5 that holds fewer samples"):
        partition("dirichlet", labels, 5, 0, alpha=0.001, definition="per-class", minimum=11)
    with pytest.raises(SimgmcError, match="definition"):
        PROBLEMS["logistic-regression"].resolve(
            {"dataset": "a9a", "batch_per_worker": 8, "partition": {"name": "dirichlet", "definition": "per-class"}}
        )


def test_dirichlet_proportions_have_the_variance_of_the_distribution():
    # counts are Dirichlet-multinomial, variance m p (1 - p) (m + C alpha) / (1 + C alpha), but
    # for the few samples that are redrawn because all of the data is handed out
    labels = np.repeat(np.arange(4), 20_000)
    alpha, workers, size = 0.5, 400, 200
    counts = label_counts(labels, partition("dirichlet", labels, workers, 7, alpha=alpha), 4)
    assert (counts.sum(1) == size).all()
    total = 4 * alpha
    expected = size * 0.25 * 0.75 * (size + total) / (1 + total)
    assert counts.var(axis=0).mean() == pytest.approx(expected, rel=0.15)


def test_shards_limit_the_labels_of_a_worker():
    # McMahan et al.: two shards, none longer than a label, so at most four labels and mostly two
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 600))
    counts = label_counts(labels, partition("shards", labels, 100, 0, shards_per_worker=2), 10)
    assert (counts.sum(1) == 60).all()
    held = (counts > 0).sum(1)
    assert held.max() <= 2 and held.min() >= 1


def test_left_over_samples_are_not_always_the_last_label():
    labels = np.repeat(np.arange(3), 7)  # 21 samples, 4 workers: one is left over
    left = {
        int(labels[np.setdiff1d(np.arange(21), np.concatenate(partition("shards", labels, 4, seed)))[0]])
        for seed in range(30)
    }
    assert left == {0, 1, 2}


@pytest.mark.parametrize(
    ("name", "workers", "chosen", "message"),
    [
        ("dirichlt", 2, {}, 'did you mean "dirichlet"'),
        ("dirichlet", 2, {"alpha": 0}, "must be a number above 0"),
        ("dirichlet", 2, {"alpha": float("nan")}, "must be a number above 0"),
        ("dirichlet", 2, {"alpha": "0.1"}, "must be a number above 0"),
        ("dirichlet", 2, {"alhpa": 1}, 'did you mean "alpha"'),
        ("iid", 2, {"alpha": 1}, 'iid has no option "alpha"; it has none'),
        ("shards", 2, {"shards_per_worker": 0}, "whole number of at least 1"),
        ("shards", 2, {"shards_per_worker": 40}, "must be at most 15"),
        ("iid", 31, {}, "between 1 and 30"),
        ("iid", 0, {}, "between 1 and 30"),
    ],
)
def test_wrong_arguments_are_refused(name, workers, chosen, message):
    with pytest.raises(SimgmcError, match=message):
        partition(name, np.arange(30) % 10, workers, 0, **chosen)


@settings(max_examples=100, deadline=None)
@given(
    samples=st.integers(12, 300),
    workers=st.integers(1, 4),
    minimum=st.integers(1, 3),
    alpha=st.floats(1e-6, 1e6, allow_nan=False),
    seed=st.integers(0, 2**40),
)
def test_quantity_skew_hands_out_every_sample_once_and_the_minimum_to_everybody(samples, workers, minimum, alpha, seed):
    owned = partition("quantity-skew", np.zeros(samples, int), workers, seed, alpha=alpha, minimum=minimum)
    assert sorted(np.concatenate(owned)) == list(range(samples))
    assert min(map(len, owned)) >= minimum


def test_quantity_skew_sizes_have_the_variance_of_the_dirichlet_distribution():
    workers, alpha, samples = 400, 0.5, 400_000
    sizes = np.array(
        [len(piece) for piece in partition("quantity-skew", np.zeros(samples, int), workers, 3, alpha=alpha, minimum=1)]
    )
    share = 1 / workers
    expected = (samples - workers) ** 2 * share * (1 - share) / (workers * alpha + 1)
    assert sizes.mean() == 1000 and sizes.var() == pytest.approx(expected, rel=0.3)


def test_quantity_skew_that_cannot_give_everybody_the_minimum_is_refused():
    with pytest.raises(SimgmcError, match="minimum = 26 must be at most 25"):
        partition("quantity-skew", np.zeros(100, int), 4, 0, minimum=26)


def test_contiguous_workers_hold_neighbouring_samples():
    owned = partition("contiguous", np.zeros(103, int), 4, 0)
    assert sorted(piece[0] for piece in owned) == [0, 25, 50, 75]
    assert all((np.diff(piece) == 1).all() for piece in owned)
