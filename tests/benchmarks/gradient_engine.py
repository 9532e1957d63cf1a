"""What does one stacked gradient call cost, beside the passes it replaces?

    python tests/benchmarks/gradient_engine.py [--device cpu|cuda] [--precision float32|tf32|bfloat16]
                                               [--repeats 15] [--models ...]

Eight workers with minibatches of 16, against

    plain   one pass over the 128 samples, mean gradient only (what training one model costs)
    loop    one pass per worker, gradients copied into the (8, d) matrix
    vmap    torch.func.vmap over per-worker gradients

each of them in contiguous and in channels-last memory, with all usable cores as intra-op
threads (on the CPU). All variants take turns in one process; medians are compared, and the
quickest repetition is shown beside them, since other programs can only make it slower. On CUDA
the plain pass and the loop also run captured in a CUDA graph, and "eager streams" is the
engine's way for models that cannot be captured. The stacked call includes taking the minibatches
from the data; the others start from a batch that is ready. All variants compute in the same precision.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time

import numpy as np
import torch

from simgmc.core.processes.cores import usable_cores
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.gradients import routes
from simgmc.workloads.gradients.precision import PRECISIONS, autocast
from simgmc.workloads.losses.functions import CrossEntropy
from simgmc.workloads.models.catalogue import build_model
from simgmc.workloads.partitions.catalogue import partition

WORKERS, BATCH, CLASSES = 8, 16, 10
MODELS = {
    "mlp": ("mlp", (1, 28, 28), {"hidden": [256]}),
    "cnn-28": ("cnn", (1, 28, 28), {}),
    "cnn-32": ("cnn", (3, 32, 32), {}),
    "resnet20-GN": ("resnet20", (3, 32, 32), {"norm": "group"}),
    "resnet20-BN": ("resnet20", (3, 32, 32), {"norm": "batch"}),
    "vit-4": ("vit", (3, 32, 32), {"depth": 4}),
}


def random_data(shape) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1280, *shape), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, len(images))
    scale = np.full(shape[0], 64.0)
    return Dataset("random", images, labels, images, labels, CLASSES, 2 * scale, scale)


class PlainPasses:
    """The passes that the stacked call is compared with, on a batch that is ready."""

    def __init__(self, model, x, y, memory_format, precision):
        self.coarse = lambda: autocast(precision, x.device)
        self.model = copy.deepcopy(model).to(x.device, memory_format=memory_format).train()
        self.x, self.y = x.contiguous(memory_format=memory_format), y
        self.parameters = list(self.model.parameters())
        sizes = [p.numel() for p in self.parameters]
        self.out = torch.zeros(WORKERS, sum(sizes), device=x.device)
        self.rows = [
            [part.view(p.shape) for part, p in zip(row.split(sizes), self.parameters, strict=True)] for row in self.out
        ]

    def plain(self):
        for parameter in self.parameters:
            parameter.grad = None
        with self.coarse():
            loss = CrossEntropy()(self.model(self.x), self.y)
        loss.backward()

    def loop(self):
        for rows, x, y in zip(self.rows, self.x.split(BATCH), self.y.split(BATCH), strict=True):
            with self.coarse():
                loss = CrossEntropy()(self.model(x), y)
            torch._foreach_copy_(rows, torch.autograd.grad(loss, self.parameters))

    def vmap(self):
        model = self.model
        if any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()):
            model = torch.func.replace_all_batch_norm_modules_(copy.deepcopy(model))
        parameters = {name: p.detach() for name, p in model.named_parameters()}

        def loss(parameters, x, y):
            return CrossEntropy()(torch.func.functional_call(model, parameters, (x,)), y)

        gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0), randomness="error")
        x, y = self.x.unflatten(0, (WORKERS, BATCH)), self.y.view(WORKERS, BATCH)

        def run():
            rows = gradient(parameters, x, y).values()
            torch.cat([row.flatten(1) for row in rows], 1, out=self.out)

        return run


def graphed(function):
    """The same work, captured in a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def measure(variants, threads, repeats, device):
    """Seconds of every repetition of every variant, taken in turns."""
    seconds = {name: [] for name in variants}
    for repetition in range(repeats + 2):
        for name, function in variants.items():
            time.sleep(0.02)  # idle OpenMP threads of the variant before go on spinning for a while
            torch.set_num_threads(threads[name])
            if device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            function()
            if device == "cuda":
                torch.cuda.synchronize()
            if repetition >= 2:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def variants_of(name, device, cores, precision):
    kind, shape, options = MODELS[name]
    model = build_model(kind, shape, CLASSES, seed=0, **options)
    data = random_data(shape)
    owned = partition("iid", data.train_labels, WORKERS, 0)

    def workload(**how):
        return ClassificationWorkload(
            model, data, owned, batch=BATCH, seed=0, device=device, precision=precision, **how
        )

    steps = iter(range(10**9))
    stacked = workload()
    shared = stacked.initial_parameters()[None]
    separate = shared.repeat(WORKERS, 1)
    variants = {
        "simgmc, shared point": lambda: stacked.gradients(shared, next(steps)),
        "simgmc, a point each": lambda: stacked.gradients(separate, next(steps)),
    }
    if device == "cuda":
        streams = workload(route="cuda streams")
        variants["eager streams"] = lambda: streams.gradients(shared, next(steps))
    ours = set(variants)
    x = torch.randn(WORKERS * BATCH, *shape, device=device)
    y = torch.randint(CLASSES, (WORKERS * BATCH,), device=device)
    for label, memory_format in (
        ("contiguous", torch.contiguous_format),
        ("channels-last", torch.channels_last),
    ):
        if kind == "mlp" and memory_format is torch.channels_last:
            continue
        passes = PlainPasses(model, x, y, memory_format, precision)
        variants[f"plain, {label}"] = passes.plain
        variants[f"loop, {label}"] = passes.loop
        if precision != "bfloat16":  # of convolutions under autocast vmap has no backward pass
            variants[f"vmap, {label}"] = passes.vmap()
        if device == "cuda":
            torch.cuda.synchronize()
            variants[f"plain graph, {label}"] = graphed(passes.plain)
            variants[f"loop graph, {label}"] = graphed(passes.loop)
    threads = {variant: 1 if variant in ours else cores for variant in variants}
    route = stacked.route + (f" ({'; '.join(stacked.reasons)})" if stacked.reasons else "")
    return variants, threads, f"{name}: d = {stacked.d:,}, route {route}"


