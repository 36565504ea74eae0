"""What int8 costs a trained network, and which way there costs least.

    python tools/studies/hant_int8.py --data=fashion_mnist.npz --out=int8.json [--num_seeds=3]
    python tools/studies/hant_int8.py --data=digits --network=residual --out=int8.json --epochs=8

Trains inverted bottlenecks without gates or residual blocks, which every method takes, on images of
an `.npz` file as `keras.datasets` keeps it (`x_train`, `y_train`, `x_test`, `y_test`), at half
their size, or on scikit-learn's digits. The network then becomes int8 without training, and by
training that knows of int8: with fake quantisation in Keras and its three kinds of ranges, and with
TensorFlow Model Optimization. The network trained on in float32 on the same loss and as long says
how much of a gain is of longer training. Accuracies are of the `.tflite` files on the test images;
last, LiteRT runs the files of both precisions in turn.
"""

import argparse
import json
import pathlib
import time

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

from tfgen.search import hant
from tfgen.search.latency.artefacts import litert_content


def bottlenecks(shape, num_classes: int) -> keras.Model:
    """Three inverted bottlenecks."""
    x = images = keras.Input(shape)
    x = _activated(layers.Conv2D(16, 3, padding="same", use_bias=False)(x))
    for filters, stride in ((16, 2), (16, 1), (24, 2)):
        y = _activated(layers.Conv2D(3 * x.shape[-1], 1, use_bias=False)(x))
        y = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(y)
        y = layers.Conv2D(filters, 1, use_bias=False)(_activated(y))
        y = layers.BatchNormalization(momentum=0.9)(y)
        x = layers.Add()([x, y]) if x.shape == y.shape else y
    x = layers.GlobalAveragePooling2D()(_activated(layers.Conv2D(64, 1, use_bias=False)(x)))
    return keras.Model(images, layers.Dense(num_classes)(x), name="bottlenecks")


def residual(shape, num_classes: int) -> keras.Model:
    """Two residual blocks."""
    x = images = keras.Input(shape)
    x = _activated(layers.Conv2D(8, 3, padding="same", use_bias=False)(x))
    for _ in range(2):
        y = _activated(layers.Conv2D(8, 3, padding="same", use_bias=False)(x))
        y = layers.Conv2D(8, 3, padding="same", use_bias=False)(y)
        x = layers.ReLU()(layers.Add()([x, layers.BatchNormalization(momentum=0.9)(y)]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, layers.Dense(num_classes)(x), name="residual")


NETWORKS = {"bottlenecks": bottlenecks, "residual": residual}


def _activated(x):
    return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))


def trained(images, labels, network: str, epochs: int, seed: int) -> keras.Model:
    """A network that has learned from labels."""
    keras.utils.set_random_seed(seed)
    model = NETWORKS[network](images.shape[1:], int(labels.max()) + 1)
    steps = epochs * -(-len(images) // 64)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(images, labels, 64, epochs, verbose=0)
    return model


WAYS = {
    "fake_quant, moving_average": {"method": "fake_quant", "ranges": "moving_average"},
    "fake_quant, learnt": {"method": "fake_quant", "ranges": "learnt"},
    "fake_quant, frozen": {"method": "fake_quant", "ranges": "frozen"},
    "tfmot": {"method": "tfmot"},
}


def study(train, test, network: str, epochs: int, tuning: int, seed: int, ways) -> dict[str, float]:
    """Accuracy in percent of every way, by name, and the speed of int8 over float32."""
    start = time.monotonic()
    model, found = trained(*train, network, epochs, seed), {}
    found["float32"] = _accuracy(model.predict(test[0], 256, verbose=0), test[1])
    longer = keras.models.clone_model(model)
    longer.set_weights(model.get_weights())
    options = {"epochs": tuning, "verbose": 0, "learning_rate": 3e-4}
    hant.fine_tune(model, longer, *train, **options)
    found["float32, trained on"] = _accuracy(longer.predict(test[0], 256, verbose=0), test[1])
    print(f"seed {seed}: trained in {time.monotonic() - start:.0f} s", flush=True)
    int8 = hant.quantize(model, train[0], seed=seed)
    found["post_training"] = _accuracy(int8.predict(test[0]), test[1])
    found["post_training of the one trained on"] = _accuracy(
        hant.quantize(longer, train[0], seed=seed).predict(test[0]), test[1]
    )
    for name in ways:
        start = time.monotonic()
        each = hant.quantize_aware(model, model, *train, seed=seed, **WAYS[name], **options)
        found[name] = _accuracy(each.predict(test[0]), test[1])
        print(f"  {name}: {found[name]:.2f} %, {time.monotonic() - start:.0f} s", flush=True)
    found["speed"] = speed(litert_content(model, 1, "float32"), int8.content, test[0][:1])
    return found


def _accuracy(outputs, labels) -> float:
    return 100.0 * float(np.mean(outputs.argmax(1) == labels))


def speed(first: bytes, second: bytes, image, rounds: int = 60, runs: int = 20) -> float:
    """How many times faster the second file is, by medians of runs in turn."""
    from ai_edge_litert.interpreter import Interpreter

    seconds = []
    interpreters = [
        Interpreter(model_content=content, num_threads=1) for content in (first, second)
    ]
    for interpreter in interpreters:
        interpreter.allocate_tensors()
        entry = interpreter.get_input_details()[0]
        interpreter.set_tensor(entry["index"], np.asarray(image, entry["dtype"]))
    for _ in range(rounds):
        for interpreter in interpreters:
            start = time.perf_counter()
            for _ in range(runs):
                interpreter.invoke()
            seconds.append(time.perf_counter() - start)
    medians = np.median(np.reshape(seconds, (rounds, 2)), axis=0)
    return float(medians[0] / medians[1])


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--network", default="bottlenecks", choices=list(NETWORKS))
    parser.add_argument("--num_images", type=int, default=8_000)
    parser.add_argument("--num_test", type=int, default=9_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--tuning_epochs", type=int, default=1)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--num_seeds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    chosen = parser.parse_args()
    train, test = _data(chosen.data, chosen.num_images, chosen.num_test)
    rows = []
    for seed in range(chosen.first_seed, chosen.first_seed + chosen.num_seeds):
        sizes = chosen.network, chosen.epochs, chosen.tuning_epochs
        rows.append(study(train, test, *sizes, seed, chosen.ways))
        pathlib.Path(chosen.out).write_text(json.dumps(rows, indent=1))
        for name in rows[0]:
            values = [row[name] for row in rows]
            print(f"{name:40s}{np.mean(values):8.2f} +- {np.std(values):.2f}", flush=True)


def _data(name, *counts):
    """Pairs of images and labels to train on and to test on."""
    if name == "digits":
        digits = load_digits()
        images = (digits.images[..., None] / 16.0).astype(np.float32)
        labels = digits.target.astype(np.int32)
        return (images[:1024], labels[:1024]), (images[1024:], labels[1024:])
    with np.load(name) as data:
        return tuple(
            _prepared(data[f"x_{part}"][:count], data[f"y_{part}"][:count])
            for part, count in zip(("train", "test"), counts)
        )


def _prepared(images, labels):
    count, height, width = images.shape[:3]
    images = images[:, : height // 2 * 2, : width // 2 * 2].reshape(
        (count, height // 2, 2, width // 2, 2, -1)
    )
    return (images.mean((2, 4)) / 255.0).astype(np.float32), labels.reshape(-1).astype(np.int32)


if __name__ == "__main__":
    main()
