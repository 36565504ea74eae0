"""Any functional network as a system: what it learns from, what it remembers, what it refuses."""

import keras
import numpy as np
import pytest
import scipy.special
import small_networks
import tensorflow as tf

from tfgen.errors import ConfigError, UserError
from tfgen.search.hant import NetworkClassifier, application, mobile_network
from tfgen.search.hant.classifier import made_network, network_config
from tfgen.search.hant.fine_tuning import softened_divergence
from tfgen.search.hant.teachers import read_network, with_pixels
from tfgen.search.unas.weights import running_statistics


def tiny(num_classes=5, softmax=False, seed=0):
    x = images = keras.Input((8, 8, 3), name="images")
    x = small_networks.conv_norm(x, 4, 3, stride=2, name="conv")
    x = keras.layers.GlobalAveragePooling2D()(x)
    activation = "softmax" if softmax else None
    dense = keras.layers.Dense(num_classes, activation, name="logits")
    return small_networks.randomized(keras.Model(images, dense(x)), seed)


def batch(num=6):
    images = small_networks.images(num)
    return {"images": tf.constant(images), "labels": tf.range(num) % 5}


def by_hand(teacher, student, temperature):
    """In float64."""
    p, q = (scipy.special.log_softmax(np.float64(x) / temperature, 1) for x in (teacher, student))
    return temperature**2 * np.mean(np.sum(np.exp(p) * (p - q), axis=1))


class TestLosses:
    """Beside Keras's own."""

    @pytest.mark.parametrize("softmax", [False, True])
    def test_with_a_teacher_is_that_of_keras_distillation(self, softmax):
        teacher, student = tiny(softmax=softmax, seed=1), tiny(softmax=softmax, seed=2)
        model = NetworkClassifier(student, temperature=3.0, student_loss_weight=0.3)
        model.learn_from(teacher)
        data = batch()
        output = model.training_loss(data)
        x, y = data["images"], data["labels"]
        answers = teacher(x, training=False), student(x, training=True)
        if softmax:
            answers = [tf.math.log(p) for p in answers]
        divergence = softened_divergence(3.0).compute_loss(*answers)
        np.testing.assert_allclose(divergence, by_hand(*answers, 3.0), rtol=1e-4)
        own = tf.nn.sparse_softmax_cross_entropy_with_logits(y, answers[1])
        expected = 0.3 * tf.reduce_mean(own) + 0.7 * divergence
        np.testing.assert_allclose(output.loss, expected, rtol=1e-4)
        np.testing.assert_allclose(output.logs["divergence"], divergence, rtol=1e-4)
        model.learn_from(None)
        np.testing.assert_allclose(model.training_loss(data).loss, tf.reduce_mean(own), rtol=1e-4)

    def test_smoothed_labels(self):
        model = NetworkClassifier(tiny(), label_smoothing=0.2)
        log_p = tf.nn.log_softmax(np.random.default_rng(0).normal(size=(5, 5)))
        expected = -np.sum((0.8 * np.eye(5) + 0.04) * log_p, axis=1)
        np.testing.assert_allclose(model._cross_entropies(tf.range(5), log_p), expected, rtol=1e-6)

    def test_moving_statistics_wait_for_a_step_that_counts(self):
        model = NetworkClassifier(tiny())
        before = [v.numpy() for v in running_statistics(model.network)]
        updates = model.training_loss(batch()).updates
        assert len(updates) == len(before) == 2
        for (variable, new), old in zip(updates, before):
            np.testing.assert_array_equal(variable.numpy(), old)
            assert not np.array_equal(new, old)

    def test_a_teacher_is_no_part_of_it_and_stays(self):
        teacher, model = tiny(seed=1), NetworkClassifier(tiny(seed=2))
        before, count = teacher.get_weights(), len(model.variables)
        model.learn_from(teacher)
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        model.train_on_batch(batch())
        assert len(model.variables) == count
        for old, new in zip(before, teacher.get_weights()):
            np.testing.assert_array_equal(old, new)


def test_answers_are_those_of_the_network():
    for softmax in (False, True):
        network = tiny(softmax=softmax)
        model, images = NetworkClassifier(network), small_networks.images()
        outputs = network(images, training=False)
        np.testing.assert_allclose(model(images), outputs, rtol=1e-6)
        found = model.signatures()["predict"].function(images=tf.constant(images))
        expected = outputs if softmax else tf.nn.softmax(outputs)
        np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-5)
        np.testing.assert_allclose(tf.nn.softmax(found["logits"]), expected, rtol=1e-4)


def test_a_network_comes_back_from_plain_values():
    network = mobile_network((8, 8, 1), 3, [(2, 4, 2, 2, 3)], 4, 1, 6, squeeze=0.25)
    config = network_config(network)
    first, same, other = (made_network(config, seed=seed) for seed in (1, 1, 2))
    assert network_config(first) == config
    kernels = [m.get_layer("stem_conv").kernel.numpy() for m in (first, same, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    first.set_weights(network.get_weights())
    images = small_networks.images()[..., :1]
    np.testing.assert_allclose(first(images), network(images), rtol=1e-5)


def test_mistakes():
    with pytest.raises(ConfigError, match="the network cannot be made"):
        NetworkClassifier({"class_name": "Functional", "config": {"layers": [{"config": {}}]}})
    x = keras.Input((8, 8, 3))
    with pytest.raises(ConfigError, match="expected one of images and one of classes"):
        NetworkClassifier(keras.Model(x, keras.layers.Conv2D(2, 3)(x)))
    with pytest.raises(ConfigError, match=r"image_shape is \(9, 9, 3\), but the network takes"):
        NetworkClassifier(tiny(), image_shape=(9, 9, 3))
    with pytest.raises(ConfigError, match="the teacher turns"):
        NetworkClassifier(tiny()).learn_from(tiny(num_classes=4))
    with pytest.raises(ConfigError, match="a stage is"):
        mobile_network(stages=[(1, 2)])


class TestOthersNetworks:
    """Of applications and of files."""

    def test_pixels_of_applications(self):
        network = application("MobileNet", None, 32, 4)
        assert network.inputs[0].shape == (None, 32, 32, 3)
        assert network.outputs[0].shape == (None, 4)
        scaling = network.get_layer("pixels_in_0_1")
        np.testing.assert_allclose(scaling(np.float32([0.0, 1.0])), [-1.0, 1.0])

    def test_mistakes(self, tmp_path):
        with pytest.raises(ConfigError, match="'VGG99'; expected one of"):
            application("VGG99")
        (tmp_path / "weights.h5").write_bytes(b"nothing")
        with pytest.raises(UserError, match="of MobileNet cannot be had"):
            application("MobileNet", str(tmp_path / "weights.h5"), 32, 4)

    def test_files(self, tmp_path):
        network, path = tiny(), tmp_path / "network.keras"
        network.save(path)
        images = small_networks.images()
        np.testing.assert_allclose(read_network(path)(images), network(images), rtol=1e-6)
        scaled = with_pixels(network, 2.0, -1.0)
        np.testing.assert_allclose(scaled(images), network(2.0 * images - 1.0), rtol=1e-4)
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(UserError, match="holds no Keras model"):
            read_network(path)
