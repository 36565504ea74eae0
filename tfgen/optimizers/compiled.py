"""Updates of large tensors as one XLA computation, which goes over memory once and in place."""

from collections.abc import Sequence

import tensorflow as tf

from tfgen.ops.clusters import on_cpu

_COMPILED_FROM = 2**15  # elements: smaller tensors are not worth compiling for


class CompiledUpdates:
    """What an optimizer inherits before a Keras one, so that its updates are compiled on one CPU.

    Within graphs, `update_step` of large tensors runs in one XLA computation, and decay apart from
    the gradient (`weight_decay` of Keras) with it. Everything else is left to Keras.
    """

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if not _compiles():
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        pairs = list(zip(grads, trainable_variables))
        for gradient, variable in pairs:
            if not _is_large(variable):
                self.update_step(gradient, variable, learning_rate)
        large = [(g, v) for g, v in pairs if _is_large(v)]
        if large:
            gradients = [tf.convert_to_tensor(g) for g, _ in large]
            self._update_compiled(gradients, [v for _, v in large], learning_rate)

    def _update_compiled(self, gradients: Sequence, variables: Sequence, learning_rate) -> None:
        @tf.function(jit_compile=True, autograph=False)
        def update(gradients, rate):
            for gradient, variable in zip(gradients, variables):
                if self.weight_decay is not None and self._use_weight_decay(variable):
                    decay = tf.cast(self.weight_decay * tf.cast(rate, tf.float32), variable.dtype)
                    self.assign_sub(variable, tf.convert_to_tensor(variable) * decay)
                self.update_step(gradient, variable, rate)

        update(gradients, tf.convert_to_tensor(learning_rate))

    def _apply_weight_decay(self, variables):
        apart = [v for v in variables if not (_compiles() and _is_large(v))]
        super()._apply_weight_decay(apart)


def _compiles() -> bool:
    """Whether an update that is traced now is compiled; eagerly it would be in every step."""
    single = tf.distribute.get_strategy().num_replicas_in_sync == 1
    return on_cpu() and single and not tf.executing_eagerly()


def _is_large(variable) -> bool:
    return variable.shape.num_elements() >= _COMPILED_FROM
