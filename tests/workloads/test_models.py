"""Registered models: published parameter counts, seeded initial parameters, clear refusals."""

import pytest
import torch

from simgmc.core.errors import SimgmcError
from simgmc.workloads.models.architectures import ARCHITECTURES
from simgmc.workloads.models.catalogue import MODELS, build_model, check_model
from simgmc.workloads.models.transformer import DropPath


def count(model):
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def samples(name):
    """Samples that the model takes."""
    return ((16,), True) if MODELS[name].takes == "tokens" else ((3, 32, 32), False)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("shortcut", "published"), [("A", 269_722), ("B", 272_474)])
def test_resnet20_has_the_published_number_of_parameters(norm, shortcut, published):
    model = build_model("resnet20", (3, 32, 32), 10, 0, norm=norm, shortcut=shortcut)
    assert count(model) == published
    assert sum(isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)) for m in model.modules()) == (
        20 if shortcut == "A" else 22
    )


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("shortcut", "published"), [("A", 853_018), ("B", 855_770)])
def test_resnet56_has_the_published_number_of_parameters(norm, shortcut, published):
    # 0.85 M in He et al. 2016, table 6
    assert count(build_model("resnet56", (3, 32, 32), 10, 0, norm=norm, shortcut=shortcut)) == published


@pytest.mark.parametrize(("norm", "published"), [("batch", 9_231_114), ("none", 9_225_610)])
def test_vgg11_for_cifar_has_its_well_known_number_of_parameters(norm, published):
    # configuration A's convolutions have 9,220,480 (Simonyan and Zisserman 2015: 133 M with the hidden
    # linear layers for 224x224 images), one linear layer 5,130, batch norm 5,504
    assert count(build_model("vgg11", (3, 32, 32), 10, 0, norm=norm)) == published


@pytest.mark.parametrize(("parts", "published"), [({}, 2.8e6), ({"spt": True, "lsa": True}, 2.9e6)])
def test_vit_has_the_number_of_parameters_of_its_paper(parts, published):
    # Lee et al. 2021, table 2: ViT and SL-ViT on Tiny-ImageNet, 64x64, patches of 8
    model = build_model("vit", (3, 64, 64), 200, 0, depth=9, patch=8, **parts)
    assert round(count(model), -5) == published


def test_vit_with_four_blocks():
    block = 3 * 192**2 + (192**2 + 192) + 2 * (2 * 192) + (192 * 384 + 384) + (384 * 192 + 192)
    around = (48 * 192 + 192) + 192 + 65 * 192 + 2 * 192 + (192 * 10 + 10)
    assert count(build_model("vit", (3, 32, 32), 10, 0)) == 4 * block + around == 1_210_186


def test_stochastic_depth_skips_a_branch_for_whole_samples_and_keeps_the_mean():
    drop, ones = DropPath(0.25), torch.ones(4000, 3, 2)
    torch.manual_seed(0)
    found = drop(ones)
    kept = found[:, 0, 0] > 0
    assert torch.equal(found, torch.where(kept, 1 / 0.75, 0.0)[:, None, None].expand_as(found))
    assert abs(kept.double().mean() - 0.75) < 0.03
    assert torch.equal(drop.eval()(ones), ones)


def test_stochastic_depth_of_the_vit_adds_no_parameters_and_nothing_to_evaluation():
    plain, dropping = (build_model("vit", (3, 32, 32), 10, 0, drop_path=share) for share in (0.0, 0.1))
    assert count(dropping) == count(plain)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain.eval()(x), dropping.eval()(x))
    torch.manual_seed(1)
    assert not torch.equal(plain.train()(x), dropping.train()(x))


def test_gpt_has_the_number_of_parameters_of_gpt2_and_of_the_small_character_model():
    with torch.device("meta"):
        gpt2 = ARCHITECTURES["gpt"]((1024,), 50257, dim=768, depth=12, heads=12, bias=True, dropout=0.0)
    assert count(gpt2) == 124_439_808
    # nanoGPT's model for Tiny Shakespeare: 10.65 M without the 256 x 384 positions
    small = build_model("gpt", (256,), 65, 0, True, depth=6, dim=384, heads=6)
    assert count(small) - 256 * 384 == 10_646_784


def test_lstm_has_the_number_of_parameters_of_federated_shakespeare():
    # Reddi et al. 2021, table 2: 820,522 with 86 characters and 4 special tokens
    assert count(build_model("lstm", (80,), 90, 0, True)) == 820_522


def test_resnet20_default_is_batch_norm_with_1x1_convolution_shortcuts():
    assert check_model("resnet20", (3, 32, 32)) == {"norm": "batch", "shortcut": "B", "groups": 8}


def test_parameters_of_the_small_models_in_closed_form():
    assert count(build_model("logistic", (1, 8, 8), 10, 0)) == 64 * 10 + 10
    assert count(build_model("mlp", (1, 28, 28), 10, 0, hidden=[256])) == 784 * 256 + 256 + 2570
    convolutions = 9 * (3 * 16 + 16 * 32) + 2 * (16 + 32)
    assert count(build_model("cnn", (3, 32, 32), 10, 0)) == convolutions + 32 * 8 * 8 * 10 + 10


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.takes != "anything"])
def test_initial_parameters_depend_on_the_seed_alone(name):
    def parameters(seed):
        return torch.cat(
            [p.flatten() for p in build_model(name, samples(name)[0], 10, seed, samples(name)[1]).parameters()]
        )

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = parameters(0)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, parameters(0))
    assert not torch.equal(first, parameters(1))


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.takes != "anything"])
def test_every_model_maps_a_batch_to_one_logit_per_class(name):
    shape, tokens = samples(name)
    x = torch.zeros(2, *shape, dtype=torch.int64 if tokens else torch.float32)
    assert build_model(name, shape, 7, 0, tokens)(x).shape == ((2, 16, 7) if tokens else (2, 7))


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("resnet-2o", (3, 32, 32), {}, 'unknown model "resnet-2o"; known: logistic'),
        ("resnet20", (3, 32, 32), {"norm": "layer"}, 'one of "batch", "group"'),
        ("resnet20", (3, 32, 32), {"norm": "group", "groups": 3}, "must divide"),
        ("resnet20", (64,), {}, "needs images"),
        ("vgg11", (3, 28, 28), {}, "5 poolings need images of at least 32 pixels"),
        ("vit", (3, 30, 32), {}, "patch = 4 must divide"),
        ("vit", (3, 32, 32), {"heads": 5}, "heads = 5 must divide dim = 192"),
        ("vit", (3, 32, 32), {"spt": 1}, "true or false"),
        ("vit", (3, 32, 32), {"dim": 15_360, "depth": 100}, "at most 1,000,000,000"),
        ("cnn", (1, 3, 3), {}, "at least 4 pixels"),
        ("cnn", (1, 8, 8), {"channels": [12]}, "must divide"),
        ("cnn", (1, 8, 8), {"channels": 16}, "list of whole numbers"),
        ("mlp", (64,), {"hidden": [0]}, "each at least 1"),
        ("mlp", (64,), {"hiden": [8]}, 'did you mean "hidden"'),
    ],
)
def test_wrong_models_are_refused(name, shape, options, message):
    with pytest.raises(SimgmcError, match=message):
        check_model(name, shape, **options)
