"""Learning-rate schedules: closed forms of their factors, and what stretching does to them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as sched

from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.code import Code, look_in
from simgmc.training.schedules import LearningRateSchedule, Phase

EPOCHS = 12.0


def test_cosine_is_constant_within_an_epoch_and_ends_near_zero():
    cosine = LearningRateSchedule("cosine")
    assert [cosine.factor(e, EPOCHS) for e in (0, 0.9, 6, 6.5)] == pytest.approx([1, 1, 0.5, 0.5])
    assert cosine.factor(11.9, EPOCHS) == pytest.approx((1 + math.cos(math.pi * 11 / 12)) / 2)


def test_polynomial_falls_from_one_to_zero_with_the_stated_power():
    linear, square = (
        LearningRateSchedule("polynomial", per="round"),
        LearningRateSchedule("polynomial", power=2.0, per="round"),
    )
    assert [linear.factor(e, EPOCHS) for e in (0, 3, 6, 12)] == pytest.approx([1, 0.75, 0.5, 0])
    assert [square.factor(e, EPOCHS) for e in (0, 3, 6, 12)] == pytest.approx([1, 0.5625, 0.25, 0])
    assert square.factor(12.5, EPOCHS) == 0  # a last round may begin past the end


def test_polynomial_per_epoch_takes_whole_epochs():
    assert LearningRateSchedule("polynomial").factor(3.7, EPOCHS) == pytest.approx(0.75)


@given(
    kind=st.sampled_from(("constant", "cosine", "multi-step", "polynomial")),
    times=st.sampled_from((0.5, 2.0, 3.0)),
    at=st.floats(0, 1, exclude_max=True),
)
def test_a_stretched_schedule_has_the_same_rate_at_the_same_share_of_training(kind, times, at):
    milestones = (6.0, 9.0) if kind == "multi-step" else ()
    schedule = LearningRateSchedule(kind, milestones, power=1.5, per="round", warmup_epochs=2.0)
    longer = schedule.stretched(times)
    assert longer.factor(times * at * EPOCHS, times * EPOCHS) == pytest.approx(schedule.factor(at * EPOCHS, EPOCHS))


def test_a_stretched_schedule_still_steps_by_whole_epochs():
    longer = LearningRateSchedule("multi-step", (3.0,)).stretched(1.5)
    assert [longer.factor(e, 18.0) for e in (4.0, 4.9, 5.0)] == [1.0, 1.0, 0.1]


# any composition, by step


STEPS, PER_EPOCH = 40, 8.0


def by_step(schedule, base=0.3):
    """The rates of all steps."""
    return [base * schedule.factor(step / PER_EPOCH, STEPS / PER_EPOCH, PER_EPOCH) for step in range(STEPS)]


def by_torch(make, base=0.3):
    """The same by torch's schedulers, stepped after every step of an optimizer."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler, found = make(optimizer), []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


WARMUP = Phase("linear", start=0.2, end=1.0, steps=10)
OF_TORCH = {
    "cosine with a floor": (
        LearningRateSchedule("cosine", per="round", floor=0.1),
        lambda o: sched.CosineAnnealingLR(o, STEPS, eta_min=0.03),
    ),
    "polynomial": (
        LearningRateSchedule("polynomial", per="round", power=2.0),
        lambda o: sched.PolynomialLR(o, STEPS, power=2.0),
    ),
    "multi-step": (
        LearningRateSchedule("multi-step", (1.0, 3.0), gamma=0.3),
        lambda o: sched.MultiStepLR(o, [8, 24], gamma=0.3),
    ),
    "warm-up, then a cosine": (
        LearningRateSchedule("phases", phases=(WARMUP, Phase("cosine", end=0.1))),
        lambda o: sched.SequentialLR(
            o, [sched.LinearLR(o, 0.2, 1.0, 10), sched.CosineAnnealingLR(o, 30, eta_min=0.03)], [10]
        ),
    ),
    "warm-up, stable, decay": (
        LearningRateSchedule("phases", phases=(WARMUP, Phase("constant"), Phase("linear", end=0.1, share=0.25))),
        lambda o: sched.SequentialLR(
            o, [sched.LinearLR(o, 0.2, 1.0, 10), sched.ConstantLR(o, 1.0), sched.LinearLR(o, 1.0, 0.1, 10)], [10, 30]
        ),
    ),
    "constant, then in steps": (
        LearningRateSchedule(
            "phases", phases=(Phase("constant", epochs=1.0), Phase("multi-step", milestones=(1.0, 2.0), gamma=0.5))
        ),
        lambda o: sched.MultiStepLR(o, [16, 24], gamma=0.5),
    ),
}


