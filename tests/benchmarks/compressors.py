"""What compressors and wire formats cost, side by side in one run.

    python tests/benchmarks/compressors.py                   # all three tables, ten minutes
    python tests/benchmarks/compressors.py --sizes 272474    # one size, seconds
    python tests/benchmarks/compressors.py --tables cost --device cuda

cost: milliseconds for 8 stacked vectors against a loop over the 8; the stacked form must
never be slower. wire: gigabytes of the uncompressed vector encoded and decoded per second,
against a plain memory copy of it. bits: size per component against the entropy.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from simgmc.compression import build
from simgmc.compression.rows import POOL
from simgmc.compression.wire.indices import INDEX_FORMATS, size
from simgmc.core.layout import Layout
from simgmc.core.randomness import Randomness

WORKERS = 8
COMPRESSORS = {
    "top-k 1 %, exact": ("top-k", {"density": 0.01}),
    "top-k 0.1 %, exact": ("top-k", {"density": 0.001}),
    "top-k 1 %, sampled": ("sampled-top-k", {"density": 0.01}),
    "top-k 1 %, sampled and corrected": ("sampled-top-k", {"density": 0.01, "sampling": "strided", "correct": True}),
    "random-k 1 %, shared seed": ("random-k", {"density": 0.01}),
    "RBGS 1 %": ("rbgs", {"density": 0.01}),
    "scaled sign": ("sign", {}),
    "QSGD 8 bits": ("qsgd", {"levels": 127}),
    "QSGD 8 bits, buckets of 512": ("qsgd", {"levels": 127, "bucket": 512}),
    "TernGrad": ("ternary", {}),
    "low rank 2": ("low-rank", {"rank": 2}),
}
TARGETS = {("top-k 1 %, exact", 272_474): 6, ("top-k 1 %, exact", 5_000_000): 90, ("top-k 1 %, exact", 25_000_000): 500}
"""Milliseconds for 8 stacked vectors on two cores."""

WIRES = {
    "dense fp32": ("identity", {}),
    "dense fp16": ("identity", {"values": "fp16"}),
    "dense bf16": ("identity", {"values": "bf16"}),
    "1 %, 32-bit index": ("top-k", {"density": 0.01}),
    "1 %, log2 index": ("top-k", {"density": 0.01, "indices": "log2"}),
    "1 %, Elias-gamma gaps": ("top-k", {"density": 0.01, "indices": "delta-gamma"}),
    "1 %, Elias-delta gaps": ("top-k", {"density": 0.01, "indices": "delta-delta"}),
    "1 %, Golomb-Rice gaps": ("top-k", {"density": 0.01, "indices": "golomb-rice"}),
    "1 %, bitmap": ("top-k", {"density": 0.01, "indices": "bitmap"}),
    "1 %, shortest index": ("top-k", {"density": 0.01, "indices": "auto"}),
    "sign": ("sign", {}),
    "trits": ("ternary", {}),
    "8-bit levels": ("qsgd", {"levels": 127}),
    "5-bit levels": ("qsgd", {"levels": 15}),
    "QSGD 16 levels, sparse omega": ("qsgd", {"levels": 16, "coding": "elias-sparse"}),
    "QSGD 16 levels, dense omega": ("qsgd", {"levels": 16, "coding": "elias-dense"}),
}


def median_ms(task: Callable[[], object], repeats: int, cuda: bool = False) -> float:
    """Median wall-clock milliseconds, after one warm-up."""
    task()
    times = []
    for _ in range(repeats):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        task()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def square(d: int) -> Layout:
    """One nearly square matrix of about d values, and a vector of the rest."""
    side = math.isqrt(d)
    return Layout(("matrix", "rest"), ((side, d // side), (d - side * (d // side),)))


def vectors(d: int, rows: int) -> torch.Tensor:
    draws = np.random.default_rng(0)
    return torch.from_numpy(np.stack([draws.standard_normal(d, dtype=np.float32) for _ in range(rows)]))


def cost(sizes: list[int], repeats: int, device: str) -> None:
    random = Randomness(1, 0, 0, range(WORKERS))
    for d in sizes:
        stacked = vectors(d, WORKERS).to(device)
        print(f"\n{WORKERS} vectors of d = {d:,}, {device}, milliseconds")
        print(f"{'':34} {'stacked':>9} {'loop':>9} {'ratio':>6}  target")
        for label, (name, parameters) in COMPRESSORS.items():
            compress = build(name, square(d), **parameters)

            def loop() -> None:
                for row in range(WORKERS):
                    compress(stacked[row], random)

            # Alternating, so that other load on the machine falls on both alike.
            together, apart = [], []
            for _ in range(repeats):
                together.append(median_ms(lambda: compress(stacked, random), 1, device == "cuda"))
                apart.append(median_ms(loop, 1, device == "cuda"))
            ours, loops = statistics.median(together), statistics.median(apart)
            target = TARGETS.get((label, d)) if device == "cpu" else None
            verdict = "" if target is None else f"{target} ms: {'met' if ours <= target else 'MISSED'}"
            print(f"{label:34} {ours:9.2f} {loops:9.2f} {ours / loops:6.2f}  {verdict}", flush=True)


def wire(sizes: list[int], repeats: int) -> None:
    random = Randomness(1, 0, 0, [0])
    for d in sizes:
        vector = vectors(d, 1)[0]
        source, target = vector.numpy(), np.empty(d, np.float32)
        copy = median_ms(lambda: np.copyto(target, source), 3 * repeats)
        speed = lambda ms: 4 * d / ms / 1e6
        print(f"\nd = {d:,}: GB/s of the fp32 vector; a memory copy makes {speed(copy):.1f}")
        print(f"{'':30} {'bits/coord':>10} {'size':>8} {'encode':>8} {'decode':>8}")
        for label, (name, parameters) in WIRES.items():
            message = build(name, **parameters)(vector, random)
            payload = message.encode()
            encode = median_ms(message.encode, repeats)
            decode = median_ms(lambda: message.decode([payload]), repeats)
            # A fresh message each time: sizes are kept once computed.
            fresh = [message.decode([payload]) for _ in range(repeats + 1)]
            sizing = median_ms(lambda: fresh.pop().nbytes, repeats)
            bits = 8 * len(payload) / d
            quick = f"{speed(sizing):8.2f}" if sizing > 0.05 else f"{'at once':>8}"
            print(f"{label:30} {bits:10.3f} {quick} {speed(encode):8.2f} {speed(decode):8.2f}", flush=True)


def entropy(k: int, d: int) -> float:
    """Bits of a uniformly random set of k of d coordinates."""
    return (math.lgamma(d + 1) - math.lgamma(k + 1) - math.lgamma(d - k + 1)) / math.log(2)


def bits(sizes: list[int]) -> None:
    print("\nbits per index (random coordinates), against the entropy of the set")
    print(f"{'d':>12} {'density':>8} {'entropy':>8} " + " ".join(f"{format:>11}" for format in INDEX_FORMATS))
    for d in sizes:
        for density in (0.0001, 0.001, 0.002, 0.01, 0.1, 0.5):
            k = int(density * d)
            indices = np.sort(np.random.default_rng(0).choice(d, k, replace=False, shuffle=False))
            each = [8 * size(format, indices, d) / k for format in INDEX_FORMATS]
            print(
                f"{d:12,} {density:8} {entropy(k, d) / k:8.2f} " + " ".join(f"{one:11.2f}" for one in each), flush=True
            )
    codings = ("fixed", "elias-dense", "elias-sparse", "auto")
    print("\nbits per coordinate of QSGD levels of a Gaussian vector (2-norm), against the entropy of the levels")
    print(f"{'d':>12} {'levels':>8} {'entropy':>8} " + " ".join(f"{coding:>13}" for coding in codings))
    for d in sizes:
        vector = vectors(d, 1)
        for levels in (1, 4, 16, 64, 256, math.isqrt(d)):
            messages = [
                build("qsgd", levels=levels, coding=coding)(vector, Randomness(1, 0, 0, [0])) for coding in codings
            ]
            counts = np.unique(messages[0].values.symbols.numpy(), return_counts=True)[1] / d
            bound = -(counts * np.log2(counts)).sum()
            each = [8 * message.nbytes[0] / d for message in messages]
            print(f"{d:12,} {levels:8} {bound:8.3f} " + " ".join(f"{one:13.3f}" for one in each), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[272_474, 5_000_000, 25_000_000])
    parser.add_argument("--tables", nargs="+", choices=("cost", "wire", "bits"), default=["cost", "wire", "bits"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="pool of threads for the rows (default: all cores)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="for the cost table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.threads:
        POOL.threads = arguments.threads
    if "cost" in arguments.tables:
        cost(arguments.sizes, arguments.repeats, arguments.device)
    if "wire" in arguments.tables:
        wire(arguments.sizes, arguments.repeats)
    if "bits" in arguments.tables:
        bits(arguments.sizes)


if __name__ == "__main__":
    main()
