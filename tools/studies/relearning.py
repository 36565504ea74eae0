"""One model, trained again and again from the start, so that its graphs are made once."""

import keras


class Relearner:
    """A compiled `keras.Model` that can be brought back to where it was when this was made.

    Args:
        model: the model, built or with a `build` that takes nothing.
        optimizer: its Keras optimizer.
    """

    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer):
        model.build()
        model.compile(optimizer)
        optimizer.build(model.trainable_variables)
        self.model = model
        self._state = [*model.variables, *optimizer.variables]
        self._start = [variable.numpy() for variable in self._state]

    def restart(self, weights: list | None = None) -> keras.Model:
        """Returns the model as it was, or with other weights and an optimizer that knows nothing.

        Args:
            weights: list of arrays for `model.set_weights`; None: those it had.
        """
        for variable, value in zip(self._state, self._start, strict=True):
            variable.assign(value)
        if weights is not None:
            self.model.set_weights(weights)
        return self.model
