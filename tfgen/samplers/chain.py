"""Running a step many times, and what chains report about themselves."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfgen.ops.checks import whole_number
from tfgen.ops.clusters import on_cpu
from tfgen.samplers.state import Energy, State


class Trace(NamedTuple):
    """What happened in a chain of K steps.

    Attributes:
        energy: `[K, B]`, before each step.
        gradient_norm: `[K, B]`, likewise.
        acceptance: `[K, B]`, probability with which each proposal was accepted; ones where every
            move is made.
        step_size: `[K, B]`.
    """

    energy: tf.Tensor
    gradient_norm: tf.Tensor
    acceptance: tf.Tensor
    step_size: tf.Tensor


class Chain(NamedTuple):
    """The result of a sampler: the last state, and the trace of the way there.

    Args:
        state: nested tensors `[B, ...]`, the last state.
        trace: a `Trace` of `[K, B]`, or what the sampler records instead.
    """

    state: State
    trace: Trace


def iterate(
    step: Callable, carry, num_steps: int, unroll: bool = False, trace: type | tuple = Trace
):
    """`num_steps` calls of `step(k, carry) -> (carry, row)` as one loop, whose rows are stacked.

    Args:
        step: function `(k, carry) -> (carry, row)`, one step of the chain; `k` counts from 0.
        carry: nested tensors, what one step hands to the next.
        num_steps: integer, at least 1.
        unroll: whether to write the steps out one by one, for runtimes without loops.
        trace: the type of a row, any `NamedTuple` of tensors like the carry's in dtype; or one that
            holds the dtype of every field. Defaults to `Trace`.

    Returns:
        The last carry, and the rows as one such tuple of `[K, ...]`.
    """
    num_steps = whole_number("num_steps", num_steps, 1)
    kind, dtypes = _fields(trace, carry)
    if unroll:
        rows = []
        for k in range(num_steps):
            carry, row = step(k, carry)
            rows.append(row)
        return carry, kind(*(tf.stack(column) for column in zip(*rows)))
    arrays = tuple(tf.TensorArray(dtype, num_steps) for dtype in dtypes)

    def body(k, carry, arrays):
        after, row = step(k, carry)
        # What a step computes may have forgotten a dimension, which loops do not forgive.
        after = tf.nest.map_structure(
            lambda new, old: tf.ensure_shape(new, old.shape), after, carry
        )
        return k + 1, after, tuple(a.write(k, value) for a, value in zip(arrays, row))

    _, carry, arrays = tf.while_loop(
        lambda k, *_: k < num_steps,
        body,
        (tf.constant(0), carry, arrays),
        parallel_iterations=1,
        maximum_iterations=num_steps,
    )
    return carry, kind(*(array.stack() for array in arrays))


def _fields(trace, carry) -> tuple[type, list]:
    """The type of a trace's rows, and the dtypes of their fields."""
    if isinstance(trace, type):
        return trace, [tf.nest.flatten(carry)[0].dtype] * len(trace._fields)
    return type(trace), [tf.as_dtype(dtype) for dtype in trace]


def compiled(
    sampler: Callable[..., Chain], energy: Energy, jit_compile: bool | None = None, **options
) -> Callable[..., Chain]:
    """A sampler of one energy as one compiled program, traced once for each shape of state.

    Args:
        sampler: function `langevin`, `mala`, `hmc`, or anything called like them.
        energy: function, state -> `[B]`; whatever variables it reads may change between calls.
        jit_compile: whether XLA compiles the loop; None: on GPU and TPU. On CPUs XLA is slower at
            convolutions than the plain graph. From one seed it draws other random numbers; noise
            that is given is the same.
        **options: keyword arguments of the sampler that stay as they are, such as `num_steps`.
            Numbers given here are constants of the program; given at the call as tensors they may
            change without a new trace.

    Returns:
        A function of the state and the remaining keyword arguments, best given as tensors.
    """
    function = functools.partial(sampler, energy, **options)
    jit_compile = not on_cpu() if jit_compile is None else jit_compile
    return tf.function(function, jit_compile=jit_compile, autograph=False, reduce_retracing=True)
