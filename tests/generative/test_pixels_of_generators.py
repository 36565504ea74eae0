"""What pixels may be, asked at every door of a generator."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_nvae import tiny_nvae
from tiny_vaebm import ENERGY

from tfgen.errors import DataError
from tfgen.generative.ncp import NCPVAE
from tfgen.generative.ncp.holes import find_holes
from tfgen.generative.ncp.likelihood import evaluate_refined_likelihood
from tfgen.generative.ncp.selection import HeldOutSelection
from tfgen.generative.vaebm import VAEBM
from tfgen.generative.vaebm.inpainting import inpaint
from tfgen.runs import detection, evaluation

LEVELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
SEEDS = tf.range(4)


@pytest.fixture(scope="module")
def nvae():
    model = tiny_nvae(num_scales=1, num_groups=1, decoder="normal")
    model.build()
    return model


@pytest.fixture(scope="module")
def ncp():
    vae = tiny_nvae(num_scales=1, num_groups=1, decoder="normal")
    model = NCPVAE(vae, width=8, num_cells=1, num_proposals=3, chunk_size=16)
    model.build()
    return model


@pytest.fixture(scope="module")
def vaebm():
    vae = tiny_nvae(num_scales=1, num_groups=1, decoder="normal")
    model = VAEBM(vae, energy=ENERGY, num_steps=2, sample_steps=2)
    model.build()
    return model


def sets(images):
    return tf.data.Dataset.from_tensor_slices({"image": images}).batch(2)


# What a model answers about images, as numbers.
DOORS = {
    "nvae": {
        "call": lambda m, x: m(x),
        "encode": lambda m, x: m.encode(x)["z_0"],
        "reconstruct": lambda m, x: m.reconstruct(x),
        "negative_elbo": lambda m, x: m.negative_elbo(x, SEEDS)["nelbo"],
        "log_weights": lambda m, x: m.log_weights(x, SEEDS),
        "kl_per_group": lambda m, x: m.kl_per_group(x, SEEDS),
        "kl_per_channel": lambda m, x: m.kl_per_channel(x, SEEDS),
        "resample": lambda m, x: m.resample(x, SEEDS, 1),
        "interpolate": lambda m, x: m.interpolate(x, x, 3),
        "encoder_features": lambda m, x: m.encoder_features(x)[-1],
        "frozen": lambda m, x: m.frozen().negative_elbo(x, SEEDS)["nelbo"],
        "detection": lambda m, x: detection.scores(m, x)["nelbo"],
        "rates": lambda m, x: evaluation.rates(m, [{"images": x}], 4)["kl_per_group"],
    },
    "ncp": {
        "negative_elbo": lambda m, x: m.negative_elbo(x, SEEDS)["nelbo"],
        "log_weights": lambda m, x: m.log_weights(x, SEEDS),
        "reconstruct": lambda m, x: m.reconstruct(x),
        "likelihoods": lambda m, x: evaluate_refined_likelihood(m, [x], 1, 3)["nll_base"],
        "holes": lambda m, x: find_holes(m, [(x, None)], num_proposals=50)["gain"],
    },
    "vaebm": {
        "call": lambda m, x: m(x),
        "energy_of": lambda m, x: m.energy_of(x),
        "ood_score": lambda m, x: m.ood_score(x, SEEDS),
        "negative_elbo": lambda m, x: m.negative_elbo(x, SEEDS)["nelbo"],
        "log_weights": lambda m, x: m.log_weights(x, SEEDS),
        "detection": lambda m, x: detection.scores(m, x)["score"],
    },
}
CASES = [(system, door) for system, doors in DOORS.items() for door in doors]


@pytest.mark.parametrize(("system", "door"), CASES)
def test_scaled_or_refused(system, door, request):
    model = request.getfixturevalue(system)
    ask = DOORS[system][door]
    expected = ask(model, (LEVELS / 255).astype(np.float32))
    np.testing.assert_allclose(ask(model, LEVELS), expected, rtol=1e-3, atol=1e-4)
    for wrong, message in (
        (LEVELS.astype(np.float32), "divide by 255"),
        (LEVELS / 127.5 - 1, r"\(x \+ 1\) / 2"),
        (np.where(LEVELS[3, 4, 4, 0] == LEVELS, np.nan, LEVELS / 255), "NaN or infinite"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            ask(model, wrong)
        assert door == "call" or "\n" not in str(caught.value)  # Keras adds to what calls raise


def test_hidden_pixels_may_be_anything(vaebm):
    images = (LEVELS / 255).astype(np.float32)
    mask = np.ones((8, 8, 1))
    mask[:4] = 0
    hidden = np.where(mask == 0, np.nan, images)
    found = inpaint(vaebm, hidden, mask, SEEDS, num_steps=2)
    np.testing.assert_allclose(found[:, 4:], images[:, 4:], atol=1e-6)
    with pytest.raises(DataError, match="divide by 255"):
        inpaint(vaebm, 255 * images, mask, SEEDS, num_steps=2)
    with pytest.raises(DataError, match="mask has shape"):
        inpaint(vaebm, images, mask[:5], SEEDS, num_steps=2)


def test_held_out_images(ncp):
    ncp.compile("adam", run_eagerly=True)
    ncp.train_on_batch(LEVELS)  # directions and optimizer
    callback = HeldOutSelection(sets(LEVELS.astype(np.float32)))
    with pytest.raises(DataError, match="divide by 255"):
        ncp.fit(LEVELS, callbacks=[callback], verbose=0)
