"""Attacks that take a second, compiled once for whatever tests ask of them."""

import functools

import numpy as np
from tiny import (
    PLAIN,
    distinct_batch,
    relu_net,
    smooth_batch_norm_net,
    threat_model,
)

from tfgen.privacy import (
    ATTACKS,
    GradientInversion,
    build_classifier,
)

SHORT = {**PLAIN, "num_steps": 12, "num_seeds": 2}


def psnr(images, truth):
    return -10 * np.log10(np.mean((images - truth) ** 2, axis=(-3, -2, -1)) + 1e-12)


@functools.cache  # compiling costs more than running
def attack_of(**changes):
    """A short attack with everything switched on."""
    return GradientInversion(
        smooth_batch_norm_net(),
        threat_model=threat_model(batch_norm_mode="train", batch_norm_statistics="batch"),
        **{**SHORT, "noise": 0.2, "group": "registered", "group_start": 4, "group_period": 3}
        | changes,
    )


@functools.cache
def plain_attack(model=None, **changes):
    """A short attack on a small network, for what is the same on every network."""
    return GradientInversion(
        model or relu_net(), threat_model=threat_model(), **{**SHORT, "noise": 0.2, **changes}
    )


@functools.cache
def lbfgs_attack():
    settings = {**ATTACKS["dlg"], "num_steps": 8, "num_seeds": 2}
    return GradientInversion(
        build_classifier("lenet", (8, 8, 1), 10), threat_model=threat_model(), **settings
    )


def run(attack, **options):
    images, labels = distinct_batch(3)
    network = attack.network
    return attack.run(
        network.gradients(images, labels),
        batch_size=3,
        batch_norm_statistics=network.statistics(images, labels),
        verbose=0,
        **options,
    )
