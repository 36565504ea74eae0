"""The shipped recipes describe the published models."""

import json

import pytest

# Parameters, groups and latent dimensions of the authors' models, counted in their program.
PUBLISHED = {
    "mnist": (33_363_134, 15, 14_400),
    "cifar10": (130_852_480, 30, 153_600),
    "imagenet32": (268_509_444, 28, 143_360),
    "celeba64": (153_281_364, 35, 467_200),
    "celeba_hq256": (330_798_664, 36, 6_005_760),
    "ffhq256": (330_798_664, 36, 6_005_760),
}
OTHER = ("digits", "omniglot", "fashion_mnist")


def plan(cli, root, name, *argv):
    result = cli("train", f"--config={root / 'configs/nvae' / name}", "--dry_run", *argv)
    assert result.code == 0, result.err
    return json.loads(result.out)


# The other 256 x 256 recipe has the same network.
_LATER = [pytest.param("celeba_hq256", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", [n for n in PUBLISHED if n != "celeba_hq256"] + _LATER)
def test_published_sizes_to_the_last_parameter(cli, root, name):
    found = plan(cli, root, f"{name}.py")
    assert (found["parameters"], found["groups"], found["latent_dims"]) == PUBLISHED[name]
    assert found["total_steps"] == found["steps_per_epoch"] * found["epochs"]


@pytest.mark.slow
def test_cifar10_without_flow(cli, root):
    found = plan(cli, root, "cifar10.py", "--config.model.num_flows=0")
    assert found["parameters"] == 129_215_680


@pytest.mark.parametrize("name", [*PUBLISHED, *OTHER])
def test_every_recipe_has_a_version_for_a_laptop(cli, root, name):
    found = plan(cli, root, f"{name}.py:runlocal")
    assert found["parameters"] < 5e6
    assert found["memory_estimate_gib"] < 4
    assert found["total_steps"] <= 200


def test_memory_grows_with_batch_and_falls_with_half_precision(cli, root):
    def estimate(*argv):
        return plan(cli, root, "digits.py:runlocal", *argv)["memory_estimate_gib"]

    large = estimate("--config.data.batch_size=512")
    half = estimate("--config.data.batch_size=512", "--precision=mixed_bfloat16")
    assert estimate() < half < large < 8.1 * estimate()
