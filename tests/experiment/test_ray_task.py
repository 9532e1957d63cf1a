"""A task of a Ray cluster, by itself: what it tells, what it is told, what it gives back."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

from simgmc.experiment.assembly import Given
from simgmc.experiment.engines.processes import handed_over
from simgmc.experiment.engines.ray_task import Board, Shared, train
from simgmc.experiment.engines.recipe import Recipe
from tests import small_runs


class Judge:
    def __init__(self):
        self.heard = []

    def hears(self, number, state):
        self.heard.append(state.round)
        return "it is the worst" if state.round >= 3 else None


class NearBoard:
    """A board whose answers are there at once; it asks to stop after so many messages."""

    def __init__(self, judge=None, stops_after=None):
        self.board, self.told, self.stops_after = Board(judge), [], stops_after
        self.tell = SimpleNamespace(remote=self._tell)

    def _tell(self, message):
        self.told.append(message[0])
        if len(self.told) == self.stops_after:
            self.board.stop()
        answer = Future()
        answer.set_result(self.board.tell(message))
        return SimpleNamespace(future=lambda: answer)


def shared(judged=False):
    """Of a sweep whose directory the task does not see."""
    settings = [("workload.rounds", 6), ("workload.evaluate_every", "1 rounds")]
    file = small_runs.scenario(*settings).only(["DMSGD"])
    recipe = Recipe(file, file.resolved(), "cpu", None, 1, Given(), 1e9)
    return Shared(f"sweep {judged}", handed_over(recipe), {}, judged, "cpu", ("/nowhere", "/nowhere/.lock", 0))


def test_a_task_that_is_asked_to_stop_gives_back_its_state_and_goes_on_from_it_elsewhere():
    of, stopped = shared(), NearBoard(stops_after=4)
    left = train(of, stopped, 0, (0,), {}, [])
    assert left.stopped and left.saved and "ended" not in stopped.told
    again, whole = NearBoard(), NearBoard()
    rest = train(of, again, 0, (0,), left.saved, [])
    assert "resumed" in again.told and again.told.count("evaluated") == 7  # those that were saved are told again
    assert rest.files == train(of, whole, 0, (0,), {}, []).files and "scenario.toml" in rest.files
    assert "resumed" not in whole.told and not rest.stopped and not rest.saved


def test_the_judge_is_heard_after_every_evaluation_and_the_end_is_told_before_the_result_is_there():
    judge = Judge()
    board = NearBoard(judge)
    left = train(shared(judged=True), board, 0, (0,), {}, [])
    assert judge.heard == [0, 1, 2, 3] and board.told[-1] == "ended"
    assert b"given up by the search" in left.files["breakdown.csv"]