def proof_cost(name, device, precision):
    """CPU seconds of the proof of a route, and of one round of plain passes: every worker's gradient.

    The proof is what a first workload of its kind takes at its start beyond a second one, which has its verdict.
    """
    kind, shape, options = MODELS[name]
    model, data = build_model(kind, shape, CLASSES, seed=0, **options), random_data(shape)
    owned = partition("iid", data.train_labels, WORKERS, 0)

    def seconds(task):
        start = time.process_time()
        result = task()
        return time.process_time() - start, result

    def workload(**how):
        return ClassificationWorkload(
            model, data, owned, batch=BATCH, seed=0, device=device, precision=precision, threads=1, **how
        )

    proofs = []
    for _ in range(3):
        routes._VERDICTS.clear()
        (first, _), (second, _) = seconds(workload), seconds(workload)
        proofs.append(first - second)
    plain = workload(route="plain")
    at = plain.initial_parameters()[None]
    return min(proofs), min(seconds(lambda step=step: plain.gradients(at, step))[0] for step in range(5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = (
        arguments.precision == "tf32"
    )  # as in the engine
    cores = usable_cores()
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else platform.processor()
    print(f"torch {torch.__version__}, {arguments.device} {where}, {cores} cores, {arguments.precision}")
    print(f"{WORKERS} workers x {BATCH}; times relative to the plain pass in its best memory format")
    for name in arguments.models:
        variants, threads, title = variants_of(name, arguments.device, cores, arguments.precision)
        seconds = measure(variants, threads, arguments.repeats, arguments.device)
        medians = {variant: statistics.median(times) for variant, times in seconds.items()}
        quickest = {variant: min(times) for variant, times in seconds.items()}
        floors = [
            min(value for variant, value in summary.items() if variant.startswith("plain,"))
            for summary in (medians, quickest)
        ]
        print(f"\n{title}\n{'':28}{'median ms':>10} {'ratio':>6} {'best ms':>9} {'ratio':>6}")
        for variant in medians:
            print(
                f"  {variant:26}{1e3 * medians[variant]:10.2f} {medians[variant] / floors[0]:6.2f} "
                f"{1e3 * quickest[variant]:9.2f} {quickest[variant] / floors[1]:6.2f}"
            )
        proof, plain = proof_cost(name, arguments.device, arguments.precision)
        print(
            f"  proof at start {1e3 * proof:.0f} ms of CPU, {proof / plain:.2f} of the {1e3 * plain:.0f} ms that plain "
            "passes of all workers take"
        )


if __name__ == "__main__":
    main()
