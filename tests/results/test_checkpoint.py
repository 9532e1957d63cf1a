import math
import os
import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from simgmc.core.errors import SimgmcError
from simgmc.results.directory import checkpoint
from simgmc.results.directory.checkpoint import Checkpoints, decoded, encoded

KEY = "GMC, seed 3"
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
DTYPES = st.sampled_from(["?", "i1", "<i8", ">i4", "u2", "<u8", "f2", "<f4", ">f4", "<f8", "<c8", "<c16"])
ARRAYS = st.dictionaries(
    st.text(),
    DTYPES.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, min_side=0, max_dims=3))),
    max_size=3,
)


def small(number=1):
    return {"x": np.arange(6, dtype=np.float32).reshape(2, 3) * number, "k": np.array(number)}, {"round": number}


def same(left, right):
    (a, p), (b, q) = left, right
    assert repr(p) == repr(q) and list(a) == list(b)
    for name in a:
        assert (a[name].dtype.str, a[name].shape, a[name].tobytes()) == (
            b[name].dtype.str,
            b[name].shape,
            b[name].tobytes(),
        )


def saved(directory, *numbers, **options):
    checkpoints = Checkpoints(directory, KEY, 0, **options)
    for number in numbers:
        checkpoints.save(*small(number))
    return checkpoints


@settings(deadline=None)
@given(ARRAYS, PLAIN)
def test_any_state_comes_back_with_the_same_bits(arrays, plain):
    content = b"".join(encoded(KEY, arrays, plain))
    found = decoded(BytesIO(content), KEY)
    same((arrays, plain), found)
    assert all(array.flags.writeable and array.flags.owndata or array.ndim == 0 for array in found[0].values())
    assert b"".join(encoded(KEY, *found)) == content


