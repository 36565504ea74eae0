"""What a defence costs: the accuracy of a network trained on the gradients it releases."""

import keras
import numpy as np
import tensorflow as tf

from tfgen import stopping
from tfgen.privacy.defence.base import NoDefence
from tfgen.privacy.network.inputs import as_images
from tfgen.privacy.network.labels import likeliest
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
    """Trains the network with plain SGD on defended gradients; returns its accuracy.

    Afterwards its weights are what they were. Every defence sees the same batches. Batch norm keeps
    its moving averages and nothing is dropped, as with federated clients that freeze both: the
    comparison is between defences, not with the best training there is.

    Args:
        network: the `SharedNetwork` whose model is trained from its present weights.
        defence: a `NoDefence` or what derives from it, through which gradients pass.
        images: array `[N, H, W, C]`, float in [0, 1] or uint8, to train on.
        labels: array of class indices `[N]` or `[N, 1]`, or rows `[N, C]`.
        test_images: array `[M, H, W, C]`, likewise, to count right answers on.
        test_labels: array of `[M]` labels, likewise.
        batch_size: integer, images of every step, times the defence's own factor.
        num_steps: integer, steps of SGD.
        learning_rate: float, that of SGD. Defaults to `0.05`.
        seed: integer, seed of batches and noise. Defaults to `0`.

    Returns:
        Share of the test images that are classified right.

    Raises:
        UserError: images or labels that do not fit the network or each other.
    """
    network = network.in_mode("eval")
    images, test_images = (as_images(x, network.image_shape) for x in (images, test_images))
    targets = network.one_hot(labels, len(images)).numpy()
    classes = likeliest(network.one_hot(test_labels, len(test_images)))
    variables, optimizer = network.variables, keras.optimizers.SGD(learning_rate)
    rng, before = np.random.default_rng(seed), [v.numpy() for v in variables]
    try:
        for step in range(num_steps):
            stopping.check()
            chosen = rng.integers(0, len(images), batch_size * defence.batch_factor)
            released = defence.release(network, images[chosen], targets[chosen], seed=seed + step)
            optimizer.apply(released, variables)
        return float(np.mean(classify(network, test_images) == classes))
    finally:
        for variable, value in zip(variables, before):
            variable.assign(value)


def classify(network: SharedNetwork, images: np.ndarray) -> np.ndarray:
    """The class that a network gives every image; of one output, whether it is above one half.

    Args:
        network: a `SharedNetwork`, asked in inference mode.
        images: array `[N, H, W, C]` in [0, 1].

    Returns:
        Array `[N]` of class numbers.
    """
    predict = tf.function(
        lambda x: network.model(network.normalize(x), training=False), autograph=False
    )
    outputs = np.concatenate([predict(images[i : i + 250]) for i in range(0, len(images), 250)])
    return likeliest(outputs) if network.num_classes > 1 else outputs[:, 0] > 0.5
