"""What a defence costs: the accuracy of a network trained on the gradients it releases."""

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.privacy.defence.base import NoDefence
from tfgen.privacy.network.shared import SharedNetwork


def trained_accuracy(
    network: SharedNetwork,
    defence: NoDefence,
    images: np.ndarray,
    labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    *,
    batch_size: int,
    num_steps: int,
    learning_rate: float = 0.05,
    seed: int = 0,
) -> float:
    """Trains a copy of the network with plain SGD on defended gradients; returns its accuracy.

    Every defence sees the same batches. Batch norm keeps its moving averages, as federated clients
    that freeze it do: the comparison is between defences, not with the best training there is.

    Args:
        network: whose model is copied, weights included.
        defence: what gradients pass through.
        images: to train on, `[N, H, W, C]` in [0, 1].
        labels: `[N]`.
        test_images: to count right answers on.
        test_labels: theirs.
        batch_size: of every step, times the defence's own factor.
        num_steps: of SGD.
        learning_rate: of SGD.
        seed: of batches and noise.

    Returns:
        Share of the test images that are classified right.
    """
    model = keras.models.clone_model(network.model)
    model.set_weights(network.model.get_weights())
    copy = SharedNetwork(
        model,
        network.loss,
        batch_norm_mode="eval",
        pixel_mean=network.pixel_mean,
        pixel_std=network.pixel_std,
    )
    optimizer = keras.optimizers.SGD(learning_rate)
    rng = np.random.default_rng(seed)
    for step in range(num_steps):
        stopping.check()
        chosen = rng.integers(0, len(images), batch_size * defence.batch_factor)
        released = defence.release(copy, images[chosen], labels[chosen], seed=seed + step)
        optimizer.apply(released, model.trainable_variables)
    right = []
    predict = tf.function(lambda x: model(copy.normalize(x), training=False), autograph=False)
    for start in range(0, len(test_images), 250):
        outputs = predict(tf.constant(test_images[start : start + 250], tf.float32))
        right.append(np.argmax(outputs, axis=1) == test_labels[start : start + 250])
    return float(np.mean(np.concatenate(right)))
