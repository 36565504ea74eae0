"""One home for the parameters of a deep convolutional network: same-shaped tensors live stacked.

A network of hundreds of convolutions has only a few dozen different kernel shapes. `ParameterBank`
keeps all kernels of one shape in a single variable `[n, k, k, C_in, C_out]`, and likewise biases,
batch norms and dense layers. Weight normalisation, power iteration, the optimizer's update and the
gradient's all-reduce then touch a few large tensors instead of thousands of small ones, and the
graph stays small.

A network *declares* its parts (`bank.conv(...)` returns a `Conv`) and runs them through one of the
views in `tfgen.layers.weights`.
"""

import zlib

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.layers.declarations import BatchNorm, Conv, Dense, GroupNorm, Stack
from tfgen.ops import spectral
from tfgen.ops import weight_norm as wn


@keras.saving.register_keras_serializable(package="tfgen")
class ParameterBank(keras.layers.Layer):
    """Variables of a declared network.

    Args:
        seed: integer, draws the initial values (PyTorch's defaults: uniform in +-1/sqrt(fan_in)).
            Defaults to `0`.
    """

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.stacks: dict[str, Stack] = {}
        self.bias_fans: dict[int, list[float]] = {}  # width -> fan_in of each row
        self.norm_repeats: dict[int, list[int]] = {}  # channels -> repeat of each row
        self.group_norms: dict[int, int] = {}  # channels -> how many
        self.free_shapes: dict[str, tuple[int, ...]] = {}
        self.constants: set[str] = set()  # of the free ones

    # -- declaring --------------------------------------------------------------------------------

    def conv(
        self,
        channels: int,
        filters: int,
        kernel_size: int,
        *,
        stride: int = 1,
        bias: bool = True,
        weight_norm: bool = True,
        groups: int = 1,
        depthwise: bool = False,
        mask: np.ndarray | None = None,
        mask_name: str = "",
        log_gain_shift: float = 0.0,
        bound: float | None = None,
    ) -> Conv:
        """Declares a convolution.

        Args:
            channels: integer, channels of the input.
            filters: integer, channels of the output (for a depthwise convolution equal to
                `channels`).
            kernel_size: odd integer, height and width of the kernel in pixels.
            stride: integer, 1 or 2. Defaults to `1`.
            bias: whether it has one. Defaults to `True`.
            weight_norm: whether the kernel is weight-normalised. Defaults to `True`.
            groups: integer, blocks of channels that see only each other. Defaults to `1`.
            depthwise: whether every channel has one filter of its own. Defaults to `False`.
            mask: array of zeros and ones like the kernel, applied before the normalisation; None
                masks nothing.
            mask_name: string that tells stacks with different masks apart. Defaults to `""`.
            log_gain_shift: float, added to the initial logarithm of the gain. Defaults to `0.0`.
            bound: float, largest magnitude of the initial kernel, whose bias then starts at zero;
                None is PyTorch's default for both, 1/sqrt(fan_in).

        Raises:
            ConfigError: `groups` does not divide the channels.
        """
        if channels % groups or filters % groups:
            raise ConfigError(
                f"a convolution in {groups} groups cannot have {channels} channels in and "
                f"{filters} out; choose widths that divide by {groups}"
            )
        size = (kernel_size, kernel_size)
        shape = (*size, channels, 1) if depthwise else (*size, channels // groups, filters)
        kind = "depthwise" if depthwise else "conv"
        name = "_".join(
            [kind, "x".join(map(str, shape)), "wn" if weight_norm else "plain", mask_name]
        ).rstrip("_")
        stack = self.stacks.setdefault(name, Stack(shape, kind, weight_norm, mask))
        stack.log_gain_shifts.append(log_gain_shift)
        stack.fans.append(_fan(stack, bound))
        bias_fan = stack.matrix_shape[0] if bound is None else np.inf
        bias_row = self._bias(filters, bias_fan) if bias else None
        return Conv(name, stack.size - 1, filters, stride, groups, depthwise, bias_row)

    def batch_norm(self, channels: int, repeat: int = 1) -> BatchNorm:
        """Declares a batch norm; `repeat=4` when its input stands before a delayed 2x2
        repetition."""
        rows = self.norm_repeats.setdefault(channels, [])
        rows.append(repeat)
        return BatchNorm(channels, len(rows) - 1, repeat)

    def group_norm(self, channels: int, groups: int) -> GroupNorm:
        """Declares a group norm of so many groups, which must divide the channels."""
        row = self.group_norms.get(channels, 0)
        self.group_norms[channels] = row + 1
        return GroupNorm(channels, row, groups)

    def dense(
        self, inputs: int, units: int, gain: float = 1.0, bound: float | None = None
    ) -> Dense:
        """Declares a dense layer with bias; `gain` multiplies the kernel that it starts with, and
        with 0 the bias starts at zero too; `bound` as for `conv`."""
        name = f"dense_{inputs}x{units}" + ("" if gain == 1.0 else f"_gain{gain:g}")
        stack = self.stacks.setdefault(name, Stack((inputs, units), "dense", gain=gain))
        stack.log_gain_shifts.append(0.0)
        stack.fans.append(_fan(stack, bound))
        fan_in = inputs if gain and bound is None else np.inf
        return Dense(name, stack.size - 1, units, self._bias(units, fan_in))

    def free(self, name: str, shape: tuple[int, ...], trainable: bool = True) -> str:
        """Declares a tensor of its own, drawn from U[0, 1)."""
        self.free_shapes[name] = shape
        if not trainable:
            self.constants.add(name)
        return name

    def _bias(self, width: int, fan_in: float) -> int:
        rows = self.bias_fans.setdefault(width, [])
        rows.append(fan_in)
        return len(rows) - 1

    # -- variables --------------------------------------------------------------------------------

    def build(self, input_shape=None):
        del input_shape
        self.kernels, self.log_gains, self.left, self.right = {}, {}, {}, {}
        for name, stack in self.stacks.items():
            self._build_stack(name, stack)
        self.biases = {
            width: self.add_weight(
                name=f"bias_{width}",
                shape=(len(fans), width),
                initializer=self._uniform(f"bias_{width}", fans),
            )
            for width, fans in self.bias_fans.items()
        }
        self.tensors = {
            name: self.add_weight(
                name=name,
                shape=shape,
                initializer=lambda shape, dtype=None, name=name: tf.cast(
                    self._generator(name).random(shape), dtype or "float32"
                ),
                trainable=name not in self.constants,
            )
            for name, shape in self.free_shapes.items()
        }
        self.scales, self.offsets, self.means, self.variances = {}, {}, {}, {}
        for channels, rows in self.norm_repeats.items():
            for target, kind, start, trainable in (
                (self.scales, "scale", "ones", True),
                (self.offsets, "offset", "zeros", True),
                (self.means, "moving_mean", "zeros", False),
                (self.variances, "moving_variance", "ones", False),
            ):
                target[channels] = self.add_weight(
                    name=f"norm_{channels}_{kind}",
                    shape=(len(rows), channels),
                    initializer=start,
                    trainable=trainable,
                )
        self.group_scales, self.group_offsets = {}, {}
        for channels, count in self.group_norms.items():
            for target, kind, start in (
                (self.group_scales, "scale", "ones"),
                (self.group_offsets, "offset", "zeros"),
            ):
                target[channels] = self.add_weight(
                    name=f"group_norm_{channels}_{kind}",
                    shape=(count, channels),
                    initializer=start,
                )
        self.built = True

    def add_weight(self, **options):
        """Keras's, in float32 whatever the policy or `keras.config.floatx()` is: views round."""
        return super().add_weight(**{"dtype": "float32", "autocast": False, **options})

    def _build_stack(self, name: str, stack: Stack):
        rows, filters = stack.matrix_shape
        self.kernels[name] = self.add_weight(
            name=name,
            shape=(stack.size, *stack.shape),
            initializer=self._uniform(name, stack.fans, stack.gain),
        )
        if stack.weight_norm:
            start = wn.initial_log_gain(self.matrices(name))
            start += tf.constant(stack.log_gain_shifts, start.dtype)[:, None]
            self.log_gains[name] = self.add_weight(
                name=f"{name}_log_gain",
                shape=(stack.size, filters),
                initializer=lambda shape, dtype=None: tf.cast(start, dtype),
            )
        if stack.kind != "dense":
            for target, side, length in (
                (self.left, "left", rows),
                (self.right, "right", filters),
            ):
                target[name] = self.add_weight(
                    name=f"{name}_{side}_singular",
                    shape=(stack.size, length),
                    initializer=self._unit_vectors(f"{name}_{side}"),
                    trainable=False,
                )

    def _generator(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def _uniform(self, name: str, fans: list[float], gain: float = 1.0):
        def initializer(shape, dtype=None):
            values = self._generator(name).random(shape, dtype=np.float32) * 2.0 - 1.0
            bound = np.reshape(np.asarray(fans, np.float32) ** -0.5, [-1] + [1] * (len(shape) - 1))
            return tf.cast(values * bound * gain, dtype or "float32")

        return initializer

    def _unit_vectors(self, name: str):
        def initializer(shape, dtype=None):
            values = self._generator(name).standard_normal(shape)
            unit = values / np.linalg.norm(values, axis=-1, keepdims=True)
            return tf.cast(unit, dtype or "float32")

        return initializer

    # -- whole-network quantities -----------------------------------------------------------------

    def matrices(self, name: str) -> tf.Tensor:
        """The raw kernels of a stack as `[n, fan_in, filters]`, masked where the stack has a
        mask."""
        stack = self.stacks[name]
        kernels = tf.convert_to_tensor(self.kernels[name])
        if stack.mask is not None:
            kernels *= tf.constant(stack.mask, kernels.dtype)
        return tf.reshape(kernels, (stack.size, *stack.matrix_shape))

    def effective(self, name: str) -> tf.Tensor:
        """The kernels of a stack after mask and weight normalisation, `[n, fan_in, filters]`."""
        matrices = self.matrices(name)
        if not self.stacks[name].weight_norm:
            return matrices
        return wn.weight_norm(matrices, tf.convert_to_tensor(self.log_gains[name]))

    def spectral_sum(self, matrices: dict[str, tf.Tensor], num_iterations: int = 4):
        """Sum of the largest singular values of all convolutions (NVAE, section 3.2).

        Args:
            matrices: dict of effective kernels `[n, fan_in, filters]` by stack name.
            num_iterations: integer, power iterations before the estimate. Defaults to `4`.

        Returns:
            The sum (float32 scalar) and the updates `[(variable, value)]` of the singular vectors.
        """
        total, updates = 0.0, []
        for name in self.left:
            left, right = spectral.power_iteration(
                matrices[name],
                tf.convert_to_tensor(self.left[name]),
                tf.convert_to_tensor(self.right[name]),
                num_iterations,
            )
            values = spectral.largest_singular_value(matrices[name], left, right)
            total += tf.reduce_sum(values)
            updates += [(self.left[name], left), (self.right[name], right)]
        return total, updates

    def scale_penalty(self) -> tf.Tensor:
        """Sum over batch and group norms of the largest absolute scale (NVAE, section 3.1.1)."""
        scales = [*self.scales.values(), *self.group_scales.values()]
        maxima = [tf.reduce_max(tf.abs(tf.convert_to_tensor(s)), 1) for s in scales]
        return tf.add_n([tf.reduce_sum(m) for m in maxima]) if maxima else tf.zeros([])

    @property
    def num_parameters(self) -> int:
        """Trainable numbers declared, variables or not."""
        free = {k: shape for k, shape in self.free_shapes.items() if k not in self.constants}
        total = sum(int(np.prod(shape)) for shape in free.values())
        total += sum(width * len(fans) for width, fans in self.bias_fans.items())
        total += sum(2 * channels * len(rows) for channels, rows in self.norm_repeats.items())
        total += sum(2 * channels * count for channels, count in self.group_norms.items())
        for stack in self.stacks.values():
            rows, filters = stack.matrix_shape
            total += stack.size * filters * (rows + stack.weight_norm)
        return total

    @property
    def num_convs(self) -> int:
        """Convolutions declared."""
        return sum(s.size for s in self.stacks.values() if s.kind != "dense")

    @property
    def num_batch_norms(self) -> int:
        """Batch norms declared."""
        return sum(map(len, self.norm_repeats.values()))

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def _fan(stack: Stack, bound: float | None) -> float:
    """The number whose inverse root bounds an initial kernel."""
    return stack.matrix_shape[0] if bound is None else bound**-2
