"""A ring of past chain states on the device, from which new chains may start (Tieleman, 2008)."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range, whole_number
from tfgen.ops.random_streams import fold_in, number
from tfgen.samplers import state as states
from tfgen.samplers.noise import pair_of_integers
from tfgen.training.replicas import gather_over_replicas, num_replicas


def replay_probability(step, maximum: float, anneal_steps: int) -> tf.Tensor:
    """How likely a chain starts from the buffer: rises linearly over `anneal_steps`, then stays.

    Args:
        step: integer or scalar tensor, training steps made.
        maximum: float, the largest probability.
        anneal_steps: integer, steps over which it rises from 0; 0 starts at the largest.

    Returns:
        Scalar in [0, `maximum`].
    """
    step = tf.cast(step, tf.float32)
    return tf.minimum(maximum, maximum * step / max(anneal_steps, 1))


@keras.saving.register_keras_serializable(package="tfgen")
class ReplayBuffer(keras.layers.Layer):
    """The last `capacity` states that were pushed, oldest overwritten first.

    The states live in variables, so that checkpoints hold them, on the device of the model. Pushing
    writes the new rows in place. Under a distribution strategy all replicas hold the same buffer:
    each contributes its states, all as many, and draws its own.

    Args:
        capacity: integer, how many states it holds at most.
        shapes: dict of the shapes of one state's leaves by name, without a batch axis.

    Raises:
        ConfigError: `capacity` is below 1, or there are no shapes.
    """

    def __init__(self, capacity: int, shapes: Mapping[str, Any], **kwargs):
        super().__init__(**kwargs)
        if capacity < 1 or not shapes:
            raise ConfigError(
                f"a replay buffer has capacity {capacity} and leaves {sorted(shapes)}; expected "
                "at least one of both"
            )
        self.capacity = whole_number("capacity", capacity, 1)
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}

    def build(self, input_shape=None):
        del input_shape
        options = dict(initializer="zeros", trainable=False, aggregation="only_first_replica")
        self.rows = {
            name: self.add_weight(
                name=name, shape=(self.capacity, *shape), dtype="float32", **options
            )
            for name, shape in self.shapes.items()
        }
        self.pushed = self.add_weight(name="pushed", shape=(), dtype="int64", **options)
        self.built = True

    def size(self) -> tf.Tensor:
        """States held, int64 scalar."""
        return tf.minimum(tf.convert_to_tensor(self.pushed), tf.constant(self.capacity, tf.int64))

    def mix(self, fresh: Mapping[str, tf.Tensor], probability, seed) -> tuple[dict, tf.Tensor]:
        """Replaces some fresh states by old ones, no old one twice.

        Args:
            fresh: dict `{name: [B, *shape]}` of tensors.
            probability: float or scalar tensor, with which each chain takes a state from the
                buffer.
            seed: two integers.

        Returns:
            The states, and a mask `[B]` of those that came from the buffer. A buffer that holds
            fewer states than are wanted gives what it has.
        """
        fresh = self._checked(fresh, "fresh states")
        in_range("probability", probability, 0.0)
        count = states.num_chains(fresh)
        seed = pair_of_integers(seed)
        keys = tf.random.stateless_uniform([self.capacity], fold_in(seed, number("replay order")))
        held = tf.range(self.capacity, dtype=tf.int64) < self.size()
        places = (
            min(count, self.capacity)
            if isinstance(count, int)
            else tf.minimum(count, self.capacity)
        )
        index = tf.math.top_k(tf.where(held, keys, -1.0), places).indices
        index = tf.pad(index, [[0, count - places]])
        lottery = tf.random.stateless_uniform(
            [count], fold_in(seed, number("replay lottery"))
        ) < tf.cast(probability, tf.float32)
        usable = tf.range(count, dtype=tf.int64) < self.size()
        replayed = lottery & usable
        old = {
            name: tf.cast(tf.gather(tf.convert_to_tensor(self.rows[name]), index), value.dtype)
            for name, value in fresh.items()
        }
        return states.where(replayed, old, fresh), replayed

    def push(self, new: Mapping[str, tf.Tensor], accept=True) -> None:
        """Appends states; none of them where the scalar `accept` is false.

        Args:
            new: dict `{name: [B, *shape]}` of tensors, of all leaves.
            accept: boolean scalar, the same on all replicas. Defaults to `True`.
        """
        new = self._checked(new, "pushed states")
        if missing := sorted(set(self.shapes) - set(new)):
            raise ConfigError(
                f"pushed states lack {missing}; expected all of {sorted(self.shapes)}"
            )
        several = num_replicas() > 1
        new = {name: gather_over_replicas(value) for name, value in new.items()}
        new = {name: value[-self.capacity :] for name, value in new.items()}
        count = tf.cast(states.num_chains(new), tf.int64)
        pushed = tf.convert_to_tensor(self.pushed)
        index = (pushed + tf.range(count)) % self.capacity
        for name, variable in self.rows.items():
            rows = tf.cast(new[name], variable.dtype)
            # Where nothing is to change, what is there is written once more.
            rows = tf.where(accept, rows, tf.gather(tf.convert_to_tensor(variable), index))
            if several:
                places = tf.expand_dims(index, 1)
                old = tf.convert_to_tensor(variable)
                variable.assign(tf.tensor_scatter_nd_update(old, places, rows))
            else:
                variable.value.scatter_nd_update(tf.expand_dims(index, 1), rows)
        self.pushed.assign(tf.where(accept, pushed + count, pushed))

    def _checked(self, given, what) -> dict[str, tf.Tensor]:
        given = {name: tf.convert_to_tensor(value) for name, value in given.items()}
        for name, value in given.items():
            if name not in self.shapes or not value.shape[1:].is_compatible_with(self.shapes[name]):
                leaves = ", ".join(f"{name} [B, *{shape}]" for name, shape in self.shapes.items())
                raise ConfigError(
                    f"{what} have {name!r} of shape {tuple(value.shape)}; expected {leaves}"
                )
        return given

    def get_config(self):
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {**super().get_config(), "capacity": self.capacity, "shapes": shapes}
