"""Data-dependent initialisation of weight-normalised convolutions (Salimans & Kingma, 2016).

With kernels of norm one, let a convolution's output on some data have mean m and standard
deviation s per channel. Setting the gain to 1/(5 s) and the bias to -m/(5 s) gives outputs of mean
zero and standard deviation 0.2. Networks without batch norm train better from there.
"""

import tensorflow as tf

from tfgen.layers.declarations import Conv
from tfgen.layers.weights import LiveWeights

SPREAD = 5.0


class DataDependentWeights(LiveWeights):
    """A view that sets gains and biases of the given convolutions as data first pass through them.

    Runs eagerly, once; the variables of the bank are changed.

    Args:
        bank: the `ParameterBank` where the variables live.
        convs: sequence of the weight-normalised convolutions (`Conv`) to initialise.
    """

    def __init__(self, bank, convs):
        super().__init__(bank)
        self._waiting = set(convs)

    def conv(self, conv: Conv, x, before=None, after=None, activation=None):
        self._initialize(conv, x)
        return super().conv(conv, x, before, after, activation)

    def pooled_conv(self, conv: Conv, x):
        self._initialize(conv, x)  # from what is there before the mean
        return super().pooled_conv(conv, x)

    def _initialize(self, conv, x):
        if conv not in self._waiting:
            return
        self._waiting.remove(conv)
        gains = self.bank.log_gains[conv.stack]
        self._assign_row(gains, conv.row, tf.zeros([conv.filters]))
        biases = None if conv.bias_row is None else self.bank.biases[conv.filters]
        if biases is not None:
            self._assign_row(biases, conv.bias_row, tf.zeros([conv.filters]))
        mean, variance = tf.nn.moments(super().conv(conv, x), [0, 1, 2])
        spread = SPREAD * tf.sqrt(variance) + 1e-5
        self._assign_row(gains, conv.row, -tf.math.log(spread))
        if biases is not None:
            self._assign_row(biases, conv.bias_row, -mean / spread)

    def _assign_row(self, variable, row, value):
        stacked = tf.convert_to_tensor(variable)
        variable.assign(tf.tensor_scatter_nd_update(stacked, [[row]], [value]))
        self._rows.clear()  # what was read before is out of date
        self.matrices.clear()
