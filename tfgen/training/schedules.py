"""Quantities that change over a training run, as pure functions of the step.

The NVAE recipe (Vahdat and Kautz, 2020, arXiv:2007.03898) has four: the learning rate, the KL
coefficient, the strength of spectral regularisation, and the balance between latent groups while
the KL coefficient is still rising. All of them depend on the step counter and on nothing else, so
a resumed run continues on the same curve.

Steps may be integers or floating point; a float64 step gives a float64 value, anything else
float32.
"""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError


@keras.saving.register_keras_serializable(package="tfgen")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from zero, then a cosine to `final`.

    The warm-up rises with every step. The cosine moves once per epoch, as in the paper's recipe:
    the first epoch after the warm-up still runs at `peak`, the last one at `final`.

        lr = peak * step / warmup_steps                                        while warming up
        lr = final + (peak - final) * (1 + cos(pi * k / period)) / 2           afterwards
        k = epoch - warmup_epochs,  period = epochs - warmup_epochs - 1

    Args:
        peak: float, learning rate at the end of the warm-up.
        warmup_steps: integer, steps of linear rise; `0` starts at `peak`.
        steps_per_epoch: integer, steps in an epoch.
        epochs: integer, epochs in the whole run.
        final: float, learning rate of the last epoch. Defaults to `1e-4`.
        per_step: whether to move the cosine with every step instead of every epoch. Defaults to
            `False`.
        zero_first_step: whether the first step has learning rate zero, as in the paper's recipe;
            otherwise the rise starts at `peak / warmup_steps`. Defaults to `True`.

    Call arguments:
        step: scalar, number of updates made so far.

    Returns:
        The learning rate of the next update, scalar.

    Raises:
        ConfigError: a count or rate is not positive, or the warm-up takes the whole run.
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: int,
        steps_per_epoch: int,
        epochs: int,
        final: float = 1e-4,
        per_step: bool = False,
        zero_first_step: bool = True,
    ):
        super().__init__()
        if steps_per_epoch < 1 or epochs < 1:
            raise ConfigError(
                f"steps_per_epoch and epochs must be at least 1; got {steps_per_epoch}, {epochs}."
            )
        if not 0 <= warmup_steps <= steps_per_epoch * epochs:
            raise ConfigError(
                f"warmup_steps must lie between 0 and the {steps_per_epoch * epochs} steps of the "
                f"run ({epochs} epochs of {steps_per_epoch}); got {warmup_steps}. "
                "Warm up for fewer epochs or train for more."
            )
        if peak < 0 or final < 0:
            raise ConfigError(f"Learning rates must not be negative; got {peak} and {final}.")
        self.peak = float(peak)
        self.warmup_steps = int(warmup_steps)
        self.steps_per_epoch = int(steps_per_epoch)
        self.epochs = int(epochs)
        self.final = float(final)
        self.per_step = bool(per_step)
        self.zero_first_step = bool(zero_first_step)

    def __call__(self, step):
        step = tf.convert_to_tensor(step)
        dtype = _value_dtype(step)
        return tf.where(
            tf.cast(step, dtype) < self.warmup_steps, self._rise(step, dtype), self._fall(step)
        )

    def _rise(self, step, dtype):
        step = tf.cast(step, dtype) + (0.0 if self.zero_first_step else 1.0)
        return self.peak * step / max(self.warmup_steps, 1)

    def _fall(self, step):
        dtype = _value_dtype(step)
        unit = 1 if self.per_step else self.steps_per_epoch
        # Integer division first: epochs are counted exactly, however long the run.
        elapsed = tf.cast(tf.cast(step, tf.int64) // unit, dtype) - self.warmup_steps / unit
        period = (self.steps_per_epoch * self.epochs - self.warmup_steps) / unit - 1
        progress = tf.clip_by_value(elapsed / max(period, 1.0), 0.0, 1.0)
        return self.final + (self.peak - self.final) * 0.5 * (1 + tf.cos(math.pi * progress))

    def get_config(self):
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "steps_per_epoch": self.steps_per_epoch,
            "epochs": self.epochs,
            "final": self.final,
            "per_step": self.per_step,
            "zero_first_step": self.zero_first_step,
        }


