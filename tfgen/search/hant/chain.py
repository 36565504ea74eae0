"""A network run layer by layer, so that one layer can be another without building it anew."""

from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf

from tfgen.search.hant.library import Library


def at_rest(model: keras.Model) -> Callable:
    """A model in inference as one function, traced once for batches of any size.

    Args:
        model: `keras.Model` of one input.
    """
    spec = tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype)
    run = tf.function(lambda x: model(x, training=False), autograph=False)
    trace = run.get_concrete_function(spec)
    # A trace refers to variables weakly; the model stays as long as what is returned.
    return lambda x, _model=model: trace(tf.convert_to_tensor(x))


class Chain:
    """A network of the library layer by layer; what goes into one layer is kept for it.

    Args:
        library: the `Library`.
        plan: sequence of names of operations, one a layer.
        images: sequence of batches of images.
    """

    def __init__(self, library: Library, plan: Sequence[str], images: Sequence[tf.Tensor]):
        network = library.network
        self.runs = [_run(library.candidate(k, name)) for k, name in enumerate(plan)]
        self.start = at_rest(keras.Model(network.network.inputs[0], network.segments[0].input))
        self.head = at_rest(network.tail(len(plan) - 1))
        self.images, self._at, self._inputs = images, None, []

    def inputs(self, number: int) -> list[tf.Tensor]:
        """What goes into a layer, by batch; for the number of layers what goes into the head."""
        if self._at is None or number < self._at:
            self._at, self._inputs = 0, [self.start(x) for x in self.images]
        while self._at < number:
            self._inputs = [self.runs[self._at](x) for x in self._inputs]
            self._at += 1
        return self._inputs

    def outputs(self, number: int, candidate: keras.Model | None) -> Iterator[tf.Tensor]:
        """The network's outputs with another candidate in one layer, batch by batch."""
        run = _run(candidate)
        for x in self.inputs(number):
            x = run(x)
            for later in self.runs[number + 1 :]:
                x = later(x)
            yield self.head(x)

    def current(self) -> Iterator[tf.Tensor]:
        """The network's outputs, batch by batch."""
        return self.outputs(len(self.runs), None)


def _run(candidate):
    return (lambda x: x) if candidate is None else at_rest(candidate)
