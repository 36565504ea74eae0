"""VAEBM with all normalisation folded into plain kernels, for sampling, scoring and export."""

import copy
import dataclasses

import tensorflow as tf

from tfgen.generative.vaebm.inference import Ready, VAEBMInference
from tfgen.layers import FoldedWeights


class FrozenVAEBM(VAEBMInference, tf.Module):
    """The inference methods of a VAEBM over folded weights held in variables of its own.

    Args:
        model: the VAEBM to copy; training it further does not change this copy.
        storage: dtype in which the weights are kept; they are used in float32.
    """

    def __init__(self, model, storage: str = "float32"):
        super().__init__(name="frozen_vaebm")
        options = {} if storage == "float32" else {"storage": storage}
        self.vae = model.vae.frozen(**options)
        self.image_shape = model.image_shape
        self.sampler, self.smoothing = model.sampler, model.smoothing
        self.log_z = tf.Variable(model.log_partition(), trainable=False)
        energy = model.energy
        view = FoldedWeights(energy.weights_view())
        energy.energies(view, tf.zeros((1, *energy.image_shape)))

        def keep(tensor):
            return tf.Variable(tf.cast(tensor, storage), trainable=False)

        # Object keys must stay out of TensorFlow's attribute tracking: held by a closure.
        folded = {k: tf.nest.map_structure(keep, v) for k, v in view.folded.items()}
        self.folded_variables = tf.nest.flatten(list(folded.values()))

        def ready():
            tensors = {
                part: tf.nest.map_structure(lambda v: tf.cast(v, tf.float32), variables)
                for part, variables in folded.items()
            }
            weights = FoldedWeights(None, tensors)
            return Ready(self.vae.prepared(), lambda images: energy.energies(weights, images))

        self._ready = ready

    def without_loops(self) -> "FrozenVAEBM":
        """The same weights, the chain written out step by step."""
        plain = copy.copy(self)
        plain.sampler = dataclasses.replace(self.sampler, unroll=True)
        plain.__dict__.pop("_compiled_sampling", None)
        return plain

    def ready(self) -> Ready:
        return self._ready()

    def log_partition(self):
        return tf.convert_to_tensor(self.log_z)
