"""What chains say about their health."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfgen.errors import UserError
from tfgen.ops.precision import at_least_float32
from tfgen.samplers.chain import Trace


def effective_sample_size(values) -> tf.Tensor:
    """Independent draws that `[K, B, ...]` values of B chains are worth, `[...]`.

    Geyer's initial positive sequence over lags, across chains (Vehtari et al., 2021).

    Args:
        values: array or tensor `[K, B, ...]`, K draws of each of B chains.
    """
    return tfp.mcmc.effective_sample_size(
        _draws(values),
        filter_beyond_positive_pairs=True,
        cross_chain_dims=1,
    )


def potential_scale_reduction(values) -> tf.Tensor:
    """R-hat of `[K, B, ...]`, `[...]`: near 1 once the chains have forgotten their starts.

    Args:
        values: array or tensor `[K, B, ...]`, K draws of each of B chains.
    """
    return tfp.mcmc.potential_scale_reduction(
        _draws(values), independent_chain_ndims=1, split_chains=True
    )


def _draws(values) -> tf.Tensor:
    values = at_least_float32(values)
    if values.shape.rank is not None and values.shape.rank < 2:
        raise UserError(
            f"values has shape {tuple(values.shape)}; expected [steps, chains, ...]: a single "
            "chain needs values[:, None]"
        )
    return values


def num_distinct(images) -> int:
    """How many of `[N, ...]` differ from all others; resampling and stuck chains repeat some.

    Args:
        images: array or tensor `[N, ...]`.
    """
    images = np.ascontiguousarray(images)
    return len({image.tobytes() for image in images})


def summary(trace: Trace) -> dict[str, float]:
    """A trace in a few numbers: means at the start and end, and of the acceptance.

    Args:
        trace: a `Trace` of `[K, B]`.
    """
    energy = np.asarray(trace.energy, np.float64)
    gradient_norm = np.asarray(trace.gradient_norm, np.float64)
    return {
        "energy_first": float(energy[0].mean()),
        "energy_last": float(energy[-1].mean()),
        "gradient_norm_first": float(gradient_norm[0].mean()),
        "gradient_norm_last": float(gradient_norm[-1].mean()),
        "acceptance": float(np.mean(trace.acceptance)),
        "step_size_last": float(np.mean(trace.step_size[-1])),
    }
