"""LSGM with all normalisation folded into plain kernels, for sampling, scoring and export."""

import tensorflow as tf

from tfgen.generative.lsgm.inference import LSGMInference, Ready
from tfgen.generative.lsgm.mixing import NoisePredictor
from tfgen.generative.over_vae import FrozenOverVAE


class FrozenLSGM(LSGMInference, FrozenOverVAE):
    """The inference methods of an LSGM over folded weights held in variables of its own.

    Args:
        model: the `LSGM` to copy; training it further does not change this copy.
        storage: string, dtype in which the weights are kept; they are used in float32. Defaults to
            `"float32"`.
    """

    def __init__(self, model, storage: str = "float32"):
        super().__init__(model, storage, name="frozen_lsgm")
        self.joined, self.objective = model.joined, model.objective
        self.solver, self.num_evaluation_times = model.solver, model.num_evaluation_times
        self.num_density_probes = model.num_density_probes
        (self._weights,) = self.store([model.network.folded()], storage)
        # Of the network only what computes: its variables are those of the model.
        self._predict, self._velocity = model.network.predict, model.predicts_velocity
        self._alpha = _kept(model.alpha())
        self._active = _kept(model.active_channels())

    def ready(self) -> Ready:
        alpha, active = (
            None if kept is None else tf.convert_to_tensor(kept)
            for kept in (self._alpha, self._active)
        )
        weights = self._weights.view()
        predict = NoisePredictor(self.sde, self._predict, weights, alpha, active, self._velocity)
        return Ready(self.vae.prepared(), predict)


def _kept(tensor):
    return None if tensor is None else tf.Variable(tensor, trainable=False)
