"""The same program, one generator for each worker with (d,) state, against the stacked run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from simgmc.algorithms import ALGORITHMS, Algorithm, effects
from simgmc.algorithms.optimizers import LAMB, Adam, AdamW, Muon
from simgmc.algorithms.worker import Worker
from simgmc.compression import build
from simgmc.mixing import gossip_graph, mixing
from tests.algorithms.noisy_quadratic import Quadratic
from tests.algorithms.trajectories import WEIGHT_DECAY, difference, run, varying

WORKLOAD = Quadratic(shapes=((6, 6), (4,)))
LAYOUT, K, D = WORKLOAD.layout, WORKLOAD.workers, WORKLOAD.d
ROUNDS = 16

TOP = build("top-k", count=5)
BLOCK = build("rbgs", count=5)
QUANTISED = build("qsgd", levels=4)  # draws of each worker's own
EXEMPT = build("top-k", LAYOUT, density=0.2, exempt_vectors=True)
CONTRACTIVE = build("qsgd", levels=4, contractive=True)

CASES: list[tuple[str, dict[str, Any]]] = [
    ("sgd", {}),
    ("dmsgd", {}),
    ("dmsgd", {"momentum_at": "global"}),
    ("sngm", {}),
    ("lars", {}),
    ("lars", {"exempt_vectors": False, "trust_coefficient": 0.1}),
    ("gmc", {"compressor": TOP}),
    ("gmc", {"compressor": build("random-k", count=5, seed="own"), "momentum_lr": "current"}),
    ("gmc+", {"compressor": BLOCK}),
    ("gmc-server-momentum", {"compressor": TOP}),
    ("gmc-server-momentum", {"compressor": BLOCK, "broadcast": "update"}),
    ("gmc-scaled-residual", {"compressor": TOP}),
    ("dgc", {"compressor": EXEMPT}),
    ("dgc", {"compressor": TOP, "nesterov": True, "clip_norm": 5.0, "weight_decay_at": "aggregate"}),
    ("ef-sgdm", {"compressor": BLOCK}),
    ("saef", {"compressor": BLOCK, "average_residual_every": 3}),
    ("def", {"compressor": BLOCK}),
    ("def-a", {"compressor": TOP}),
    ("ef-signsgd", {}),
    ("ef-sgdm", {"compressor": BLOCK, "optimizer": AdamW(decay_vectors=True)}),
    ("ef", {"compressor": TOP, "optimizer": Adam(amsgrad=True, decay_vectors=True)}),
    ("ef21", {"compressor": TOP, "local_momentum": 0.5, "optimizer": Adam(decay_vectors=True)}),
    ("1-bit-adam", {"warmup_rounds": 4}),
    ("0-1-adam", {"variance_scaler": 2, "local_steps_from": 5, "local_steps_double_every": 2}),
    ("data-parallel", {"optimizer": AdamW(decay_vectors=True)}),
    ("data-parallel", {"optimizer": LAMB(decay_vectors=True)}),
    ("data-parallel", {"optimizer": Muon(decay_vectors=True)}),
    ("doublesqueeze", {"compressor": TOP}),
    ("doublesqueeze", {"compressor": CONTRACTIVE}),
    ("cser", {"compressor": BLOCK, "error_compressor": TOP, "period": 4}),
    ("m-cser", {"compressor": TOP, "error_compressor": BLOCK, "period": 4}),
    ("m-cser", {"error_compressor": TOP, "period": 1, "nesterov": True}),
    ("m-cser", {"compressor": BLOCK, "error_compressor": BLOCK, "period": 4, "variant": "block"}),
    ("qsgd", {"compressor": QUANTISED}),
    ("qsgd", {"compressor": QUANTISED, "requantise": True}),
    ("terngrad", {}),
    ("terngrad", {"share_scale": False}),
    ("signsgd", {}),
    ("signum", {"decoupled_weight_decay": False}),
    ("powersgd", {"rank": 1}),
    ("powersgd", {"rank": 2, "residual": "own", "warm_start": False}),
    ("local-sgd", {}),
    ("local-sgd", {"optimizer": AdamW(decay_vectors=True)}),
    ("pr-sgd-momentum", {"optimizer": Muon(decay_vectors=True)}),
    ("post-local-sgd", {"period": 3, "start_epoch": 1.0}),
    ("pr-sgd-momentum", {}),
    ("pr-sgd-momentum", {"momentum_sync": "reset"}),
    (
        "qsparse-local-sgd",
        {"compressor": build("composed", sparsify={"name": "top-k", "count": 5}, quantise={"name": "qsgd"})},
    ),
    ("quantized-pr-sgd", {"compressor": QUANTISED}),
    ("quantized-pr-sgd", {"compressor": QUANTISED, "requantise": True}),
    ("overlap-local-sgd", {}),
    ("slowmo", {"period": 3, "momentum_sync": "average"}),
    ("diloco", {"period": 3}),
    ("d-psgd", {}),
    ("d-psgd", {"optimizer": AdamW(decay_vectors=True)}),
    ("d-psgd", {"order": "atc"}),
    ("dmsgd-gossip", {}),
    ("dmsgd-gossip", {"order": "cta", "nesterov": True}),
    ("pd-sgdm", {"period": 3}),
    ("decentlam", {}),
    ("qg-dsgdm", {"nesterov": True}),
    ("sgp", {}),
    ("sgp", {"momentum": 0.0, "nesterov": False}),
    ("choco-sgd", {"compressor": TOP}),
    ("choco-sgd", {"compressor": QUANTISED, "order": "hat_new", "copies_start": "initial", "local_momentum": 0.5}),
    ("cpd-sgdm", {"compressor": build("sign"), "period": 3}),
    ("dcd-psgd", {"compressor": QUANTISED}),
    ("ecd-psgd", {"compressor": QUANTISED}),
    ("lead", {"compressor": QUANTISED}),
    ("quantized-pr-sgd-gossip", {"compressor": QUANTISED}),
    ("quantized-pr-sgd-gossip", {"compressor": QUANTISED, "steps_from": "mixed"}),
]

STAR = mixing(gossip_graph("star", K))
MIXINGS = {
    "none": None,
    "doubly-stochastic": mixing(gossip_graph("one-peer-exponential", K)),
    "symmetric": STAR,
    "push-sum": mixing(gossip_graph("star", K), "push-sum"),
}


class PerWorker:
    """Runs K programs side by side; answers an effect when all have asked for it."""

    def __init__(self, algorithm: Algorithm):
        self.algorithm = algorithm
        self.workers = [Worker(WORKLOAD.initial_parameters(), LAYOUT, 0, [k], K) for k in range(K)]
        for worker in self.workers:
            algorithm.start(worker)
        self.rounds = self.gradients = 0
        self.previous_lr: float | None = None

    def run_round(self) -> None:
        epoch = self.gradients / WORKLOAD.batches_per_epoch
        lr = varying(epoch)
        for worker in self.workers:
            previous = lr if self.previous_lr is None else self.previous_lr
            worker.begin(self.rounds, epoch, lr, previous, WEIGHT_DECAY)
        programs = [self.algorithm.round(worker) for worker in self.workers]
        answers: list[Any] = [None] * K
        running = True
        while running:
            asked, ended = [], 0
            for program, answer in zip(programs, answers):
                try:
                    asked.append(program.send(answer))
                except StopIteration:
                    ended += 1
            assert ended in (0, K), "all workers ask for the same"
            running = not ended
            if running:
                answers = self.perform(asked)
        self.rounds, self.previous_lr = self.rounds + 1, self.workers[0].lr

    def perform(self, asked: list[Any]) -> list[Any]:
        kind = type(asked[0])
        assert all(type(effect) is kind for effect in asked)
        if kind is effects.Gradient:
            points = torch.stack([effect.at for effect in asked])
            assert points.shape == (K, D)
            for worker in self.workers:
                worker.lr = varying(self.gradients / WORKLOAD.batches_per_epoch)
            gradients = WORKLOAD.gradients(points, self.gradients)[0]
            self.gradients += 1
            return list(gradients + WEIGHT_DECAY * points if asked[0].weight_decay else gradients)
        if kind is effects.Average:
            mean = self.mean([effect.message for effect in asked])
            return [self.back(worker, effect.reply, mean) for worker, effect in zip(self.workers, asked)]
        if kind is effects.Mix:
            return self.mix([effect.message for effect in asked])
        if kind is effects.Start:
            messages = [effect.effect.message for effect in asked]
            return self.mix(messages) if isinstance(asked[0].effect, effects.Mix) else [self.mean(messages)] * K
        if kind is effects.Wait:
            return [effect.handle for effect in asked]
        assert kind is effects.Maximum
        # A number travels as a vector does, which the stacked run counts as a call.
        self.mean([effect.numbers for effect in asked])
        return [torch.stack([effect.numbers for effect in asked]).amax(0)] * K

    def mean(self, messages: list[Any]) -> Tensor:
        """(d,): added in rank order; for a majority vote the sign of the sum, plus at a tie."""
        rows = [self.dense(worker, message) for worker, message in zip(self.workers, messages)]
        total = sum(rows)
        if getattr(getattr(messages[0], "values", None), "vote", False):
            return torch.where(total >= 0, 1.0, -1.0).to(total)
        return total / K

    def mix(self, messages: list[Any]) -> list[Tensor]:
        """Row k of W @ messages for worker k, added in rank order."""
        rows = [self.dense(worker, message) for worker, message in zip(self.workers, messages)]
        weights = MIXINGS[self.algorithm.mixing].weights(self.rounds)
        return [sum(float(weights[k, j]) * rows[j] for j in range(K) if weights[k, j]) for k in range(K)]

    def back(self, worker: Worker, reply: Any, mean: Tensor) -> Tensor:
        return mean if reply is None else self.dense(worker, reply(mean))

    @staticmethod
    def dense(worker: Worker, content: Any) -> Tensor:
        if isinstance(content, Tensor):
            worker.randomness()  # the stacked run draws for a dense message too
            return content
        return content.dense()


def test_every_algorithm_that_can_run_stacked_is_among_the_cases():
    assert {name for name, _ in CASES} == {name for name, cls in ALGORITHMS.items() if not cls.asynchronous}


@pytest.mark.parametrize("name, parameters", CASES, ids=[f"{i} {name}" for i, (name, _) in enumerate(CASES)])
def test_a_method_knows_how_many_gradients_its_rounds_take(name, parameters):
    algorithm = ALGORITHMS[name](**parameters)
    trained = run(algorithm, rounds=ROUNDS, workload=WORKLOAD, mixing=MIXINGS[algorithm.mixing])
    for rounds in (0, 1, ROUNDS // 2, ROUNDS):
        computed = sum(len(one.gradients) for one in trained.rounds[:rounds])
        assert algorithm.gradients(rounds, WORKLOAD.batches_per_epoch) == computed


@pytest.mark.parametrize("name, parameters", CASES, ids=[f"{i} {name}" for i, (name, _) in enumerate(CASES)])
def test_a_program_of_one_worker_is_the_stacked_program(identity, name, parameters):
    algorithm = ALGORITHMS[name](**parameters)
    stacked = run(algorithm, rounds=ROUNDS, workload=WORKLOAD, mixing=MIXINGS[algorithm.mixing])
    alone = PerWorker(algorithm)
    error = 0.0
    for t in range(ROUNDS):
        alone.run_round()
        expected = stacked.rounds[t + 1].state if t + 1 < ROUNDS else stacked.end
        for key in expected:
            for k, worker in enumerate(alone.workers):
                own = getattr(worker, key)
                if isinstance(own, Tensor):
                    assert own.shape == (expected[key].shape[-1],), (key, own.shape)
                    error = max(error, difference(own, expected[key].expand(K, -1)[k]))
                else:
                    assert own == expected[key]
    identity("    one generator a worker, (d,) state = stacked run, all state", error)
    points = torch.stack([algorithm.model(worker) for worker in alone.workers])
    identity("    the same: point evaluated", difference(points.mean(0), stacked.trainer.model()))