def test_reading_a_state_takes_the_memory_of_its_arrays_and_its_plain_value_alone_takes_none(tmp_path):
    size = 32_000_000
    saved(tmp_path).save({"x": np.ones(size // 8), "y": np.ones(size // 8)}, {"round": 1})
    most = []
    for arrays in (True, False):
        tracemalloc.start()
        found, plain = Checkpoints(tmp_path, KEY).load(arrays)
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert list(found) == (["x", "y"] if arrays else []) and plain == {"round": 1}
        del found
    assert most[0] < 2 * size + 4e6 and most[1] < 4e6


def test_arrays_that_are_not_contiguous_come_back_equal(tmp_path):
    whole = np.arange(24.0).reshape(4, 6)
    arrays = {"transposed": whole.T, "every other": whole[::2, ::3], "broadcast": np.broadcast_to(whole[0], (3, 6))}
    saved(tmp_path).save(arrays, None)
    found, _ = Checkpoints(tmp_path, KEY).load()
    assert all(np.array_equal(arrays[name], found[name]) for name in arrays)


@pytest.mark.parametrize("plain", [(1, 2), {1: "x"}, {"a": [{"b": {1}}]}, np.int64(1), b"x"])
def test_a_value_that_would_come_back_as_another_is_refused(tmp_path, plain):
    with pytest.raises(TypeError, match="plain"):
        saved(tmp_path).save({}, plain)


@pytest.mark.parametrize("array", [np.array(["x"]), np.array([None]), np.zeros(2, [("a", "f4")]), [1.0]])
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, array):
    with pytest.raises(TypeError, match="numpy arrays of numbers"):
        saved(tmp_path).save({"x": array}, None)


def test_every_truncation_is_noticed():
    content = b"".join(encoded(KEY, *small()))
    for length in range(len(content)):
        with pytest.raises(ValueError, match="^is (empty|cut short)"):
            decoded(BytesIO(content[:length]), KEY)


def test_every_flipped_byte_is_noticed():
    content = b"".join(encoded(KEY, *small()))
    for place in range(len(content)):
        with pytest.raises(ValueError, match="^is (cut short or damaged|not a checkpoint)"):
            decoded(BytesIO(content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :]), KEY)


def test_the_newest_state_is_loaded_and_the_one_before_is_kept(tmp_path):
    checkpoints = saved(tmp_path, 1, 2, 3)
    same(Checkpoints(tmp_path, KEY).load(), small(3))
    checkpoints.file.unlink()
    same(Checkpoints(tmp_path, KEY).load(), small(2))


DAMAGES = {
    "is empty": lambda content: b"",
    "is cut short": lambda content: content[:-1],
    "is not a checkpoint": lambda content: b"PK" + content,
    "is of another training, 'other'": lambda content: b"".join(encoded("other", *small())),
}


@pytest.mark.parametrize("problem", DAMAGES)
def test_a_file_that_cannot_be_used_is_named_and_the_one_before_is_taken(tmp_path, problem):
    file = saved(tmp_path, 1, 2).file
    file.write_bytes(DAMAGES[problem](file.read_bytes()))
    heard = []
    same(Checkpoints(tmp_path, KEY, warn=heard.append).load(), small(1))
    assert (
        len(heard) == 1
        and str(file) in heard[0]
        and problem in heard[0]
        and "the checkpoint before it is used" in heard[0]
    )


def test_where_neither_can_be_used_that_is_said_and_nothing_is_loaded(tmp_path):
    checkpoints = saved(tmp_path, 1, 2)
    checkpoints.file.write_bytes(b"")
    checkpoints.before.write_bytes(b"x" * 300)
    heard = []
    assert Checkpoints(tmp_path, KEY, warn=heard.append).load() is None
    assert [
        str(file) in text and "starts anew" in text
        for file, text in zip((checkpoints.file, checkpoints.before), heard, strict=True)
    ] == [True, True]


def test_a_file_of_a_later_format_is_named_by_its_number(tmp_path, monkeypatch):
    file = saved(tmp_path, 1).file
    monkeypatch.setattr(checkpoint, "_VERSION", checkpoint._VERSION + 1)
    saved(tmp_path, 2)
    monkeypatch.undo()
    heard = []
    assert (
        Checkpoints(tmp_path, KEY, warn=heard.append).load() is None
        and f"has format {checkpoint._VERSION + 1}" in heard[0]
        and str(file) in heard[0]
    )


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("loaded", [True, False])
def test_a_write_that_fails_leaves_a_state_that_can_be_loaded(tmp_path, monkeypatch, failing, loaded):
    checkpoints = saved(tmp_path, 1, 2)
    if loaded:
        checkpoints = Checkpoints(tmp_path, KEY, 0)
        checkpoints.load()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(
        SimgmcError, match=r"GMC, seed 3\.state: No space left on device; what was saved before is kept"
    ):
        checkpoints.save(*small(3))
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.partial"))
    same(Checkpoints(tmp_path, KEY).load(), small(2))


@pytest.mark.parametrize("damaged", [False, True])
def test_a_kill_between_any_two_steps_of_writing_leaves_the_last_or_the_new_state(tmp_path, monkeypatch, damaged):
    """Also where the newest file was damaged before, so that only the one before it is good."""
    steps = []
    for stop in range(10):
        directory = tmp_path / str(stop)
        checkpoints = saved(directory, 1, 2)
        if damaged:
            checkpoints.file.write_bytes(b"x")
        checkpoints = Checkpoints(directory, KEY, 0)
        checkpoints.load()
        count = iter(range(100))

        def killed(step, count=count, stop=stop):
            def run(*arguments):
                if next(count) == stop:
                    raise KeyboardInterrupt
                return step(*arguments)

            return run

        with monkeypatch.context() as patch:
            for name in ("fsync", "replace"):
                patch.setattr(os, name, killed(getattr(os, name)))
            try:
                checkpoints.save(*small(3))
                steps.append("whole")
            except KeyboardInterrupt:
                steps.append("killed")
        _, plain = Checkpoints(directory, KEY).load()
        assert plain["round"] in ([3] if steps[-1] == "whole" else [1 if damaged else 2, 3])
    assert steps.count("killed") >= 3 and steps[-1] == "whole"


def test_removing_leaves_other_trainings_and_then_no_directory(tmp_path):
    checkpoints, other = saved(tmp_path / "checkpoint", 1, 2), Checkpoints(tmp_path / "checkpoint", "other")
    other.save(*small())
    checkpoints.remove()
    assert checkpoints.load() is None
    same(other.load(), small())
    other.remove()
    assert not (tmp_path / "checkpoint").exists()
    other.remove()


def test_long_and_odd_keys_are_kept_apart(tmp_path):
    keys = ["µ" * 300 + end for end in "ab"] + ["../x", "a/b", "a\0b", "CON", "."]
    for number, key in enumerate(keys):
        Checkpoints(tmp_path / "c", key).save({}, number)
    assert [Checkpoints(tmp_path / "c", key).load()[1] for key in keys] == list(range(len(keys)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]


def test_when_a_checkpoint_is_due_depends_on_the_time_since_the_last_and_on_what_it_took(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path, KEY, every=60.0)
    assert not checkpoints.due()
    now[0] += 60
    assert checkpoints.due()
    now[0] += 3  # collecting the state, a slow disk
    checkpoints.save(*small())
    assert checkpoints.interval == pytest.approx(3 / 0.02)
    now[0] += 149
    assert not checkpoints.due()
    now[0] += 2
    assert checkpoints.due()
    checkpoints.save(*small())
    assert checkpoints.interval == 60.0


def test_zero_seconds_mean_always_and_infinitely_many_never(tmp_path):
    always, never = Checkpoints(tmp_path, KEY, every=0), Checkpoints(tmp_path, KEY, every=math.inf)
    always.save(*small())
    assert always.due() and not never.due()
    with pytest.raises(SimgmcError, match="at least 0"):
        Checkpoints(tmp_path, KEY, every=-1)
