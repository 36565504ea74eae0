"""Trains every network of a small space, and keeps what each reached as a table.

    python tools/studies/unas_table.py --data_dir=data --out=table.json

A cell has three nodes: its input, a second, and a third that adds what comes from both. Each of the
three edges is one of four operations, so there are 64 cells. A network has a stem, two equal cells
with a pooling between them, and a head; it sees CIFAR-10 images of half the size. All start from
the same weights and see the same batches; further seeds have others. The table holds the mean error
on validation images, which a search may ask for (`tfgen.search.unas.measures.TableMeasure`), and
that on test images.

The same command again goes on where it stopped.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from absl import flags

from tfgen import stopping
from tfgen.bin import app, terminal

OUT = flags.DEFINE_string("out", "table.json", "The table; what is done so far lies beside it.")
EPOCHS = flags.DEFINE_integer("epochs", 3, "Passes over the training images.", lower_bound=1)
IMAGES = flags.DEFINE_integer("num_images", 3000, "Training images.", lower_bound=100)
SEEDS = flags.DEFINE_integer("num_seeds", 1, "Trainings of every network.", lower_bound=1)

OPERATIONS = ("skip", "separable_3x3", "max_pool_3x3", "dilated_3x3")
EDGES, CHANNELS, BATCH = 3, 12, 100


def main(argv) -> None:
    """What the tool does, in order."""
    del argv
    with terminal.quiet_import(app.DEBUG.value):
        import numpy as np

        from tfgen.files.json_file import read_json, write_json

    network, sets = build(), read_data()
    path = Path(OUT.value)
    partial = path.with_suffix(".partial.json")
    rows = read_json(partial) if partial.is_file() else {}
    cells = list(itertools.product(range(len(OPERATIONS)), repeat=EDGES))
    for number, cell in enumerate(cells):
        name = "".join(map(str, cell))
        if name in rows:
            continue
        stopping.check()
        start = time.monotonic()
        found = [network.errors(cell, sets, seed) for seed in range(SEEDS.value)]
        rows[name] = np.transpose(found).tolist()
        write_json(partial, rows)
        terminal.say(
            f"{number + 1}/{len(cells)} {name}: validation {np.mean(rows[name][0]):.4f}, "
            f"{time.monotonic() - start:.1f} s"
        )
    means = np.array([np.mean(rows["".join(map(str, cell))], axis=1) for cell in cells])
    shape = (len(OPERATIONS),) * EDGES
    table = {
        "groups": {"operation": [EDGES, len(OPERATIONS)]},
        "operations": list(OPERATIONS),
        "values": np.round(means[:, 0], 5).reshape(shape).tolist(),
        "test_values": np.round(means[:, 1], 5).reshape(shape).tolist(),
    }
    write_json(path, table)
    partial.unlink()


def build():
    """The network, all of whose operations stand ready."""
    with terminal.quiet_import(app.DEBUG.value):
        import keras
        import numpy as np
        import tensorflow as tf

        from tfgen.search.unas.mixing import part
        from tfgen.search.unas.operations import cell_operation

    class Network:
        """Of which only the operations of one cell at a time are run."""

        def __init__(self):
            layers = keras.layers
            self.stem = keras.Sequential(
                [
                    layers.Conv2D(CHANNELS, 3, padding="same"),
                    layers.BatchNormalization(momentum=0.9),
                ]
            )
            self.stem.build((None, 16, 16, 3))
            self.cells = [
                [
                    [
                        part(
                            (size, size, CHANNELS), cell_operation, o, CHANNELS, 1, name=f"{o}_{e}"
                        )
                        for o in OPERATIONS
                    ]
                    for e in range(EDGES)
                ]
                for size in (16, 8)
            ]
            self.head = layers.Dense(10)
            self.head.build((None, CHANNELS))
            models = [self.stem, self.head]
            models += [m for cell in self.cells for row in cell for m in row if m is not None]
            self.weights = [v for m in models for v in m.trainable_variables]
            self.others = [v for m in models for v in m.non_trainable_variables]
            self.optimizer = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)
            self.optimizer.build(self.weights)
            self.fresh = [v.numpy() for v in self.others]
            self.fresh_optimizer = [v.numpy() for v in self.optimizer.variables]

        def logits(self, images, cell, training):
            x = self.stem(images, training=training)
            for number, edges in enumerate(self.cells):
                if number:
                    x = tf.nn.avg_pool2d(x, 2, 2, "SAME")
                ran = [
                    lambda x, row=row, k=k: tf.switch_case(
                        cell[k],
                        [(lambda m=m: x if m is None else m(x, training=training)) for m in row],
                    )
                    for k, row in enumerate(edges)
                ]
                second = ran[0](x)
                x = tf.ensure_shape(ran[1](x) + ran[2](second), x.shape)
            return self.head(tf.reduce_mean(tf.nn.relu(x), axis=[1, 2]))

        @tf.function(autograph=False)
        def step(self, images, labels, cell):
            with tf.GradientTape() as tape:
                logits = self.logits(images, cell, True)
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                )
            variables = [v.value for v in self.weights]
            gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
            self.optimizer.apply(gradients, self.weights)

        @tf.function(autograph=False)
        def wrong(self, images, labels, cell):
            logits = self.logits(images, cell, False)
            return tf.reduce_mean(tf.cast(tf.argmax(logits, -1) != labels, tf.float32))

        def reset(self, seed):
            rng = np.random.default_rng(seed)
            for variable in self.weights:
                shape = tuple(variable.shape)
                if len(shape) == 1:
                    value = np.ones(shape) if "gamma" in variable.name else np.zeros(shape)
                else:
                    inputs = np.prod(shape[:2] if "depthwise" in variable.path else shape[:-1])
                    value = rng.normal(0.0, np.sqrt(2.0 / inputs), shape)
                variable.assign(value)
            for variable, value in zip(self.others, self.fresh):
                variable.assign(value)
            for variable, value in zip(self.optimizer.variables, self.fresh_optimizer):
                variable.assign(value)

        def errors(self, cell, sets, seed):
            """Errors on validation and test images after a training."""
            self.reset(seed)
            rng, cell = np.random.default_rng(seed), tf.constant(cell)
            images, labels = sets["train"]
            for _ in range(EPOCHS.value):
                for rows in np.split(rng.permutation(len(labels)), len(labels) // BATCH):
                    self.step(tf.constant(images[rows]), tf.constant(labels[rows]), cell)
            return [
                float(self.wrong(tf.constant(x), tf.constant(y), cell))
                for x, y in (sets["validation"], sets["test"])
            ]

    return Network()


def read_data():
    """Images of half the size in [-1, 1], and labels, of three sets."""
    import numpy as np

    from tfgen.data import load

    def small(source):
        images = np.asarray(source.images[:], np.float32) / 127.5 - 1.0
        return images.reshape(-1, 16, 2, 16, 2, 3).mean(axis=(2, 4)), np.int64(source.labels)

    train = small(load("cifar10", "train", app.DATA_DIR.value))
    test = small(load("cifar10", "test", app.DATA_DIR.value))
    count = IMAGES.value // BATCH * BATCH
    parts = {"train": slice(0, count), "validation": slice(count, count + 2000)}
    return {name: tuple(x[part] for x in train) for name, part in parts.items()} | {"test": test}


if __name__ == "__main__":
    app.run("unas_table", main)
