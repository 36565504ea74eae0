"""Fromage: every tensor moves by the same fraction of its norm.

Bernstein, Vahdat, Yue and Liu (2020), On the distance between two neural networks and the stability
of learning, arXiv:2002.03432.
"""

import re
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range, one_of
from tfgen.ops.clusters import on_cpu
from tfgen.ops.norms import inner_product, inner_products, norm, norms
from tfgen.optimizers.granularity import Granularity, check_granularity, partition, plain
from tfgen.optimizers.relative_step import (
    RelativeStep,
    apply_in_place,
    apply_step,
    relative_step,
    representable,
)

_DEFAULT_FLOORS = {"sgd": 0.0, "floor": 1e-6, "reference": 0.01}
_NEVER = -1.0  # the starting norm of what was not updated yet


@keras.saving.register_keras_serializable(package="tfgen")
class Fromage(keras.optimizers.Optimizer):
    """Moves every tensor by `learning_rate` times its own norm, and lets no norm drift.

    For each tensor W with gradient g (Algorithm 1, norms over all entries):

        W <- (W - learning_rate * ||W|| / ||g|| * g) / sqrt(1 + learning_rate**2)

    By deep relative trust the loss falls while `(1 + learning_rate)**depth < 1 + cos(angle)`: one
    rate, 0.01, serves networks of up to about 70 layers; fine-tune with 0.001. The size of a step
    never shrinks by itself, so let the rate decay towards the end. There is no momentum and, but
    for the options below, no state. Gradients of any scale give the same step, so `clipnorm` and
    loss scales change nothing (except where a parameter is zero), while `clipvalue` does.

    On one CPU all norms are formed together and every tensor is updated in place by one fused
    operation. Half-precision variables, in which the denominator would round to 1, are updated
    through float32 copies. Sparse gradients are made dense: the denominator moves every row.

    To give some variables another method altogether (Adam for embeddings, say), combine optimizers
    with `keras.optimizers.MultiOptimizer`.

    Args:
        learning_rate: float or schedule, the relative size of a step. Defaults to `0.01`.
        p_bound: float that bounds each norm by this multiple of the norm at the first update.
            `None` does not.
        p_bound_floor: float, root mean square to count at least as a start for `p_bound`. By
            default, `None`, tensors that start at zero are not bounded; the published program has
            `0.0`, with which they stay zero for ever.
        zero_norm: how tensors move that are zero, or nearly. "sgd" (published): from zero, plain
            gradient descent. "floor": norms of parameters and gradients count as `norm_floor` at
            least, as in `optax.fromage`. "reference": root mean squares of parameters count as
            `norm_floor` at least, so that biases starting at zero do not lag. Defaults to `"sgd"`.
        norm_floor: float, the floor that `zero_norm` speaks of; `None` is `1e-6` for "floor" and
            `0.01` for "reference".
        granularity: what shares a norm: "tensor", "layer" (kernel and bias together), "neuron",
            "row" (of an embedding), "head" (of an attention layer), the axes that keep norms of
            their own, or a dict from regular expressions of variable paths to any of these.
            Defaults to `"tensor"`.
        exclude: sequence of regular expressions; variables with one in their path take plain
            gradient steps, without bound. Defaults to `()`.
        weight_decay: float, as in `keras.optimizers.Optimizer`, like the next seven; `None` decays
            nothing.
        clipnorm: float or `None`, largest norm of each gradient. A relative step does not feel it.
        clipvalue: float or `None`, largest magnitude of each element of a gradient.
        global_clipnorm: float or `None`, largest norm of all gradients together. A relative step
            does not feel it.
        use_ema: whether to keep moving averages of the weights. Defaults to `False`.
        ema_momentum: float, decay of the averages per step. Defaults to `0.99`.
        ema_overwrite_frequency: integer, steps after which the averages replace the weights; `None`
            never does it during training.
        loss_scale_factor: float by which the loss is multiplied and gradients are divided; `None`
            is 1.
        gradient_accumulation_steps: integer, batches whose mean gradient makes one step; `None` is
            1.
        name: string, the optimizer's name.

    Example:

    >>> optimizer = Fromage(0.1)
    >>> weight = keras.Variable([3.0, 4.0])
    >>> optimizer.apply([tf.constant([4.0, -3.0])], [weight])  # orthogonal: the norm stays 5
    >>> weight.numpy().round(4).tolist()
    [2.5871, 4.2787]
    """

    def __init__(
        self,
        learning_rate=0.01,
        p_bound: float | None = None,
        p_bound_floor: float | None = None,
        zero_norm: str = "sgd",
        norm_floor: float | None = None,
        granularity: Granularity = "tensor",
        exclude: Sequence[str] = (),
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "fromage",
        **kwargs,
    ):
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
            **kwargs,
        )
        if isinstance(learning_rate, int | float):
            in_range("learning_rate", learning_rate, 0.0)
        _check(p_bound, p_bound_floor, zero_norm, norm_floor, exclude)
        check_granularity(granularity)
        self.p_bound = p_bound
        self.p_bound_floor = p_bound_floor
        self.zero_norm = zero_norm
        self.norm_floor = norm_floor
        self.granularity = granularity
        self.exclude = [exclude] if isinstance(exclude, str) else list(exclude)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._partition = partition(variables, self.granularity, self.exclude)
        # State in a fixed order: it is saved by position.
        self._starts, self._starts_of_parts = None, []
        if self.p_bound is not None:
            self._starts = self._add_starts("starting_norms", [len(self._partition.sizes)])
            self._starts_of_parts = [
                self._add_starts(f"starting_norms_{index}", self._partition.shape_of_norms(index))
                for index in self._partition.axes
            ]
        self._masters = [
            self.add_variable(variable.shape, "zeros", dtype="float32", name=f"master_{index}")
            if _is_half(variable)
            else None
            for index, variable in enumerate(variables)
        ]

    def apply(self, grads, trainable_variables=None):
        # Before anything is clipped or accumulated: the norm of slices would miss repeated rows.
        dense = [tf.convert_to_tensor(g) if isinstance(g, tf.IndexedSlices) else g for g in grads]
        super().apply(dense, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        self._update([gradient], [variable], learning_rate)

    def get_config(self):
        return {
            **super().get_config(),
            "p_bound": self.p_bound,
            "p_bound_floor": self.p_bound_floor,
            "zero_norm": self.zero_norm,
            "norm_floor": self.norm_floor,
            "granularity": plain(self.granularity),
            "exclude": list(self.exclude),
        }

    # Keras would call `update_step` for one variable at a time. Here all are updated at once, on
    # each device of a strategy, after the replicas' gradients were added.

    def _distributed_tf_update_step(self, distribution, grads_and_vars, learning_rate):
        gradients, variables = zip(*grads_and_vars)
        distribution.extended.update(
            variables[0],
            lambda _, gradients, rate: self._update(gradients, variables, rate),
            args=(list(gradients), learning_rate),
            group=False,
        )

    def _apply_weight_decay(self, variables):
        # In half precision `1 - learning_rate * weight_decay` rounds to 1: see `_parameter`.
        super()._apply_weight_decay([v for v in variables if not _is_half(v)])

    def _update(self, gradients, variables, learning_rate):
        rate = tf.cast(learning_rate, tf.float64)
        variables = {self._get_variable_index(v): _local(v) for v in variables}
        parameters = {i: self._parameter(i, v, rate) for i, v in variables.items()}
        gradients = {i: _like(parameters[i], g) for i, g in zip(variables, gradients)}
        steps = self._steps_of_tensors(parameters, gradients, rate)
        for number, index in enumerate(self._partition.axes):
            if index in variables:
                p, g = parameters[index], gradients[index]
                steps[index] = self._steps_of_parts(number, index, p, g, rate)
        for index, variable in variables.items():
            step = steps.get(index, RelativeStep(rate, tf.ones_like(rate), tf.zeros_like(rate)))
            self._write(index, variable, parameters[index], gradients[index], step)

    def _steps_of_tensors(self, parameters, gradients, rate) -> dict[int, RelativeStep]:
        """Of all tensors with one norm, by vectors as long as there are norms."""
        segments = {i: s for i, s in self._partition.segments.items() if i in parameters}
        if not segments:
            return {}
        p, g = ([tensors[i] for i in segments] for tensors in (parameters, gradients))
        sizes, ids = self._partition.sizes, list(segments.values())

        def per_norm(values):
            if ids == list(range(len(sizes))):
                return values
            return tf.math.unsorted_segment_sum(values, ids, len(sizes))

        parameter_norms = tf.sqrt(per_norm(norms(p) ** 2))
        gradient_norms = tf.sqrt(per_norm(norms(g) ** 2))
        bound = {}
        if self.p_bound is not None:
            present = np.isin(np.arange(len(sizes)), ids)
            cap = self._cap(self._starts, parameter_norms, sizes, present)
            bound = dict(inner_product=per_norm(inner_products(p, g)), cap=cap)
        floors = self._floors(sizes)
        step = relative_step(parameter_norms, gradient_norms, rate, floors, **bound)
        dtypes = {x.dtype for x in p}
        if len(dtypes) == 1:  # otherwise each is cast by itself
            step = representable(step, *dtypes)
        each = list(zip(*(tf.unstack(x, len(sizes)) for x in step)))
        return {i: RelativeStep(*each[s]) for i, s in segments.items()}

    def _steps_of_parts(self, number, index, p, g, rate) -> RelativeStep:
        """Of one tensor with several norms, broadcastable to it."""
        axes = self._partition.axes[index]
        parameter_norms, gradient_norms = norm(p, axes), norm(g, axes)
        size = p.shape.num_elements() / max(1, parameter_norms.shape.num_elements())
        bound = {}
        if self.p_bound is not None:
            cap = self._cap(self._starts_of_parts[number], parameter_norms, size)
            bound = dict(inner_product=inner_product(p, g, axes), cap=cap)
        floors = self._floors(size)
        return relative_step(parameter_norms, gradient_norms, rate, floors, **bound)

    def _floors(self, sizes):
        floor = self.norm_floor
        if floor is None:
            floor = _DEFAULT_FLOORS[self.zero_norm]
        if self.zero_norm == "reference":
            return floor * np.sqrt(sizes), 0.0
        return floor, floor

    def _cap(self, starts, parameter_norms, sizes, present=True):
        """The largest norms allowed; what is updated for the first time starts from here."""
        known = tf.cast(_local(starts), tf.float64)
        start = tf.where((known == _NEVER) & present, parameter_norms, known)
        self.assign(_local(starts), start)
        if self.p_bound_floor is None:
            start = tf.where(start > 0.0, start, np.inf)
        else:
            start = tf.maximum(start, self.p_bound_floor * np.sqrt(sizes))
        return self.p_bound * start

    def _parameter(self, index, variable, rate):
        """The variable's value; of half precision, the float32 value it was rounded from."""
        value = tf.convert_to_tensor(variable)
        if self._masters[index] is None:
            return value
        master = tf.convert_to_tensor(_local(self._masters[index]))
        # A variable that was assigned from elsewhere (loaded, say) leaves its copy behind.
        current = tf.cast(master, value.dtype) == value
        master = tf.where(current, master, tf.cast(value, master.dtype))
        if self.weight_decay is not None and self._use_weight_decay(variable):
            master *= tf.cast(1.0 - rate * self.weight_decay, master.dtype)
        return master

    def _write(self, index, variable, parameter, gradient, step: RelativeStep):
        if self._masters[index] is not None:
            parameter = apply_step(parameter, gradient, step)
            self.assign(_local(self._masters[index]), parameter)
            self.assign(variable, parameter)
        elif on_cpu() and step.size.shape.rank == 0:
            apply_in_place(variable, gradient, step)
        else:
            self.assign(variable, apply_step(parameter, gradient, step))

    def _add_starts(self, name, shape):
        return self.add_variable(
            shape, keras.initializers.Constant(_NEVER), dtype="float32", name=name
        )


def _like(parameter, gradient):
    """A gradient in the type and, where TensorFlow lost it (embeddings), shape of its parameter."""
    gradient = tf.cast(gradient, parameter.dtype)
    if gradient.shape.is_fully_defined():
        return gradient
    return tf.ensure_shape(gradient, parameter.shape)


def _is_half(variable) -> bool:
    return tf.as_dtype(variable.dtype) in (tf.float16, tf.bfloat16)


def _local(variable):
    """The TensorFlow variable behind Keras's; of a mirrored one, the copy on this device."""
    if isinstance(variable, keras.Variable):
        variable = variable.value
    on_device = getattr(variable, "_get_on_device_or_primary", None)
    return variable if on_device is None else on_device()


def _check(p_bound, p_bound_floor, zero_norm, norm_floor, exclude) -> None:
    one_of("zero_norm", zero_norm, _DEFAULT_FLOORS)
    if norm_floor is not None and zero_norm == "sgd":
        raise ConfigError("norm_floor has no use with zero_norm='sgd'; leave one of them out")
    if p_bound_floor is not None and p_bound is None:
        raise ConfigError("p_bound_floor has no use without p_bound; leave it out or set both")
    for name, value in dict(
        p_bound=p_bound, p_bound_floor=p_bound_floor, norm_floor=norm_floor
    ).items():
        if value is not None and not 0.0 <= value < float("inf"):
            raise ConfigError(f"{name} is {value!r}; expected a number of at least 0, or None")
    for pattern in [exclude] if isinstance(exclude, str) else exclude:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ConfigError(
                f"exclude holds {pattern!r}, no regular expression: {error}"
            ) from error
