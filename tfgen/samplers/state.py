"""States of chains: any nested structure of tensors `[B, ...]`, one entry of the batch per chain.

A dict of named noises is one state. Everything here treats the leaves together: a norm is that of
all leaves laid end to end.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfgen.errors import UserError
from tfgen.ops.precision import at_least_float32
from tfgen.samplers.checks import one_per_chain

State = Any  # nested tensors `[B, ...]`
Energy = Callable[[State], tf.Tensor]  # state -> [B], smaller is likelier


def prepare(state: State) -> State:
    """The state as tensors of at least float32: steps of 1e-5 vanish in half precision.

    Raises:
        UserError: there is no tensor in it; a leaf has no batch axis, or is not of floating point;
            leaves differ in dtype or number of chains.
    """
    given = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(state)]
    shapes, dtypes = [tuple(leaf.shape) for leaf in given], [leaf.dtype for leaf in given]
    if not given or () in shapes or not all(dtype.is_floating for dtype in dtypes):
        kinds = ", ".join(f"{d.name} {s}" for d, s in zip(dtypes, shapes)) or "nothing"
        raise UserError(
            f"a chain's state must hold floating-point tensors [batch, ...]; got {kinds}"
        )
    leaves = [at_least_float32(leaf) for leaf in given]
    sizes = {leaf.shape[0] for leaf in leaves} - {None}
    if len(sizes) > 1 or len({leaf.dtype for leaf in leaves}) > 1:
        kinds = " and ".join(f"{leaf.dtype.name} {tuple(leaf.shape)}" for leaf in leaves)
        raise UserError(
            f"the leaves of a chain's state are {kinds}; expected one dtype and one batch size"
        )
    return tf.nest.pack_sequence_as(state, leaves)


def num_chains(state: State):
    """Chains in a state: a number where it is known, else a tensor."""
    leaf = tf.nest.flatten(state)[0]
    return leaf.shape[0] if leaf.shape[0] is not None else tf.shape(leaf)[0]


def energy_and_gradient(energy: Energy, state: State) -> tuple[tf.Tensor, State]:
    """Energies `[B]` and the gradient of every chain's energy in its own state.

    One backward pass serves all chains, because no energy depends on another chain's state.

    Raises:
        UserError: the energies are not `[B]`.
    """
    leaves = tf.nest.flatten(state)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(leaves)
        energies = tf.cast(energy(state), leaves[0].dtype)
    one_per_chain("the energy", energies, num_chains(state))
    gradients = tape.gradient(energies, leaves, unconnected_gradients="zero")
    return energies, tf.nest.pack_sequence_as(state, gradients)


def dot(a: State, b: State) -> tf.Tensor:
    """Inner product of every chain, `[B]`."""
    products = [
        tf.reduce_sum(tf.reshape(x * y, [tf.shape(x)[0], -1]), axis=1)
        for x, y in zip(tf.nest.flatten(a), tf.nest.flatten(b))
    ]
    return tf.add_n(products)


def norm(state: State) -> tf.Tensor:
    """Euclidean norm of every chain, `[B]`."""
    return tf.sqrt(dot(state, state))


def number(value, dtype) -> tf.Tensor:
    """A number or tensor in a dtype; a Python float keeps all its digits in float64."""
    return tf.cast(value, dtype) if tf.is_tensor(value) else tf.convert_to_tensor(value, dtype)


def per_chain(value, leaf: tf.Tensor) -> tf.Tensor:
    """A scalar or `[B]` so shaped that it multiplies a leaf `[B, ...]`."""
    value = number(value, leaf.dtype)
    if value.shape.rank == 0:
        return value
    return tf.reshape(value, [-1] + [1] * (leaf.shape.rank - 1))


def combine(*terms: tuple[Any, State]) -> State:
    """`sum of factor * state`; factors are scalars or `[B]`."""

    def one(*leaves):
        return tf.add_n([per_chain(f, leaf) * leaf for (f, _), leaf in zip(terms, leaves)])

    return tf.nest.map_structure(one, *(state for _, state in terms))


def where(accept: tf.Tensor, new: State, old: State) -> State:
    """`new` for the chains where `accept [B]` is true, `old` for the others."""

    def one(a, b):
        return tf.where(tf.reshape(accept, [-1] + [1] * (a.shape.rank - 1)), a, b)

    return tf.nest.map_structure(one, new, old)
