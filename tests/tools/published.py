"""A model of the authors' program: what it would save, and what it computes."""

import ast

import numpy as np
import tensorflow as tf


class Checkpoint:
    """What the authors' program would save of a reference model, and what it computes."""

    def __init__(self, values):
        self.values = values
        self.args = {
            **ast.literal_eval(str(self.values["config"])),
            "save": "eval-exp",
            "distributed": True,
            "weight_decay_norm": 1e-2,
            "weight_decay_norm_init": 10.0,
            "weight_decay_norm_anneal": True,
        }

    def weights(self, prefix="weights/"):
        names = [key for key in self.values.files if key.startswith(prefix)]
        return {key.removeprefix(prefix): self.values[key] for key in names}

    def nhwc(self, name):
        return tf.constant(self.values[name].transpose(0, 2, 3, 1), tf.float32)


def assert_same_as_authors(model, checkpoint):
    num_groups = model.network.num_groups
    noise = [checkpoint.nhwc(f"eps/{index}") for index in range(num_groups)]
    result = model.posterior_pass(model.weights_view(), checkpoint.nhwc("x"), noise)
    for value, name in ((result.head, "logits"), (result.kl, "kl")):
        expected = checkpoint.values[name]
        expected = expected.transpose(0, 2, 3, 1) if expected.ndim == 4 else expected
        value = value[: len(expected)]  # some are stored of the first images only
        assert np.abs(value - expected).max() <= 1e-4 * np.abs(expected).max(), name
