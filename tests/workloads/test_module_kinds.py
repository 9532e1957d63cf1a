"""Whatever kind of module is handed over, it trains as in plain PyTorch, on one thread and on several."""

import pytest
import torch
from torch import nn

from simgmc.core.errors import SimgmcError
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.gradients import routes
from tests.workloads import later_kinds
from tests.workloads.module_kinds import KINDS, built, data, difference

SETTINGS = {"factor": 2.0}
LATER_KINDS = later_kinds.NAMES
FAST = {
    "plain chain": "split", "flatten inside a chain": "loop", "view after convolutions": "loop",
    "convolutions and batch norm": "loop", "channels last by the user": "loop", "complex buffer": "loop",
    "frozen backbone in evaluation mode": "loop", "group norm and residual": "loop", "whole number buffer": "loop",
    "one buffer of two layers": "loop", "tied weights": "loop", "lora": "loop", "unused head": "loop",
    "adapters on a frozen int8 base": "loop", "adapters on a frozen half precision base": "loop",
    "checkpointing": "loop", "recurrent layers": "loop", "attention of torch": "loop",
    "handed over in evaluation mode": "loop",
    "parameters in a closure": "loop",
    "parent by weak reference": "loop", "sparse gradients": "loop",
}  # fmt: skip
"""Which kinds prove themselves; the others go the plain way."""
REFUSED = {
    "synchronised batch norm": "1 is SyncBatchNorm", "lazy layers": "0.weight is not made yet, its layer is lazy",
    "parameter made in forward": "parameter scale is made in forward",
    "complex parameter": "parameter filter is complex64: only real numbers",
    "parameters in the same memory": "parameters u and v lie in the same memory",
    "gives a dict": r"made of a batch of shape .* dict; needed are logits of shape",
}  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", [name for name in KINDS if name not in REFUSED and name not in LATER_KINDS])
def test_every_kind_trains_as_in_plain_torch(name, threads):
    route, largest = difference(name, steps=6, threads=threads)
    assert largest < 2e-5
    assert route == FAST.get(name, "plain")


@pytest.mark.parametrize(("name", "words"), REFUSED.items())
def test_what_cannot_be_done_is_refused_in_one_line(name, words):
    with pytest.raises(SimgmcError, match=words):
        difference(name)


@pytest.mark.parametrize(
    "name", ["dropout", "layers dropped by numpy", "layers dropped by python", "counter of python"]
)
def test_the_same_seed_gives_the_same_bytes_on_one_and_two_threads(name):
    def results(threads):
        torch.rand(3)  # whatever was drawn before
        work = ClassificationWorkload(
            built(name), data("features"), [range(45), range(45, 90)], batch=4, seed=1, threads=threads
        )
        at = work.initial_parameters()[None]
        for step in range(5):
            at = at - 0.1 * work.gradients(at, step)[0].mean(0, keepdim=True)
        return at, work.evaluate(at[0]).loss

    first, *others = (results(threads) for threads in (1, 2, 1))
    assert all(torch.equal(first[0], at) and first[1] == loss for at, loss in others)


@pytest.mark.parametrize(
    "name", ["counter of python", "buffer replaced in forward", "teacher that follows", "kept on itself"]
)
def test_a_state_outside_buffers_goes_back_with_them(name):
    def made():
        return ClassificationWorkload(built(name), data("features"), [range(45), range(45, 90)], batch=4, seed=1)

    work, anew = made(), made()
    at = work.initial_parameters()[None]
    work.gradients(at, 0)
    state = work.state_dict()
    expected = work.gradients(at, 1)[0]
    anew.load_state_dict(state)
    assert torch.equal(anew.gradients(at, 1)[0], expected)
    work.load_state_dict(state)
    assert torch.equal(work.gradients(at, 1)[0], expected)


def test_why_the_plain_way_is_taken_is_said_and_parameters_without_a_gradient_are_named():
    model = nn.Sequential(nn.Linear(20, 3))
    model[0].register_forward_hook(lambda module, given, out: out)
    owned = [range(90)]
    assert ClassificationWorkload(model, data("features"), owned, batch=4, seed=1).reasons == [
        "forward hook on layer 0"
    ]
    work = ClassificationWorkload(built("unused head"), data("features"), owned, batch=4, seed=1)
    assert work.notes == [
        "no gradient reaches b.weight, b.bias on the first minibatch: without one neither momentum nor weight decay "
        "moves them"
    ]


def _proofs(monkeypatch):
    """How often modules are looked at."""
    made, reference = [], routes.reference
    monkeypatch.setattr(routes, "reference", lambda *given: made.append(1) or reference(*given))
    return made


def test_what_is_proven_once_serves_every_seed_of_a_run_and_nothing_else(monkeypatch):
    made = _proofs(monkeypatch)

    def work(model, seed=1, owned=(range(45), range(45, 90)), **how):
        return ClassificationWorkload(model, data("features"), owned, batch=5, seed=seed, **how)

    def chain(width=17, bias=True):
        return nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Linear(width, 3, bias=bias))

    first, again = work(chain()), work(chain(), seed=2)
    assert len(made) == 1 and (first.route, first.flops) == (again.route, again.flops) == ("split", first.flops)
    hooked, frozen, patched, partly = (chain() for _ in range(4))
    hooked[0].register_forward_hook(lambda module, given, out: 2 * out)
    frozen[0].requires_grad_(False)
    patched[2].forward = patched[2].forward
    partly[1].eval()
    others = [
        lambda: work(chain(18)), lambda: work(chain(bias=False)), lambda: work(hooked), lambda: work(frozen),
        lambda: work(patched), lambda: work(chain(), threads=1), lambda: work(chain(), owned=[range(90)]),
        lambda: work(partly), lambda: work(chain(), route="loop"),
    ]  # fmt: skip
    for number, other in enumerate(others):
        other()
        assert len(made) == number + 2
    assert work(hooked).route == "plain"


def test_what_a_models_code_reads_at_module_level_is_part_of_what_was_proven(monkeypatch):
    made = _proofs(monkeypatch)

    class Switched(nn.Sequential):
        def forward(self, x):
            return super().forward(x) * SETTINGS["factor"]

    def work():
        return ClassificationWorkload(Switched(nn.Linear(20, 3)), data("features"), [range(90)], batch=5, seed=1)

    work(), work()
    assert len(made) == 1
    monkeypatch.setitem(SETTINGS, "factor", 3.0)
    work()
    assert len(made) == 2


@pytest.mark.parametrize("name", LATER_KINDS)
def test_what_happens_on_a_later_minibatch_alone_is_found_in_the_code(name):
    """No minibatch that a route is proven on shows it: numbers alone would have let it pass."""
    route, largest = difference(name, steps=8)
    assert largest < 2e-5
    assert route == ("loop" if "branch" in name or "view" in name or "strides" in name else "plain")
