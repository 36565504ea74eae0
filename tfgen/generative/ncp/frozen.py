"""NCP-VAE with its normalisation folded into plain kernels, for sampling, scoring and export."""

import tensorflow as tf

from tfgen.generative.latent import GroupPrior
from tfgen.generative.ncp.inference import NCPInference, Ready
from tfgen.layers import FoldedWeights


class FrozenNCPVAE(NCPInference, tf.Module):
    """The inference methods of an NCP-VAE over folded weights held in variables of its own.

    Args:
        model: the `NCPVAE` to copy; training it further does not change this copy.
        storage: dtype in which the weights are kept; they are used in float32.
    """

    def __init__(self, model, storage: str = "float32"):
        super().__init__(name="frozen_ncp_vae")
        options = {} if storage == "float32" else {"storage": storage}
        self.vae = model.vae.frozen(**options)
        self.image_shape, self.chunk_size = model.image_shape, model.chunk_size
        self.num_proposals = list(model.num_proposals)
        ready = model.ready()

        def keep(tensor):
            return tf.Variable(tf.cast(tensor, storage), trainable=False)

        # Object keys must stay out of TensorFlow's attribute tracking: held by a closure.
        unique = {id(view): view for view in ready.views}
        order = [id(view) for view in ready.views]
        folded = {key: _each_part(keep, view.folded) for key, view in unique.items()}
        parts = [list(tensors.values()) for tensors in folded.values()]
        self.folded_variables = tf.nest.flatten(parts)

        def ready_again():
            views = {
                key: FoldedWeights(None, _each_part(_in_float32, tensors))
                for key, tensors in folded.items()
            }
            return Ready(self.vae.prepared(), [views[key] for key in order], ready.classifiers)

        self._ready = ready_again

    def ready(self) -> Ready:
        return self._ready()


def _each_part(function, folded: dict) -> dict:
    return {k: tf.nest.map_structure(function, tensors) for k, tensors in folded.items()}


def _in_float32(x):
    return tf.cast(x, tf.float32)


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
