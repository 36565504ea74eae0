"""Attacks end to end: what they restore, and from which knowledge."""

import numpy as np
import pytest
import tensorflow as tf
from short_attacks import SHORT, psnr
from tiny import (
    PLAIN,
    distinct_batch,
    float64,
    relu_net,
    smooth_batch_norm_net,
    threat_model,
)

from tfgen.privacy import (
    ATTACKS,
    GradientInversion,
    build_classifier,
)


class TestRecovery:
    @pytest.mark.parametrize(("batch_size", "least"), [(1, 60), (4, 40), (8, 25)])
    def test_digits(self, batch_size, least):
        images, labels = distinct_batch(batch_size)
        attack = GradientInversion(relu_net(), threat_model=threat_model(), num_steps=1500, **PLAIN)
        gradients = attack.network.gradients(images, labels)
        found = attack.run(gradients, batch_size=batch_size, verbose=0)
        np.testing.assert_array_equal(found.labels, labels)
        assert psnr(found.images, images).mean() > least
        assert psnr(np.full_like(images, 0.5), images).mean() < 9

    def test_without_the_gradient_nothing_is_restored(self):
        images, labels = distinct_batch(2)
        attack = GradientInversion(
            relu_net(),
            threat_model=threat_model(),
            num_steps=200,
            **{**PLAIN, "gradient_weight": 0.0, "tv_weight": 1e-3},
        )
        found = attack.run(attack.network.gradients(images, labels), batch_size=2, verbose=0)
        assert psnr(found.images, images).mean() < 12

    def test_optimised_labels(self):
        images, labels = distinct_batch(5)
        attack = GradientInversion(
            relu_net(),
            threat_model=threat_model(labels="optimized"),
            num_steps=800,
            **{**PLAIN, "gradient_form": "cosine"},
        )
        gradients = attack.network.gradients(images[3:], labels[3:])
        found = attack.run(gradients, batch_size=2, verbose=0)
        assert sorted(found.labels.tolist()) == [3, 4]

    @pytest.mark.parametrize("labels", ["optimized", "restored"])
    def test_dlg_and_idlg(self, labels):
        images, _ = distinct_batch(5)
        model = build_classifier("lenet", (8, 8, 1), 10)
        attack = GradientInversion(
            model, threat_model=threat_model(labels=labels), **ATTACKS["dlg"]
        )
        gradients = attack.network.gradients(images[4:], [4])
        found = attack.run(gradients, batch_size=1, verbose=0, seed=1)
        assert found.labels.tolist() == [4]
        assert psnr(found.images, images[4:]).mean() > 60
        assert found.terms["gradient"][0] < 1e-5

    def test_labels_in_any_form(self):
        images, labels = distinct_batch(3)
        attack = GradientInversion(relu_net(), threat_model=threat_model(labels="known"), **SHORT)
        gradients = attack.network.gradients(images, labels)
        want = attack.run(gradients, labels=labels, verbose=0)
        for form in (labels[:, None], np.eye(10)[labels]):
            found = attack.run(gradients, labels=form, verbose=0)
            np.testing.assert_array_equal(found.images, want.images)
            np.testing.assert_array_equal(found.labels, labels)

    def test_soft_labels(self):
        images, labels = distinct_batch(2)
        soft = 0.6 * np.eye(10)[labels] + 0.04
        settings = {**PLAIN, "num_steps": 800}
        attack = GradientInversion(
            relu_net(), threat_model=threat_model(labels="known"), **settings
        )
        gradients = attack.network.gradients(images, soft)
        found = attack.run(gradients, labels=soft, verbose=0)
        np.testing.assert_array_equal(found.labels, labels)
        assert psnr(found.images, images).mean() > 40

    @pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
    def test_float64(self, optimizer):
        images, labels = distinct_batch(3)
        with float64():
            attack = GradientInversion(
                smooth_batch_norm_net(),
                threat_model=threat_model(batch_norm_mode="train", batch_norm_statistics="batch"),
                optimizer=optimizer,
                num_steps=3,
                **PLAIN,
            )
            gradients = attack.network.gradients(images, labels)
            found = attack.run(
                gradients,
                batch_size=3,
                batch_norm_statistics=attack.network.statistics(images, labels),
                verbose=0,
            )
        assert gradients[0].dtype == tf.float64
        assert found.terms["gradient"].dtype == np.float64
        assert found.images.dtype == np.float32
        np.testing.assert_array_equal(found.labels, labels)

    def test_unknown_batch_size(self):
        images, labels = distinct_batch(5)
        attack = GradientInversion(
            relu_net(), threat_model=threat_model(batch_size="unknown"), **SHORT
        )
        found = attack.run(attack.network.gradients(images, labels), verbose=0)
        np.testing.assert_array_equal(found.labels, labels)

    def test_batch_statistics_alone_shape_the_images(self):
        # What they give away has to be known before anything is credited to the gradient.
        images, labels = distinct_batch(4)
        attack = GradientInversion(
            smooth_batch_norm_net(),
            threat_model=threat_model(batch_norm_mode="train", batch_norm_statistics="batch"),
            num_steps=150,
            **{**PLAIN, "gradient_weight": 0.0, "batch_norm_weight": 1.0},
        )
        network = attack.network
        found = attack.run(
            network.gradients(images, labels),
            batch_size=4,
            batch_norm_statistics=network.statistics(images, labels),
            verbose=0,
        )
        assert found.terms["batch_norm"][0] < 0.1 * found.history[0]["batch_norm"] + 0.5
        assert found.terms["gradient"][0] == 0
