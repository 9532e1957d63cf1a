"""Gradients in bfloat16 and TF32 beside those in float32."""

import numpy as np
import pytest
import torch

from simgmc.core.errors import SimgmcError
from simgmc.workloads.classification import ClassificationWorkload
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.gradients.precision import PRECISIONS, kernels
from simgmc.workloads.models.catalogue import build_model
from simgmc.workloads.partitions.catalogue import partition

WORKERS, BATCH, CLASSES, SHAPE = 4, 8, 10, (3, 16, 16)
MODELS = {
    "mlp": ("mlp", {"hidden": [24]}),
    "cnn": ("cnn", {}),
    "resnet20-BN": ("resnet20", {}),
    "resnet20-GN": ("resnet20", {"norm": "group"}),
    "vit": ("vit", {"depth": 2, "dim": 32, "heads": 4}),
}


def make(case, precision, **options):
    name, own = MODELS[case]
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (160, *SHAPE), dtype=np.uint8), rng.integers(0, CLASSES, 160)
    data = Dataset("random", images, labels, images[:40], labels[:40], CLASSES, np.full(3, 120.0), np.full(3, 60.0))
    model = build_model(name, SHAPE, CLASSES, seed=1, **own)
    owned = partition("iid", labels, WORKERS, 0)
    return ClassificationWorkload(model, data, owned, batch=BATCH, seed=3, precision=precision, **options)


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("case", MODELS)
def test_a_bfloat16_gradient_is_float32_near_the_float32_one_and_not_it(case):
    single, half = make(case, "float32"), make(case, "bfloat16")
    at = single.initial_parameters()[None]
    (expected, losses), (ours, own) = single.gradients(at, 0), half.gradients(at, 0)
    assert ours.dtype == own.dtype == torch.float32
    # 2^-9 a rounding, through batch norm of few samples twenty times; a mistake (a lost layer, a wrong scale) is of
    # order 1
    assert 1e-4 < relative(ours, expected) < (0.4 if case == "resnet20-BN" else 0.15)
    assert relative(own, losses) < 0.02


@pytest.mark.parametrize("case", ["mlp", "resnet20-BN", "vit"])
def test_bfloat16_gives_the_same_bits_on_any_number_of_threads_and_alone(case):
    results = []
    for threads in (1, 2, 4):
        workload = make(case, "bfloat16", threads=threads)
        at = workload.initial_parameters().repeat(WORKERS, 1)
        results.append(workload.gradients(at, 1)[0])
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
    assert torch.equal(workload.gradient(2, at[2], 1)[0], results[0][2])


def test_evaluation_has_the_same_bits_in_every_precision():
    single, half = make("resnet20-GN", "float32"), make("resnet20-GN", "bfloat16")
    assert single.evaluate(single.initial_parameters()) == half.evaluate(half.initial_parameters())


def test_tf32_is_refused_where_there_is_none():
    with pytest.raises(SimgmcError, match="precision = 'tf32': a cpu device has none; choose 'float32' or 'bfloat16'"):
        make("mlp", "tf32")
    with pytest.raises(SimgmcError, match="unknown; valid: float32, tf32, bfloat16"):
        make("mlp", "float16")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_cuda_kernels_are_deterministic_and_coarse_only_where_asked_for(precision):
    def flags():
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        return cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32

    before, coarse = flags(), precision == "tf32"
    with kernels(precision, torch.device("cuda")):
        assert flags() == (False, True, coarse, coarse)
    with pytest.raises(KeyError), kernels(precision, torch.device("cuda")):
        raise KeyError
    assert flags() == before


@pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch has the older settings alone"
)
@pytest.mark.parametrize("setting", ["matmul", "convolutions", "everything"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_newer_settings_of_someone_else_neither_count_nor_are_lost(setting, precision):
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    operations = (matmul, cudnn.conv, cudnn.rnn)
    place = {"matmul": matmul, "convolutions": cudnn.conv, "everything": torch.backends}[setting]
    found = place.fp32_precision
    place.fp32_precision = "tf32"
    try:
        before = [one.fp32_precision for one in operations]
        with kernels(precision, torch.device("cuda")):
            assert {one.fp32_precision for one in operations} == {"tf32" if precision == "tf32" else "ieee"}
            assert cudnn.allow_tf32 == matmul.allow_tf32 == (precision == "tf32")
        assert [one.fp32_precision for one in operations] == before
    finally:
        place.fp32_precision = found