@pytest.mark.parametrize("name", OF_TORCH)
def test_a_schedule_is_that_of_torch_step_by_step(name):
    ours, theirs = OF_TORCH[name]
    assert by_step(ours) == pytest.approx(by_torch(theirs), abs=1e-12)


def test_wsd_is_constant_and_then_falls_linearly_to_its_floor():
    rates = by_step(LearningRateSchedule("wsd", warmup_steps=5, warmup_from=0.0, decay_share=0.5, floor=0.2), 1.0)
    assert rates[:6] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert rates[6:21] == pytest.approx([1.0] * 15)
    assert rates[20:] == pytest.approx([0.2 + 0.8 * (40 - step) / 20 for step in range(20, 40)])


def test_the_square_root_decay_has_its_closed_form_and_stays_at_its_end():
    schedule = LearningRateSchedule("phases", phases=(Phase("1-sqrt", end=0.0, steps=16),))
    expected = [max(0.0, 1 - math.sqrt(step / 16)) if step < 16 else 0.0 for step in range(STEPS)]
    assert by_step(schedule, 1.0) == pytest.approx(expected)


@given(
    times=st.sampled_from((0.5, 2.0)),
    at=st.floats(0, 1, exclude_max=True),
    share=st.floats(0.05, 0.5),
    floor=st.floats(0, 1),
)
def test_stretched_phases_have_the_same_rate_at_the_same_share_of_training(times, at, share, floor):
    schedule = LearningRateSchedule(
        "phases",
        phases=(Phase("linear", start=0.0, end=1.0, epochs=2.0), Phase(), Phase("cosine", end=floor, share=share)),
    )
    longer = schedule.stretched(times)
    before = schedule.factor(at * EPOCHS, EPOCHS, 10.0)
    assert longer.factor(times * at * EPOCHS, times * EPOCHS, 10.0) == pytest.approx(before)
    assert 0 <= before <= 1


def test_a_schedule_of_ones_own_is_asked_for_every_step(tmp_path):
    (tmp_path / "my_rates.py").write_text("def halves(step, steps):\n    return 0.5 if step >= steps / 2 else 1\n")
    (tmp_path / "my_wrong_rates.py").write_text("def negative(step, steps):\n    return -1.0\n")
    look_in(Code(str(tmp_path)))
    assert by_step(LearningRateSchedule("import", function="my_rates:halves"), 1.0) == [1.0] * 20 + [0.5] * 20
    with pytest.raises(
        SimgmcError, match=r"schedule my_wrong_rates:negative: gives -1.0 at step 0 of 40: needs a number"
    ):
        by_step(LearningRateSchedule("import", function="my_wrong_rates:negative"))


@pytest.mark.parametrize("options, says", [
    ({"kind": "phases"}, "needs some"),
    ({"kind": "cosine", "phases": (Phase(),)}, "no other kind takes them"),
    ({"kind": "phases", "phases": (Phase(), Phase())}, "one of them at most can be without a length"),
    ({"kind": "phases", "phases": (Phase(),), "warmup_steps": 3}, "phase of its own"),
    ({"kind": "cosine", "warmup_steps": 3, "warmup_epochs": 1.0}, "stated in epochs already"),
    ({"kind": "import"}, "needs one"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(options, says):
    with pytest.raises(SimgmcError, match=says):
        LearningRateSchedule(**options)


def test_a_phase_has_one_length_and_an_end_only_where_it_moves():
    with pytest.raises(SimgmcError, match="one length"):
        Phase(epochs=1.0, steps=2)
    with pytest.raises(SimgmcError, match="no end of its own"):
        Phase("constant", end=0.5)
