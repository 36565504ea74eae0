"""Shift-only inverse autoregressive flow on a latent group (NVAE, section 3.2; posterior only).

Each step subtracts from z a shift that depends only on what comes earlier in raster order; its
Jacobian is unit-triangular, so the density does not change. A pair runs in raster order, then
mirrored.
"""

import numpy as np
import tensorflow as tf

from tfgen.layers.bank import ParameterBank

HIDDEN_PER_CHANNEL = 6


def causal_mask(size: int, channels: int, filters: int, *, strict: bool, mirror: bool):
    """Ones where an autoregressive kernel may look, `[size, size, channels, filters]` float32.

    Args:
        size: odd integer, height and width of the kernel.
        channels: integer, input channels.
        filters: integer, output channels; the larger count is a multiple of the smaller, in blocks.
        strict: whether, at the centre, to see only blocks before one's own.
        mirror: whether it is turned in both spatial directions (the order of channels stays).
    """
    mask = np.zeros((size, size, channels, filters), np.float32)
    middle = size // 2
    mask[:middle] = 1.0
    mask[middle, :middle] = 1.0
    blocks = min(channels, filters)
    inputs = np.arange(channels)[:, None] // (channels // blocks)
    outputs = np.arange(filters)[None, :] // (filters // blocks)
    mask[middle, middle] = inputs < outputs if strict else inputs <= outputs
    return mask[::-1, ::-1].copy() if mirror else mask


class ShiftFlow:
    """`z - m(z)` in one order.

    Args:
        bank: the `ParameterBank` where parameters are declared.
        latent_channels: integer, channels of z.
        mirror: whether to run in the opposite spatial order.
        feature_channels: integer, channels of encoder features to condition on; 0 for the
            published, unconditional flow.
    """

    def __init__(self, bank: ParameterBank, latent_channels, mirror, feature_channels=0):
        hidden = HIDDEN_PER_CHANNEL * latent_channels
        side = "mirror" if mirror else "raster"

        def masked(inputs, outputs, size, strict, **kwargs):
            mask = causal_mask(size, inputs, outputs, strict=strict, mirror=mirror)
            if kwargs.get("depthwise"):
                mask = causal_mask(size, 1, 1, strict=False, mirror=mirror)
            return bank.conv(inputs, outputs, size, mask=mask, mask_name=side, **kwargs)

        self.enter = masked(latent_channels, hidden, 3, True, bias=False)
        self.spread = masked(hidden, hidden, 5, False, bias=False, depthwise=True)
        self.leave = masked(hidden, latent_channels, 1, False, log_gain_shift=-np.log(10.0))
        self.condition = bank.conv(feature_channels, hidden, 1) if feature_channels else None

    def __call__(self, w, z, features=None):
        return z - self.shift(w, z, features)

    def shift(self, w, z, features=None):
        """m(z), like z; under mixed precision computed in half, while z itself stays whole."""
        hidden = w.conv(self.enter, tf.cast(z, w.dtype))
        if self.condition is not None:
            hidden += w.conv(self.condition, features)
        hidden = w.conv(self.spread, tf.nn.elu(hidden))
        # The published network applies ELU twice here; its weights need it that way.
        return tf.cast(w.conv(self.leave, tf.nn.elu(tf.nn.elu(hidden))), z.dtype)

    def inverse(self, w, z, features=None):
        """The z whose image under the flow is given, one position and channel after the other."""
        _, height, width, channels = z.shape

        def step(_, guess):
            return z + self.shift(w, guess, features)

        # The shift is strictly causal: after k sweeps the first k entries of the order are exact.
        sweeps = height * width * channels
        return tf.while_loop(
            lambda i, _: i < sweeps, lambda i, guess: (i + 1, step(i, guess)), (0, tf.identity(z))
        )[1]