class KLWarmup:
    """The coefficient beta_t of the KL term of the NVAE recipe.

        beta_t = max(min((t - constant * N) / (ramp * N), 1), minimum)

    It rises linearly with every step. A rise per epoch is not offered: it is known to cost
    several nats.

    Args:
        total_steps: integer N, the steps of the whole run.
        constant: float, fraction of the run during which beta stays at `minimum`. Defaults to
            `1e-4`.
        ramp: float, fraction of the run over which beta rises to one; `0` has no warm-up at all.
            Defaults to `0.3`.
        minimum: float, smallest coefficient. Defaults to `1e-4`.

    Call arguments:
        step: scalar t.

    Returns:
        beta_t, scalar.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(
        self,
        total_steps: int,
        constant: float = 1e-4,
        ramp: float = 0.3,
        minimum: float = 1e-4,
    ):
        if total_steps < 1:
            raise ConfigError(f"total_steps must be at least 1; got {total_steps}.")
        if ramp < 0 or constant < 0:
            raise ConfigError(
                f"The fractions of the KL warm-up must not be negative; got ramp={ramp} and "
                f"constant={constant}."
            )
        self.total_steps = int(total_steps)
        self.constant = float(constant)
        self.ramp = float(ramp)
        self.minimum = float(minimum)

    def __call__(self, step):
        step = tf.convert_to_tensor(step)
        step = tf.cast(step, _value_dtype(step))
        if self.ramp == 0:
            return tf.ones_like(step)
        beta = (step - self.constant * self.total_steps) / (self.ramp * self.total_steps)
        return tf.maximum(tf.minimum(beta, 1.0), self.minimum)


def anneal_coefficient(beta, initial: float, final: float):
    """Geometric path from `initial` at beta = 0 to `final` at beta = 1.

    NVAE anneals the strength of its spectral regularisation this way along the KL warm-up:
    lambda_t = exp((1 - beta) log initial + beta log final).

    Args:
        beta: KL coefficient in `[0, 1]`, scalar.
        initial: float, value at the start, positive.
        final: float, value at the end, positive.

    Returns:
        The coefficient, scalar of the dtype of `beta`.

    Raises:
        ConfigError: an end is not positive.
    """
    if initial <= 0 or final <= 0:
        raise ConfigError(
            f"A geometric path needs positive ends; got initial={initial} and final={final}."
        )
    beta = tf.convert_to_tensor(beta)
    return tf.exp((1 - beta) * math.log(initial) + beta * math.log(final))


def group_weights(groups_per_scale: Sequence[int], kind: str = "square") -> np.ndarray:
    """The sizes alpha_l by which KL balancing compares latent groups, in decoder order.

    Args:
        groups_per_scale: sequence of integers, latent groups on each scale, coarsest (top) scale
            first.
        kind: how the size grows with the scale i: `"square"` is `4**i` divided by the number of
            groups on that scale (the paper), `"equal"` is 1, `"linear"` is `2**i`, `"sqrt"` is
            `2**(i / 2)`. Defaults to `"square"`.

    Returns:
        float64 `[L]`, divided by its minimum.

    Raises:
        ConfigError: `kind` is none of these.
    """
    rules = {
        "square": lambda scale, groups: 4.0**scale / groups,
        "equal": lambda scale, groups: 1.0,
        "linear": lambda scale, groups: 2.0**scale,
        "sqrt": lambda scale, groups: 2.0 ** (scale / 2),
    }
    if kind not in rules:
        raise ConfigError(f"KL balancing must be one of {', '.join(rules)}; got {kind!r}.")
    weights = [
        rules[kind](scale, groups)
        for scale, groups in enumerate(groups_per_scale)
        for _ in range(groups)
    ]
    return np.array(weights) / min(weights)


def balance_coefficients(kl_per_group_mean_abs, alpha, beta):
    """The factors gamma_l on the KL of each group during warm-up (NVAE, appendix A).

        a_l = mean |KL_l| + 0.01,    gamma_l = (a_l / alpha_l) * L / sum_j (a_j / alpha_j)

    A group that carries much KL for its size is penalised harder, so that unused groups come to
    life. The factors are constants for the gradient, have mean one, and are all one as soon as
    beta has reached one.

    Args:
        kl_per_group_mean_abs: `[L]`, mean over the batch of the absolute KL of each group, nats.
        alpha: `[L]`, from `group_weights`.
        beta: KL coefficient, scalar.

    Returns:
        `[L]`, of the dtype of the first argument.
    """
    kl = tf.convert_to_tensor(kl_per_group_mean_abs)
    share = (tf.stop_gradient(kl) + 0.01) / tf.cast(alpha, kl.dtype)
    gamma = share / tf.reduce_mean(share)
    return tf.where(tf.cast(beta, kl.dtype) < 1, gamma, tf.ones_like(gamma))


def _value_dtype(step):
    return tf.float64 if step.dtype == tf.float64 else tf.float32
