"""Whatever kind of module is handed over, it trains as in plain PyTorch, on one thread and on several."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from simgmc.core.errors import SimgmcError
from simgmc.training.saved_state import from_arrays, to_arrays
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.gradients import routes
from simgmc.workloads.losses.functions import OwnLoss
from tests.workloads import later_kinds
from tests.workloads.module_kinds import BATCH, KINDS, WORKERS, Of, built, chain, data, difference

SETTINGS = {"factor": 2.0}
LATER_KINDS = later_kinds.NAMES
OF_A_COPYS_OWN = [name for name in LATER_KINDS if not name.startswith("counts in its class")]
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
    "batch norm never in training mode": "loop", "copied as itself": "loop",
}  # fmt: skip
"""Which kinds prove themselves; the others go the plain way."""
REFUSED = {
    "synchronised batch norm": "1 is SyncBatchNorm", "lazy layers": "0.weight is not made yet, its layer is lazy",
    "parameter made in forward": "parameter scale is made in forward",
    "complex parameter": "parameter filter is complex64: only real numbers",
    "parameters in the same memory": "parameters u and v lie in the same memory",
    "copies that share their parameters": "0.inner.weight is not copied by copy.deepcopy",
    "generator on itself": "holds the generator <genexpr>, which cannot be copied",
    "parameter replaced in forward": "parameter head.weight is replaced in forward",
    "computed from a parameter": "twice was computed from parameters when the model was made",
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
    "name",
    [
        "counter of python",
        "buffer replaced in forward",
        "teacher that follows",
        "kept on itself",
        "views of a buffer",
        "remembers all sorts of things",
        *OF_A_COPYS_OWN,
    ],
)
def test_all_that_a_pass_has_changed_goes_back_with_a_state(name):
    """Of whichever part it is an attribute, and whenever it was changed: a resumed training goes on with it."""
    kind, _ = KINDS[name]

    def made():
        return ClassificationWorkload(
            built(name), data(kind), np.array_split(np.arange(90), WORKERS), batch=BATCH, seed=3
        )

    work, undisturbed, anew = made(), made(), made()
    at = work.initial_parameters()[None]

    def passes(work):
        gradients = [work.gradients(at * (1 + 0.01 * step), step)[0] for step in range(6, 12)]
        return torch.stack([*gradients, torch.full_like(gradients[0], work.evaluate(at[0]).loss)])

    for step in range(6):
        work.gradients(at.clone(), step)
        undisturbed.gradients(at.clone(), step)
        work.load_state_dict(work.state_dict())
    state = work.state_dict()
    expected = passes(undisturbed)
    work.load_state_dict(state)
    assert torch.equal(passes(work), expected)
    try:
        arrays, plain = to_arrays(state)
    except TypeError:  # functions: an interrupted training begins again
        assert any(word in name for word in ("hook", "forward"))
        return
    anew.load_state_dict(from_arrays(dict(arrays), plain))
    assert torch.equal(passes(anew), expected)


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


@pytest.mark.parametrize(
    "name",
    ["adapters merged in evaluation mode", "layers fused in evaluation mode", "batch norm never in training mode"],
)
def test_what_evaluation_mode_changes_is_changed_at_the_point_that_is_evaluated(name):
    samples, module = data("features"), built(name)
    work = ClassificationWorkload(built(name), samples, [range(90)], batch=8, seed=1)
    at = work.initial_parameters()
    for step in range(3):
        at = at - 0.3 * work.gradient(0, at, step)[0]
    nn.utils.vector_to_parameters(at, [one for one in module.parameters() if one.requires_grad])
    state = {key: one.clone() for key, one in module.state_dict().items()}
    with torch.no_grad():
        right = F.cross_entropy(module.eval()(torch.tensor(samples.test_images)), torch.tensor(samples.test_labels))
    assert work.evaluate(at).loss == pytest.approx(right.item(), rel=1e-5)
    kept = work.model_state(at)  # which another model takes over before it is put into evaluation mode
    assert all(torch.allclose(kept[key], one, atol=1e-6) for key, one in state.items())


def test_what_parameters_of_its_own_leaves_out_is_not_trained_and_said():
    class Head(nn.Sequential):
        def parameters(self, recurse=True):
            return self[1].parameters(recurse)

    work = ClassificationWorkload(
        Head(nn.Linear(20, 4), nn.Linear(4, 3)), data("features"), [range(90)], batch=4, seed=1
    )
    assert work.layout.names == ("1.weight", "1.bias")
    assert work.notes == ["parameters() of Head leaves out 0.weight, 0.bias: not trained"]


GLOBAL = chain()


def of_a_global(output, target):
    return F.cross_entropy(output, target) + 0.1 * GLOBAL[0].weight.square().sum()


class OfAnAttribute:
    def __init__(self, part):
        self.part = part

    def __call__(self, output, target):
        return F.cross_entropy(output, target) + 0.1 * self.part.weight.square().sum()


@pytest.mark.parametrize(
    ("model", "loss", "way"),
    [
        (GLOBAL, of_a_global, "GLOBAL of "),
        (GLOBAL, OfAnAttribute(GLOBAL[0]), r"it.part\)"),
        (GLOBAL, lambda output, target, weight=GLOBAL[0].weight: output.mean() + weight.mean(), "it's defaults"),
        (nn.Sequential(GLOBAL, nn.ReLU()), of_a_global, "GLOBAL of "),
    ],
)
def test_a_loss_that_reaches_the_model_itself_is_refused_as_workers_train_copies(model, loss, way):
    with pytest.raises(SimgmcError, match=rf"workload.loss: reaches the model itself \({way}.*as a tuple or dict"):
        ClassificationWorkload(model, data("features"), [range(90)], batch=4, seed=1, loss=OwnLoss(loss, "own"))


def test_a_loss_may_share_with_the_model_what_is_not_trained():
    act, teacher = nn.ReLU(), nn.Linear(20, 3).requires_grad_(False)
    model = Of(lambda self, x: self.act(self.head(x)), head=nn.Linear(20, 3), act=act, teacher=teacher)
    loss = OwnLoss(lambda output, target: F.cross_entropy(act(output), target) + teacher.weight.mean(), "own")
    ClassificationWorkload(model, data("features"), [range(90)], batch=4, seed=1, loss=loss)


def _proofs(monkeypatch):
    """How often modules are looked at."""
    made, reference = [], routes.reference
    monkeypatch.setattr(routes, "reference", lambda *given: made.append(1) or reference(*given))
    return made


def test_what_is_proven_once_serves_every_seed_of_a_run_and_nothing_else(monkeypatch):
    made = _proofs(monkeypatch)

    def work(model, seed=1, owned=(range(45), range(45, 90)), threads=2, **how):
        return ClassificationWorkload(model, data("features"), owned, batch=5, seed=seed, threads=threads, **how)

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
    if name.endswith(("bounds a parameter on a later minibatch", "data on a later minibatch")):
        largest = 0.0  # of a point that all workers share, the next worker sees what the one before has changed
    assert largest < 2e-5
    assert route == ("loop" if "branch" in name or "view" in name or "strides" in name else "plain")
