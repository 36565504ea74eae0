"""What an evaluator takes beside plain classifiers: detectors, generators, images in any form."""

import numpy as np
import pytest
import tensorflow as tf
from pattern_classifiers import LABELS, NOISE, SHAPE, TEST, TRAIN, classifier

from tfgen.data import Source
from tfgen.errors import DataError, UserError
from tfgen.generative import Generator, seeds_for
from tfgen.generative.nvae import NVAE
from tfgen.ood import Evaluator, scores
from tfgen.ood.evaluation import Classifier
from tfgen.ood.evaluation.image_sets import as_image_set


@pytest.fixture(scope="module")
def network():
    return classifier("nested")


def test_images_come_in_any_form():
    levels = np.uint8(np.round(255 * TEST))
    wanted = levels.astype(np.float32) / 255.0
    dataset = tf.data.Dataset.from_tensor_slices({"image": levels, "label": LABELS[:90]}).batch(7)
    forms = {
        "levels": levels,
        "without channels": levels[..., 0],
        "intensities": wanted,
        "pair": (levels, LABELS[:90]),
        "dict": {"images": wanted, "labels": LABELS[:90]},
        "source": Source("x", "test", {"images": levels, "labels": LABELS[:90]}),
        "dataset": dataset,
    }
    for name, form in forms.items():
        found = as_image_set(form, name, SHAPE)
        batches = list(found.batches(32))
        assert [len(b) for b in batches] == [32, 32, 26]
        assert batches[0].dtype == np.float32
        np.testing.assert_array_equal(np.concatenate(batches), wanted)
        if name in ("pair", "dict", "source", "dataset"):
            np.testing.assert_array_equal(found.labels, LABELS[:90])
        few, more = ({x.tobytes() for x in found.at_most(n, 1).images} for n in (5, 9))
        assert len(few) == 5
        assert few < more


def broken(kind):
    images = TEST.copy()
    images[4, 0, 0, 0] = np.nan if kind == "nan" else 300.0
    return images


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((0, *SHAPE), np.float32), "'other' is empty"),
        (np.zeros((4, 6, 5, 1), np.float32), r"'other' has images of shape \(6, 5, 1\)"),
        (TEST[0], r"shape \(6, 1, 1\), and the model takes \(6, 6, 1\); a single image needs"),
        (broken("nan"), "'other' has NaN or infinite pixels, first in image 4"),
        (broken("range"), "'other' holds floating-point pixels from .* to 300"),
        ((TEST, LABELS[:3]), "'other' has labels of shape"),
        ("svhn", "'other' is the text 'svhn'"),
        (tf.data.Dataset.from_tensors(TEST).repeat(), "never ends"),
    ],
)
def test_images_that_are_none(network, given, words):
    with pytest.raises(DataError, match=words):
        Evaluator(network, TEST, {"other": given})


class Detector:
    """As `MultiTaskOOD` holds its own scores."""

    name, image_shape = "detector", SHAPE

    def __init__(self, network):
        self.network, self.fitted_to = network, 0
        self.scores = {"msp": scores.MaxSoftmax(), "near": scores.KNN(2, name="near")}

    def outputs(self, images):
        return dict(self.network.outputs(images))

    def passes(self, score):
        return {"msp": 1, "near": 9}[score]

    def ood_score(self, images, score):
        return self.scores[score](self.outputs(images)).numpy()


def test_a_detector_brings_its_own_scores(network):
    detector = Detector(Classifier(network, SHAPE))
    with pytest.raises(UserError, match="'detector' is not fitted, which its score 'near' needs"):
        Evaluator(detector, TEST, {"noise": NOISE})
    detector.scores["near"].fit(detector.outputs(TRAIN))
    detector.fitted_to = len(TRAIN)
    result = Evaluator(detector, (TEST, LABELS[:90]), {"noise": NOISE}, num_resamples=10).evaluate()
    assert [(row.score, row.passes) for row in result.rows] == [("msp", 1), ("near", 9)]
    found = result.scores["detector"]["near"]["noise"]
    np.testing.assert_allclose(found, detector.ood_score(NOISE, "near"), rtol=1e-5)
    assert result.classification["detector"]["accuracy"] > 0.9


class Bounded(Generator):
    """A generator with a bound of the likelihood, by seed."""

    image_shape = SHAPE

    def negative_elbo(self, images, seeds):
        drawn = tf.cast(seeds % 7, tf.float32)
        return {"nelbo": tf.reduce_sum(images, [1, 2, 3]) + drawn, "kl": drawn}


def check_generator(name, generator, images, others):
    result = Evaluator({name: generator}, images, {"others": others}, batch_size=3).evaluate()
    found = result.scores[name]["ood_score"]["others"]
    wanted = generator.negative_elbo(others / np.float32(255), seeds_for(len(others), 0))["nelbo"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def levels(seed, shape):
    return np.uint8(255 * np.random.default_rng(seed).random((5, *shape)))


def test_generators_score_by_their_bound():
    check_generator("bounded", Bounded(), levels(0, SHAPE), levels(1, SHAPE))


@pytest.mark.slow
def test_generators_of_this_library_are_rows():
    options = {f"{part}_cells": 1 for part in ("encoder", "preprocess", "postprocess")}
    options |= {"preprocess_blocks": 1, "postprocess_blocks": 1, "latent_channels": 2}
    shape = (8, 8, 1)
    vae = NVAE(shape, padding=0, num_channels=2, num_scales=1, num_groups=1, **options)
    check_generator("nvae", vae, levels(0, shape), levels(1, shape))
