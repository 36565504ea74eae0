"""NCP-VAE with its normalisation folded into plain kernels, for sampling, scoring and export."""

import tensorflow as tf

from tfgen.generative.latent import GroupPrior
from tfgen.generative.ncp.inference import NCPInference, Ready
from tfgen.generative.over_vae import FrozenOverVAE


class FrozenNCPVAE(NCPInference, FrozenOverVAE):
    """The inference methods of an NCP-VAE over folded weights held in variables of its own.

    Args:
        model: the `NCPVAE` to copy; training it further does not change this copy.
        storage: string, dtype in which the weights are kept; they are used in float32. Defaults to
            `"float32"`.
    """

    def __init__(self, model, storage: str = "float32"):
        super().__init__(model, storage, name="frozen_ncp_vae")
        self.chunk_size, self.num_proposals = model.chunk_size, tuple(model.num_proposals)
        ready = model.ready()
        self.classifiers = tuple(ready.classifiers)
        self._weights = tuple(self.store(ready.views, storage))

    def ready(self) -> Ready:
        views = {weights: weights.view() for weights in self._weights}
        return Ready(self.vae.prepared(), [views[w] for w in self._weights], self.classifiers)


def visit(ready: Ready, vae, count: int = 1) -> None:
    """Runs every classifier on zeros: what is folded when it is first asked for, is now.

    Within a loop it would be too late.
    """
    for index, name in enumerate(vae.groups):
        shape, context = vae.latent_shapes[name], vae.context_shapes[name]
        zeros = tf.zeros((1, *shape))
        context = None if context is None else tf.zeros((1, *context))
        prior = GroupPrior(index, zeros, tf.ones_like(zeros), context)
        ready.log_ratio(prior)(tf.zeros((1, count, *shape)))
