"""What does not fit gets one sentence before anything is computed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from short_attacks import SHORT
from tiny import (
    digits,
    distinct_batch,
    relu_net,
    smooth_batch_norm_net,
    threat_model,
)

from tfgen.errors import ConfigError, UserError
from tfgen.privacy import (
    ATTACKS,
    AttackSettings,
    GradientInversion,
)
from tfgen.privacy.attack.threat_model import ThreatModel


class TestMistakes:
    def attack(self, model=None, **changes):
        return GradientInversion(model or relu_net(), threat_model=threat_model(**changes), **SHORT)

    def gradients(self):
        return self.attack().network.gradients(*distinct_batch(2))

    def test_threat_model_is_required_and_complete(self):
        with pytest.raises(TypeError, match="threat_model"):
            GradientInversion(relu_net())
        with pytest.raises(TypeError, match="labels"):
            ThreatModel(batch_norm_mode="eval", batch_norm_statistics="none", batch_size="known")
        with pytest.raises(UserError, match="batch_norm_mode is 'test'; expected one of 'eval'"):
            threat_model(batch_norm_mode="test")

    def test_gradients_that_do_not_fit(self):
        attack, gradients = self.attack(), self.gradients()
        with pytest.raises(UserError, match="5 gradients came for 6"):
            attack.run(gradients[:-1], batch_size=2)
        with pytest.raises(UserError, match="has shape"):
            attack.run([*gradients[:-1], tf.zeros([3])], batch_size=2)
        with pytest.raises(UserError, match="NaN or infinity"):
            attack.run([*gradients[:-1], gradients[-1] * np.nan], batch_size=2)
        with pytest.raises(UserError, match="is None; give zeros"):
            attack.run([*gradients[:-1], None], batch_size=2)
        with pytest.raises(UserError, match="masks do not have the shapes"):
            attack.run(gradients, batch_size=2, masks=gradients[:-1])
        with pytest.raises(UserError, match=r"sample_weight has shape \(3,\)"):
            attack.run(gradients, batch_size=2, sample_weight=[1.0, 1.0, 1.0])

    def test_knowledge_that_is_missing(self):
        gradients = self.gradients()
        with pytest.raises(UserError, match="knows the batch size"):
            self.attack().run(gradients)
        with pytest.raises(UserError, match="knows the labels"):
            self.attack(labels="known").run(gradients, batch_size=2)
        with pytest.raises(UserError, match="label 12 is outside"):
            self.attack(labels="known").run(gradients, labels=[1, 12])
        with pytest.raises(UserError, match="2 labels came for a batch of 3"):
            self.attack(labels="known").run(gradients, labels=[1, 2], batch_size=3)
        attack = self.attack(smooth_batch_norm_net(), batch_norm_statistics="batch")
        gradients = attack.network.gradients(*distinct_batch(2))
        with pytest.raises(UserError, match="none were given"):
            attack.run(gradients, batch_size=2)

    def test_no_batch_norm(self):
        with pytest.raises(UserError, match="has no batch-norm layer"):
            self.attack(batch_norm_statistics="moving")

    def test_settings(self):
        with pytest.raises(ConfigError, match="did you mean 'num_seeds'"):
            GradientInversion(relu_net(), threat_model=threat_model(), num_seed=2)
        with pytest.raises(ConfigError, match="gradient_form"):
            GradientInversion(relu_net(), threat_model=threat_model(), gradient_form="l1")
        for field in ("num_steps", "num_seeds", "group_start", "jitter"):
            with pytest.raises(ConfigError, match=f"{field} is 2.5; expected a whole number"):
                AttackSettings(**{field: 2.5})
        with pytest.raises(ConfigError, match="noise is -1"):
            AttackSettings(noise=-1.0)
        with pytest.raises(ConfigError, match="late_kernels is 1"):
            AttackSettings(late_kernels=1.5)
        with pytest.raises(ConfigError, match="metric_damping is 0; expected above 0"):
            AttackSettings(metric_damping=0)
        with pytest.raises(ConfigError, match="batch_norm_form is 'l1'; expected one of norm"):
            AttackSettings(batch_norm_form="l1")
        with pytest.raises(ConfigError, match="'lbfgs' needs the derivative"):
            AttackSettings(optimizer="lbfgs", group="none", relu_width=0.5)
        settings = AttackSettings.from_config(ATTACKS["inverting_gradients"])
        assert AttackSettings.from_config(settings.get_config()) == settings

    def test_a_loss_that_cannot_be_differentiated(self):
        def opaque(labels, outputs):
            largest = tf.numpy_function(lambda x: x.max(axis=1), [outputs], tf.float32)
            return tf.ensure_shape(largest, outputs.shape[:1])

        attack = GradientInversion(relu_net(), opaque, threat_model=threat_model(), **SHORT)
        with pytest.raises(UserError, match="cannot be differentiated by any weight"):
            attack.network.gradients(*distinct_batch(2))

    @pytest.mark.parametrize(
        "layer",
        [
            tf.nn.local_response_normalization,  # no second derivative is registered
            lambda x: tf.cast(tf.cast(255 * x, tf.uint8), tf.float32),  # none at all
        ],
    )
    def test_a_model_that_cannot_be_differentiated_twice(self, layer):
        inputs = x = keras.Input((8, 8, 1))
        if layer is tf.nn.local_response_normalization:
            x = keras.layers.Conv2D(1, 1)(x)  # the first derivative has to pass through it
        x = keras.layers.Flatten()(keras.layers.Lambda(layer, (8, 8, 1))(x))
        attack = self.attack(keras.Model(inputs, keras.layers.Dense(10)(x)))
        gradients = attack.network.gradients(*distinct_batch(2))
        with pytest.raises(UserError, match="cannot be differentiated twice"):
            attack.run(gradients, batch_size=2, verbose=0)

    def test_no_head(self):
        inputs = keras.Input((8, 8, 1))
        pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(10, 1)(inputs))
        attack = self.attack(keras.Model(inputs, pooled))
        with pytest.raises(UserError, match="no trainable dense layer"):
            attack.run(attack.network.gradients(*distinct_batch(2)), batch_size=2)

    def test_an_overflow_is_named(self):
        images, labels = digits()
        attack = GradientInversion(
            relu_net(),
            threat_model=threat_model(),
            **{**SHORT, "clip": False, "learning_rate": 1e30},
        )
        gradients = attack.network.gradients(images[:2], labels[:2])
        with pytest.raises(UserError, match="NaN or infinite between steps"):
            attack.run(gradients, batch_size=2, verbose=0)
