"""NVAE with its normalisation folded into plain kernels, for sampling, scoring and export."""

import tensorflow as tf

from tfgen.generative.nvae.inference import NVAEInference
from tfgen.layers import FoldedWeights


def fold(model) -> FoldedWeights:
    """Folded weights of a model; each part is folded when the network first asks for it."""
    return FoldedWeights(model.weights_view(training=False))


class FrozenNVAE(NVAEInference, tf.Module):
    """The inference methods of an NVAE over folded weights held in variables of its own.

    Args:
        model: the NVAE to copy; training it further does not change this copy.
    """

    def __init__(self, model):
        super().__init__(name="frozen_nvae")
        self.network = model.network
        self.image_decoder = model.image_decoder
        self.residual_posterior = model.residual_posterior
        self.image_shape = model.image_shape
        view = fold(model)
        self._visit_every_part(view)
        pairs = [
            (part, tf.nest.map_structure(lambda t: tf.Variable(t, trainable=False), tensors))
            for part, tensors in view.folded.items()
        ]
        self.folded_variables = tf.nest.flatten([tensors for _, tensors in pairs])
        # A closure: object keys must stay out of TensorFlow's attribute tracking.
        folded = dict(pairs)
        self._view = lambda: FoldedWeights(None, folded)

    def weights_for_inference(self) -> FoldedWeights:
        return self._view()

    def _visit_every_part(self, view: FoldedWeights):
        images = tf.zeros((1, *self.image_shape))
        noise = [tf.zeros((1, *shape)) for shape in self.network.latent_shapes]
        self.posterior_pass(view, images, noise)
