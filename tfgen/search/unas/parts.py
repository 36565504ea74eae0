"""What a search is made of, from what stands for it: names, dicts, configurations."""

from collections.abc import Mapping

import keras

from tfgen.ops.checks import one_of
from tfgen.search.unas.block_supernet import BlockSupernet
from tfgen.search.unas.cell_supernet import CellSupernet
from tfgen.search.unas.criteria import Criterion
from tfgen.search.unas.estimators import ESTIMATORS, GradientEstimator

SUPERNETS = {"cells": CellSupernet, "blocks": BlockSupernet}


def make_supernet(given) -> keras.Model | None:
    """A supernet from what stands for it; see `UNAS`.

    Raises:
        ConfigError: there is none of this name.
    """
    if not isinstance(given, Mapping):
        return given
    if "class_name" in given:
        return keras.saving.deserialize_keras_object(dict(given))
    options = dict(given)
    return SUPERNETS[one_of("supernet", options.pop("name", None), SUPERNETS)](**options)


def make_estimator(given, name: str | None = None) -> GradientEstimator:
    """An estimator from what stands for it; one that is given by itself is copied for a name.

    Raises:
        ConfigError: there is none of this name.
    """
    if isinstance(given, GradientEstimator):
        return given if name is None else type(given)(**{**_own(given), "name": name})
    if isinstance(given, Mapping) and "class_name" in given:
        return keras.saving.deserialize_keras_object(dict(given))
    options = dict(given) if isinstance(given, Mapping) else {"name": given}
    kind = ESTIMATORS[one_of("estimator", options.pop("name", None), ESTIMATORS)]
    return kind(**options)


def _own(layer) -> dict:
    """The arguments of a layer's own."""
    return {k: v for k, v in layer.get_config().items() if k not in ("name", "trainable", "dtype")}


def make_criterion(given, groups) -> Criterion:
    """A criterion from what stands for it; see `UNAS`."""
    if isinstance(given, Criterion):
        return given
    if "class_name" in given:
        return keras.saving.deserialize_keras_object(dict(given))
    return Criterion(**{"groups": groups, **given})
