"""How rare a value is among known ones, in float64: what combined scores sum."""

import math

import numpy as np


def surprise(known, values):
    """-log p of values, by quantiles of known ones and an exponential tail, in float64."""
    tail_size = math.ceil(math.sqrt(len(known)))
    levels = np.linspace(0.0, math.log(len(known) / tail_size), 64)
    knots = np.quantile(known, 1.0 - np.exp(-levels))
    last = knots[-1]
    mean_excess = np.mean(known[known >= last] - last)
    return np.interp(values, knots, levels) + np.maximum(values - last, 0.0) / mean_excess
