"""Where the holes of a prior are: how each group's aggregate posterior departs from its prior.

All numbers come from log r at posterior draws of held-out images and at prior draws in the same
contexts, so they say as much about the classifiers as about the generator: a calibrated classifier
puts `log(posterior draws / prior draws)` of a bin of log r at that log r.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.special
import tensorflow as tf

from tfgen.data.elements import images_of
from tfgen.data.subset import part_of
from tfgen.errors import DataError, UserError
from tfgen.generative.base import seeds_for
from tfgen.generative.ncp.inference import NCPInference
from tfgen.ops import contrastive
from tfgen.samplers import num_proposals_for

# Beyond these a classifier tells nearly every draw apart and its log r is no ratio any more.
LARGEST_ACCURACY = 0.995
SMALLEST_SAMPLE = 5.0  # effective prior draws in all


class NoOverlapError(UserError):
    """Aggregate posterior and prior of a group hardly share any mass."""


def find_holes(
    model: NCPInference,
    dataset: Iterable,
    num_images: int | None = None,
    num_proposals: int = 32,
    seed: int = 0,
    num_bins: int = 12,
) -> dict[str, Any]:
    """Divergence, calibration and cost of resampling of every latent group.

    Args:
        model: a trained `NCPVAE` or its frozen form.
        dataset: iterable of batches `{"images": [B, H, W, C]}` the classifiers were not trained on.
        num_images: integer, only so many, drawn at random by `seed`; None takes all.
        num_proposals: integer, prior draws of every image and group.
        seed: integer, seed of everything drawn.
        num_bins: integer, bins of the calibration curves.

    Returns:
        `groups`, a dict by group of `bce`, `accuracy`, `jsd` (nats, from below), `mean_log_ratio`
        (of posterior draws), `log_z` (of all prior draws together), `ess_fraction`,
        `gain` and `gain_standard_error` (nats, rigorous for resampling from one more than
        `num_proposals`), `suggested_proposals` and `calibration`; and the totals `gain`,
        `gain_standard_error`, `num_images`, `num_proposals`.

    Raises:
        NoOverlapError: log r means nothing in some group.
        DataError: there are no images.
    """
    positive, negative = _log_ratios(model, dataset, num_images, num_proposals, seed)
    groups = {
        name: _describe(name, positive[:, k], negative[:, k], num_bins)
        for k, name in enumerate(model.groups)
    }
    suggested = num_proposals_for({name: g["ess_fraction"] for name, g in groups.items()})
    for k, (name, count) in enumerate(suggested.items()):
        groups[name]["suggested_proposals"] = count if np.any(negative[:, k]) else 1
    gain = contrastive.resampling_gain(positive, negative).numpy().sum(axis=1)
    return {
        "gain": float(gain.mean()),
        "gain_standard_error": float(gain.std() / np.sqrt(len(gain))),
        "num_images": len(positive),
        "num_proposals": num_proposals,
        "groups": groups,
    }


def _log_ratios(model, dataset, num_images, num_proposals, seed):
    """log r of posterior draws `[N, L]` and of prior draws in their contexts `[N, L, M]`."""

    @tf.function(reduce_retracing=True, autograph=False)
    def ask(images, seeds):
        return model.both_classes(images, seeds, num_proposals)[1:]

    seeds, done, rows = seeds_for(num_images or 10**6, seed), 0, []
    for batch in part_of(dataset, num_images, seed).images:
        images = model.as_images(images_of(batch))
        rows.append([x.numpy() for x in ask(images, tf.constant(seeds[done : done + len(images)]))])
        done += len(images)
    if not done:
        raise DataError("the data set to look for holes with is empty; expected images.")
    return tuple(np.concatenate(column) for column in zip(*rows))


def _describe(name, positive, negative, num_bins) -> dict[str, Any]:
    """One group, given log r `[N]` and `[N, M]`."""
    bce = float(np.mean(contrastive.balanced_cross_entropy(positive, negative)))
    accuracy = float(np.mean(contrastive.accuracy(positive, negative)))
    every = np.float64(negative).ravel()
    log_sum = scipy.special.logsumexp(every)
    effective = float(np.exp(2 * log_sum - scipy.special.logsumexp(2 * every)))
    if accuracy > LARGEST_ACCURACY or effective < SMALLEST_SAMPLE:
        raise NoOverlapError(
            f"posterior and prior of latent group {name!r} do not overlap (accuracy "
            f"{accuracy:.4f}, {effective:.1f} effective of {every.size} prior draws): log r is no "
            "density ratio there; split the latents into more groups, improve the base prior, or "
            "leave this group out with num_proposals of 1"
        )
    gain = contrastive.resampling_gain(positive, negative).numpy()
    return {
        "bce": bce,
        "accuracy": accuracy,
        "jsd": float(contrastive.jensen_shannon(bce)),
        "mean_log_ratio": float(np.mean(positive)),
        "log_z": float(log_sum - np.log(every.size)),
        "ess_fraction": effective / every.size,
        "gain": float(gain.mean()),
        "gain_standard_error": float(gain.std() / np.sqrt(len(gain))),
        "calibration": calibration(positive, every, num_bins),
    }


def calibration(positive, negative, num_bins: int = 12) -> dict[str, list[float]]:
    """Claimed and observed log-ratios in bins of log r, each with as many draws as any other.

    Args:
        positive: log r `[N]` of posterior draws.
        negative: log r `[N']` of prior draws.
        num_bins: integer, bins of equal mass under the mixture of both.

    Returns:
        `claimed`, the log of the mean of r over a bin's prior draws; `observed`,
        `log(share of posterior draws / share of prior draws)`; and `standard_error` of the latter
        from its two counts, large where r is small and few posterior draws fall. Bins without
        draws of either are left out.
    """
    both = np.concatenate([positive, negative])
    weights = np.repeat([0.5 / len(positive), 0.5 / len(negative)], [len(positive), len(negative)])
    order = np.argsort(both)
    mass = np.cumsum(weights[order])
    inner = both[order][np.searchsorted(mass, np.arange(1, num_bins) / num_bins)]
    edges = np.concatenate([[-np.inf], np.unique(inner), [np.inf]])
    claimed, observed, errors = [], [], []
    for low, high in itertools.pairwise(edges):
        hit = (positive >= low) & (positive < high)
        inside = (negative >= low) & (negative < high)
        if hit.any() and inside.any():
            observed.append(float(np.log(hit.mean()) - np.log(inside.mean())))
            # Counts are close to Poisson: the logarithm of n varies by 1 / n.
            errors.append(float(np.sqrt(1.0 / hit.sum() + 1.0 / inside.sum())))
            values = np.float64(negative[inside])
            claimed.append(float(scipy.special.logsumexp(values) - np.log(values.size)))
    return {"claimed": claimed, "observed": observed, "standard_error": errors}
