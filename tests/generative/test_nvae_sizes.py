"""The published recipes' sizes, from declarations alone: no variable is made."""

import numpy as np
import pytest
from scripts import recipe

from tfgen.errors import ConfigError
from tfgen.generative.nvae import NVAE
from tfgen.generative.nvae.architecture import groups_per_scale

# Config, what differs from it, groups (coarse to fine), parameters, convolutions, batch norms,
# latent variables, shape of the decoder's initial state, alpha per scale.
RECIPES = {
    "mnist": ("mnist", {}, [5, 10], 33_363_134, 255, 214, 14_400, (4, 4, 256), [1, 2]),
    "cifar10": ("cifar10", {}, [30], 130_852_480, 610, 364, 153_600, (16, 16, 256), [1]),
    "cifar10 without flow": (
        *("cifar10", {"num_flows": 0}, [30]),
        *(129_215_680, 430, 364, 153_600, (16, 16, 256), [1]),
    ),
    "imagenet32": ("imagenet32", {}, [28], 268_509_444, 570, 340, 143_360, (16, 16, 384), [1]),
    "celeba64": (
        *("celeba64", {}, [5, 10, 20]),
        *(153_281_364, 730, 436, 467_200, (8, 8, 512), [1, 2, 4]),
    ),
    "celeba_hq256": (
        *("celeba_hq256", {}, [4, 4, 4, 8, 16]),
        *(330_798_664, 986, 460, 6_005_760, (8, 8, 960), [1, 4, 16, 32, 64]),
    ),
    "ffhq256": (
        *("ffhq256", {}, [4, 4, 4, 8, 16]),
        *(330_798_664, 986, 460, 6_005_760, (8, 8, 960), [1, 4, 16, 32, 64]),
    ),
    "ffhq256, 24 channels": (
        *("ffhq256", {"num_channels": 24}, [4, 4, 4, 8, 16]),
        *(214_250_352, 986, 460, 6_005_760, (8, 8, 768), [1, 4, 16, 32, 64]),
    ),
}


def declared(root, config, changes):
    found = recipe(root / "configs" / "nvae" / f"{config}.py")
    options = {**found.model.to_dict(), **changes}
    assert options.pop("name") == "nvae"
    return NVAE(**options)


@pytest.mark.parametrize("name", RECIPES)
def test_published_recipe(root, name):
    config, changes, groups, parameters, convs, norms, latents, start, alpha = RECIPES[name]
    model = declared(root, config, changes)
    assert not model.bank.weights
    assert model.network.groups == groups
    assert model.bank.num_parameters == parameters
    assert model.bank.num_convs == convs
    assert model.bank.num_batch_norms == norms
    assert model.latent_dims == latents
    assert model.bank.free_shapes == {"prior_features": start}
    np.testing.assert_allclose(model.alpha, np.repeat(alpha, groups))


def test_named_parts_of_mnist(root):
    """Parameters by part, as published."""
    from tfgen.generative.nvae.official import named_parts

    model = declared(root, "mnist", {})
    totals = {}
    for name, part in named_parts(model.network):
        totals[name.split(".")[0]] = totals.get(name.split(".")[0], 0) + count(model.bank, part)
    assert totals == {
        "prior_ftr0": 4_096,
        "stem": 352,
        "pre_process": 478_812,
        "enc_tower": 19_222_864,
        "enc0": 66_048,
        "enc_sampler": 922_800,
        "dec_sampler": 93_280,
        "dec_tower": 12_373_288,
        "post_process": 201_304,
        "image_conditional": 290,
    }


def count(bank, part):
    if isinstance(part, str):
        return int(np.prod(bank.free_shapes[part]))
    if not hasattr(part, "stack"):
        return 2 * part.channels
    rows, filters = bank.stacks[part.stack].matrix_shape
    bias = 0 if part.bias_row is None else filters
    return filters * (rows + bank.stacks[part.stack].weight_norm) + bias


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((2, 10, True, 1), [5, 10]),
        ((5, 16, True, 4), [4, 4, 4, 8, 16]),
        ((3, 4, False, 1), [4, 4, 4]),
        ((4, 3, True, 1), [1, 1, 1, 3]),
        ((1, 1, True, 1), [1]),
    ],
)
def test_groups_per_scale(arguments, expected):
    assert groups_per_scale(*arguments) == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_shape": (28, 28)}, r"expected \(height, width, channels\)"),
        ({"image_shape": (30, 28, 1)}, "grid of 34x32, which must divide by 8"),
        ({"padding": 0}, "grid of 28x28, which must divide by 8"),
        ({"decoder": "gaussian"}, "bernoulli, logistic_mixture, normal"),
        ({"architecture": "res_mbconv9"}, "'res_mbconv9' is unknown; choose one of res_mbconv"),
        ({"kl_balance": "cubic"}, "square"),
        ({"edge": "sharp"}, "edge is 'sharp'; expected one of exact, nvae2020"),
        ({"num_groups": 0}, "num_groups is 0; expected at least 1"),
        ({"latent_channels": 0}, "latent_channels is 0; expected at least 1"),
        ({"num_flows": -1}, "num_flows is -1; expected at least 0"),
        ({"total_steps": 0}, "total_steps is 0; expected at least 1"),
        ({"postprocess_blocks": 1}, "preprocess_blocks is 2 and postprocess_blocks 1"),
    ],
)
def test_impossible_options(options, words):
    with pytest.raises(ConfigError, match=words):
        NVAE(**options)
