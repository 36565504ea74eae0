"""VAEBM with all normalisation folded into plain kernels, for sampling, scoring and export."""

import copy
import dataclasses

import tensorflow as tf

from tfgen.generative.over_vae import FrozenOverVAE
from tfgen.generative.vaebm.inference import Ready, VAEBMInference
from tfgen.layers import FoldedWeights


class FrozenVAEBM(VAEBMInference, FrozenOverVAE):
    """The inference methods of a VAEBM over folded weights held in variables of its own.

    Args:
        model: the `VAEBM` to copy; training it further does not change this copy.
        storage: string, dtype in which the weights are kept; they are used in float32. Defaults to
            `"float32"`.
    """

    def __init__(self, model, storage: str = "float32"):
        super().__init__(model, storage, name="frozen_vaebm")
        self.sampler, self.smoothing = model.sampler, model.smoothing
        self.log_z = tf.Variable(model.log_partition(), trainable=False)
        energy = model.energy
        view = FoldedWeights(energy.weights_view())
        energy.energies(view, tf.zeros((1, *energy.image_shape)))
        (self._weights,) = self.store([view], storage)
        self._energies = energy.energies

    def without_loops(self) -> "FrozenVAEBM":
        """The same weights, the chain written out step by step."""
        plain = copy.copy(self)
        plain.sampler = dataclasses.replace(self.sampler, unroll=True)
        return plain

    def ready(self) -> Ready:
        weights = self._weights.view()
        return Ready(self.vae.prepared(), lambda images: self._energies(weights, images))

    def log_partition(self):
        return tf.convert_to_tensor(self.log_z)
