"""Methods whose messages change in the course of a training: a warm-up is over, a density falls."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.layout import Layout
from simgmc.experiment.plan import trainings
from simgmc.experiment.preflight.prediction import predict, wire_format
from simgmc.network import simulate
from simgmc.workloads.noise import NoiseWorkload
from tests.small_runs import SMALL, scenario

LAYOUT = Layout(("a", "b"), ((20, 15), (40,)))
PER_EPOCH = 12.0
STEADY = {key: value for key, value in SMALL["cluster"].items() if key != "stragglers"}


def training_of(method, **workload):
    content = {key: value for key, value in SMALL["workload"].items() if key != "rounds"} | workload
    file = scenario(
        ("cluster", STEADY), ("methods", [{"name": "mine", **method}]), ("workload", content), ("report", {})
    )
    return trainings(file.points)[0]


LENGTHS = st.one_of(
    st.fixed_dictionaries({"rounds": st.integers(1, 70)}), st.fixed_dictionaries({"epochs": st.integers(1, 5)})
)
ONE_BIT = st.builds(
    lambda rounds, average: {"algorithm": "1-bit-adam", "warmup_rounds": rounds, "optimizer": {"name": "adam"}},
    st.integers(1, 40), st.none(),
)  # fmt: skip
DGC = st.builds(
    lambda densities: {
        "algorithm": "dgc", "density_warmup": densities, "compressor": {"name": "random-k", "density": 0.05},
    },
    st.lists(st.sampled_from([0.5, 0.25, 0.1]), max_size=4),
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.one_of(ONE_BIT, DGC), LENGTHS)
def test_what_is_predicted_is_what_all_rounds_send(method, length):
    """Of sizes that do not depend on values it is exact, wherever in a training they change."""
    training = training_of(method, **length)
    noise = NoiseWorkload(4, LAYOUT, batches_per_epoch=PER_EPOCH, seed=3)
    trainer, milestones, rounds = training.trainer(noise), training.milestones(PER_EPOCH), []
    while not milestones.over(trainer.rounds, trainer.gradients):
        rounds.append(trainer.next_round().with_everybody())
    timing = simulate(training.settings(training.points[0]), rounds)
    (predicted,) = predict(training, LAYOUT, PER_EPOCH)
    assert predicted.rounds == len(rounds)
    assert predicted.bytes_up == pytest.approx(timing.sent_by_workers.sum(), rel=1e-12)
    assert predicted.sim_time_s == pytest.approx(timing.total, rel=0.02)


def test_the_wire_line_says_every_kind_and_from_which_round_on():
    one_bit = {"algorithm": "1-bit-adam", "warmup_rounds": 6, "optimizer": {"name": "adam"}}
    words = wire_format(training_of(one_bit, rounds=30), LAYOUT, PER_EPOCH).words
    assert words.startswith("dense, fp32 value, 1.36 kB; from round 7 on dense, 1-bit sign")
    assert "from round" not in wire_format(training_of(one_bit, rounds=6), LAYOUT, PER_EPOCH).words
    dgc = {"algorithm": "dgc", "density_warmup": [0.5, 0.25], "compressor": {"name": "random-k", "density": 0.1}}
    found = wire_format(training_of(dgc, epochs=5), LAYOUT, PER_EPOCH)
    assert "680 B" in found.words.partition("; from round 25 on ")[0] and "136 B" in found.words
    assert "(in 2 steps from round 13 on)" in found.words and found.nbytes == 136
