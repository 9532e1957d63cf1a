"""Learning-rate schedules: closed forms of their factors, and what stretching does to them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgmc.training.schedules import LearningRateSchedule

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
