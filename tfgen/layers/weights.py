"""Views of a parameter bank: what a declared network computes with during one pass.

`LiveWeights` reads the variables (training or inference); `FoldedWeights` holds kernels into which
weight norm and batch norm have been multiplied, for sampling and export. A network is written once
against the three calls `conv`, `norm` and `dense` and runs with either.
"""

import tensorflow as tf

from tfgen.layers.bank import ParameterBank
from tfgen.layers.declarations import BatchNorm, Conv, Dense, GroupNorm
from tfgen.ops import batch_norm as bn_ops
from tfgen.ops.convolution import conv2d, depthwise_conv2d, grouped_conv2d, phase_conv2d
from tfgen.ops.group_norm import group_norm
from tfgen.ops.pointwise import activate, affine
from tfgen.ops.pooled_convolution import pooled_conv2d, pooled_kernel
from tfgen.ops.precision import at_most_float32

FIRST_POWER_ITERATIONS = 40  # as in NVAE's published code
MOMENTUM = 0.95  # of running statistics: new = 0.95 old + 0.05 batch (PyTorch's momentum 0.05)


def convolve(conv: Conv, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
    """Runs a declared convolution with the given kernel."""
    if not conv.depthwise and conv.groups == 1:
        return conv2d(x, kernel, conv.stride, bias)
    if conv.depthwise:
        y = depthwise_conv2d(x, kernel, conv.stride)
    else:
        y = grouped_conv2d(x, kernel, conv.groups, conv.stride)
    return y if bias is None else tf.nn.bias_add(y, bias)


class LiveWeights:
    """The bank's variables during one pass.

    Args:
        bank: the `ParameterBank` where the variables live.
        training: whether to take batch statistics (and record them in `moments`) instead of running
            ones. Defaults to `False`.
        dtype: string, dtype to compute in; "float64" means float32, in which weights are kept.
            Defaults to `"float32"`.
        recompute: whether cells keep only their input for the backward pass. Defaults to `False`.
    """

    def __init__(
        self,
        bank: ParameterBank,
        training: bool = False,
        dtype: str = "float32",
        recompute: bool = False,
    ):
        self.bank = bank
        self.training = training
        self.recompute = recompute
        self.dtype = at_most_float32(dtype)
        self.matrices: dict[str, tf.Tensor] = {}
        self.moments: dict[BatchNorm, tuple[tf.Tensor, tf.Tensor]] = {}
        self._rows: dict[tuple, list[tf.Tensor]] = {}

    def conv(self, conv: Conv, x, before=None, after=None, activation=None):
        """`activation(after(conv(before(x))))`, `before` and `after` being batch norms or None."""
        if before is not None:
            x = self.norm(before, x)
        y = convolve(conv, x, self.kernel(conv), self.bias(conv))
        return activate(y, activation) if after is None else self.norm(after, y, activation)

    def pooled_conv(self, conv: Conv, x):
        """Means of the output over blocks of 2x2 pixels; for plain convolutions of stride 1."""
        return pooled_conv2d(x, pooled_kernel(self.kernel(conv)), self.bias(conv))

    def phase_conv(self, convs, x):
        """Concatenated outputs of 1x1 convolutions, each of one pixel phase: `phase_conv2d`."""
        biases = [self.bias(conv) for conv in convs]
        return phase_conv2d(x, [self.kernel(conv) for conv in convs], tf.concat(biases, 0))

    def norm(self, norm: BatchNorm, x, activation=None):
        """Batch norm and activation."""
        if not self.training:
            scale, offset = self.affine(norm)
            return affine(x, tf.cast(scale, x.dtype), tf.cast(offset, x.dtype), activation)
        scale, offset = (self._row(k, norm.channels, norm.row) for k in ("scales", "offsets"))
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas == 1:
            y, mean, variance = bn_ops.normalize(x, scale, offset, activation)
        else:
            near = self._row("means", norm.channels, norm.row)
            y, mean, variance = bn_ops.normalize_synchronized(x, scale, offset, activation, near)
        # PyTorch keeps the unbiased variance of all pixels that the layer stands for.
        count = bn_ops.pixel_count(x) * norm.repeat * replicas
        self.moments[norm] = (mean, variance * (count / (count - 1.0)))
        return y

    def group_norm(self, norm: GroupNorm, x, activation=None, shift=None):
        """Group norm and activation, by the statistics of each example; `shift` `[B, C]` is added
        to all pixels before."""
        scale = self._row("group_scales", norm.channels, norm.row)
        offset = self._row("group_offsets", norm.channels, norm.row)
        return group_norm(x, scale, offset, norm.groups, activation, shift)

    def dense(self, dense: Dense, x, activation=None):
        """`activation(x W + b)` on `[B, inputs]`."""
        kernel = tf.cast(self._row("kernels", dense.stack, dense.row), x.dtype)
        bias = tf.cast(self._row("biases", dense.units, dense.bias_row), x.dtype)
        y = tf.matmul(x, kernel) + bias
        return y if activation is None else activation(y)

    def free(self, name: str) -> tf.Tensor:
        """A tensor declared by `ParameterBank.free`."""
        return tf.cast(tf.convert_to_tensor(self.bank.tensors[name]), self.dtype)

    def kernel(self, conv: Conv) -> tf.Tensor:
        """The effective kernel `[k, k, C_in, C_out]`, each stack computed once a pass."""
        rows = self._rows.get(("effective", conv.stack))
        if rows is None:
            matrices = self.effective(conv.stack)
            stack = self.bank.stacks[conv.stack]
            kernels = tf.reshape(tf.cast(matrices, self.dtype), (stack.size, *stack.shape))
            rows = self._rows["effective", conv.stack] = tf.unstack(kernels)
        return rows[conv.row]

    def effective(self, name: str) -> tf.Tensor:
        """Effective kernels of a stack as float32 matrices, computed once a pass."""
        if name not in self.matrices:
            self.matrices[name] = self.bank.effective(name)
        return self.matrices[name]

    def bias(self, conv: Conv) -> tf.Tensor | None:
        """The bias `[C_out]`, or None."""
        if conv.bias_row is None:
            return None
        return tf.cast(self._row("biases", conv.filters, conv.bias_row), self.dtype)

    def affine(self, norm: BatchNorm) -> tuple[tf.Tensor, tf.Tensor]:
        """Inference-mode batch norm as `x * scale + offset`."""
        scale, offset, mean, variance = (
            self._row(kind, norm.channels, norm.row)
            for kind in ("scales", "offsets", "means", "variances")
        )
        factor = scale * tf.math.rsqrt(variance + bn_ops.EPSILON)
        return factor, offset - mean * factor

    def spectral_sum(self, num_iterations: int = 4):
        """See `ParameterBank.spectral_sum`; uses the kernels of this pass."""
        matrices = {name: self.effective(name) for name in self.bank.left}
        return self.bank.spectral_sum(matrices, num_iterations)

    def initialize_singular_vectors(self) -> None:
        """Forty power iterations, for use before the first step.

        One operation at a time: they take less than tracing them would.
        """
        _, updates = self.spectral_sum(FIRST_POWER_ITERATIONS)
        for variable, value in updates:
            variable.assign(value)

    def statistics_updates(self) -> list[tuple]:
        """Running statistics after this pass, `[(variable, value)]`; untouched layers keep
        theirs."""
        updates = []
        for channels, rows in self.bank.norm_repeats.items():
            seen = {norm.row: m for norm, m in self.moments.items() if norm.channels == channels}
            if not seen:
                continue
            for i, variables in enumerate((self.bank.means, self.bank.variances)):
                old = tf.convert_to_tensor(variables[channels])
                olds = tf.unstack(old) if len(seen) < len(rows) else None
                batch = tf.stack([seen[r][i] if r in seen else olds[r] for r in range(len(rows))])
                value = MOMENTUM * old + (1 - MOMENTUM) * batch
                if olds is not None:  # to the last bit
                    value = tf.where([[r in seen] for r in range(len(rows))], value, old)
                updates.append((variables[channels], value))
        return updates

    def _row(self, kind: str, name, row: int) -> tf.Tensor:
        rows = self._rows.get((kind, name))
        if rows is None:
            stacked = tf.convert_to_tensor(getattr(self.bank, kind)[name])
            rows = self._rows[kind, name] = tf.unstack(stacked)
        return rows[row]


class FoldedWeights:
    """Kernels with weight norm and batch norm multiplied in.

    Made from inference-mode `LiveWeights`: what a network asks for is folded at the first request
    and kept in `folded`. With `folded` given (variables or constants), nothing else is needed.

    Args:
        source: `LiveWeights` in inference mode and float32, or None when `folded` is complete.
        folded: dict of tensors by declared part; None starts empty.
        dtype: string, dtype to compute in; the folding itself is done in float32. Defaults to
            `"float32"`.
    """

    training = False
    recompute = False

    def __init__(
        self, source: LiveWeights | None, folded: dict | None = None, dtype: str = "float32"
    ):
        self.source = source
        self.folded = {} if folded is None else folded
        self.dtype = at_most_float32(dtype)

    def conv(self, conv: Conv, x, before=None, after=None, activation=None):
        """As `LiveWeights.conv`, in one convolution."""
        if conv not in self.folded:
            self._keep(conv, *self._fold(conv, before, after))
        kernel, bias = self.folded[conv]
        return activate(convolve(conv, x, tf.convert_to_tensor(kernel), bias), activation)

    def pooled_conv(self, conv: Conv, x):
        """As `LiveWeights.pooled_conv`; what is kept is the kernel with the mean in it."""
        if conv not in self.folded:
            kernel, bias = self._fold(conv, None, None)
            self._keep(conv, pooled_kernel(kernel), bias)
        kernel, bias = self.folded[conv]
        return pooled_conv2d(x, tf.convert_to_tensor(kernel), bias)

    def phase_conv(self, convs, x):
        """As `LiveWeights.phase_conv`."""
        for conv in convs:
            if conv not in self.folded:
                self._keep(conv, *self._fold(conv, None, None))
        kernels, biases = zip(*(self.folded[conv] for conv in convs))
        kernels = [tf.convert_to_tensor(kernel) for kernel in kernels]
        return phase_conv2d(x, kernels, tf.concat(biases, 0))

    def norm(self, norm: BatchNorm, x, activation=None):
        """Batch norm that follows no convolution: one multiplication and addition."""
        if norm not in self.folded:
            self._keep(norm, *self.source.affine(norm))
        scale, offset = self.folded[norm]
        return affine(x, tf.convert_to_tensor(scale), tf.convert_to_tensor(offset), activation)

    def group_norm(self, norm: GroupNorm, x, activation=None, shift=None):
        """As `LiveWeights.group_norm`."""
        if norm not in self.folded:
            kinds = ("group_scales", "group_offsets")  # float32 as the statistics
            rows = (self.source._row(kind, norm.channels, norm.row) for kind in kinds)
            self.folded[norm] = tuple(map(tf.identity, rows))
        scale, offset = (tf.cast(tensor, tf.float32) for tensor in self.folded[norm])
        return group_norm(x, scale, offset, norm.groups, activation, shift)

    def dense(self, dense: Dense, x, activation=None):
        """As `LiveWeights.dense`."""
        if dense not in self.folded:
            kernel = self.source._row("kernels", dense.stack, dense.row)
            self._keep(dense, kernel, self.source._row("biases", dense.units, dense.bias_row))
        kernel, bias = (tf.cast(tensor, x.dtype) for tensor in self.folded[dense])
        y = tf.matmul(x, kernel) + bias
        return y if activation is None else activation(y)

    def free(self, name: str) -> tf.Tensor:
        """As `LiveWeights.free`."""
        if name not in self.folded:
            self.folded[name] = tf.cast(self.source.free(name), self.dtype)
        return tf.convert_to_tensor(self.folded[name])

    def _keep(self, part, *tensors):
        self.folded[part] = tuple(tf.cast(tensor, self.dtype) for tensor in tensors)

    def _fold(self, conv: Conv, before: BatchNorm | None, after: BatchNorm | None):
        kernel, bias = self.source.kernel(conv), self.source.bias(conv)
        bias = tf.zeros([conv.filters]) if bias is None else bias
        if before is not None:  # only before 1x1 convolutions, where no padding sees the offset
            scale, offset = self.source.affine(before)
            bias += tf.linalg.matvec(kernel[0, 0], offset, transpose_a=True)
            kernel *= scale[:, None]
        if after is not None:
            scale, offset = self.source.affine(after)
            kernel *= scale[:, None] if conv.depthwise else scale
            bias = bias * scale + offset
        return kernel, bias
