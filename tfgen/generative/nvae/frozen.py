"""NVAE with its normalisation folded into plain kernels, for sampling, scoring and export."""

import tensorflow as tf

from tfgen.generative.nvae.inference import NVAEInference
from tfgen.layers import FoldedWeights, LiveWeights, StoredWeights


def fold(model, dtype: str = "float32") -> FoldedWeights:
    """Folded weights of a model; each part is folded when the network first asks for it."""
    if not model.built:
        model.build()
    return FoldedWeights(LiveWeights(model.bank), dtype=dtype)


class NVAEView(NVAEInference):
    """The inference methods of an NVAE over given weights, which it shares.

    Args:
        model: an `NVAE`.
        weights: the view of its weights, `LiveWeights` or `FoldedWeights`.
    """

    def __init__(self, model, weights):
        self.network = model.network
        self.image_decoder = model.image_decoder
        self.residual_posterior = model.residual_posterior
        self.image_shape = model.image_shape
        self._weights = weights

    def weights_for_inference(self):
        return self._weights


class FrozenNVAE(NVAEInference, tf.Module):
    """The inference methods of an NVAE over folded weights held in variables of its own.

    Args:
        model: the `NVAE` to copy; training it further does not change this copy.
        storage: string, dtype in which the weights are kept; they are used in float32. Defaults to
            `"float32"`.
    """

    def __init__(self, model, storage: str = "float32"):
        super().__init__(name="frozen_nvae")
        self.network = model.network
        self.image_decoder = model.image_decoder
        self.residual_posterior = model.residual_posterior
        self.image_shape = model.image_shape
        view = fold(model)
        self._visit_every_part(view)

        self._weights = StoredWeights(view, storage)
        self.folded_variables = self._weights.variables

    def weights_for_inference(self) -> FoldedWeights:
        return self._weights.view()

    def _visit_every_part(self, view: FoldedWeights):
        images = tf.zeros((1, *self.image_shape))
        noise = [tf.zeros((1, *shape)) for shape in self.network.latent_shapes]
        self.posterior_pass(view, images, noise)
