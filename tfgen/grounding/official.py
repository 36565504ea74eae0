"""The authors' names of the weights of their four networks, in terms of this model's variables."""

import re
from collections.abc import Mapping

import numpy as np

from tfgen.errors import CheckpointError

_NETWORKS = {
    "ku.K_layer": "region_key",
    "fo.f_layer": "region_value",
    "kw.K_layer": "word_query",
    "fw.f_layer": "word_value",
}
_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "mean",
    "running_var": "variance",
}
_NAME = re.compile(rf"({'|'.join(map(re.escape, _NETWORKS))})(?:\.(\d+))?\.(\w+)")


def variable_of(model, name: str):
    """The variable that one of the authors' parameters is.

    Args:
        model: a built `tfgen.PhraseGrounding`.
        name: string, such as "ku.K_layer.1.running_mean".

    Raises:
        CheckpointError: it is none of the four networks', or of a deeper one.
    """
    found = _NAME.fullmatch(name)
    try:
        prefix, index, word = found.groups()
        network = model._networks[_NETWORKS[prefix]]
        layers = [*network.hidden, network.last]
        place, part = divmod(int(index or 0), 3)  # dense, normalisation, rectifier
        if part == 1:
            return network.norms[place][_NORM[word]]
        return getattr(layers[place], {"weight": "kernel", "bias": "bias"}[word])
    except (AttributeError, IndexError, KeyError) as error:
        raise CheckpointError(
            f"{name!r} is no weight of networks of {model.get_config()['num_layers']} layers; "
            "expected names such as 'ku.K_layer.0.weight'"
        ) from error


def load_official(model, weights: Mapping[str, np.ndarray]) -> None:
    """Gives a model the authors' weights.

    Args:
        model: a `tfgen.PhraseGrounding` of the same sizes.
        weights: dict of arrays by the authors' names, dense kernels `[out, in]`; counters of
            batches are left out.

    Raises:
        CheckpointError: a weight is missing, unknown or of another shape. Nothing is assigned then.
    """
    model.build()
    weights = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    pairs = [(name, variable_of(model, name), as_ours(value)) for name, value in weights.items()]
    for name, variable, value in pairs:
        if tuple(variable.shape) != value.shape:
            raise CheckpointError(
                f"{name!r} has shape {value.shape}; the model has {tuple(variable.shape)}"
            )
    given = {id(variable) for _, variable, _ in pairs}
    networks = model._networks.values()
    missing = [v.path for network in networks for v in network.weights if id(v) not in given]
    if missing:
        raise CheckpointError(
            f"the weights lack {len(missing)} of the model's, {missing[0]!r} first"
        )
    for _, variable, value in pairs:
        variable.assign(value)


def as_ours(value: np.ndarray) -> np.ndarray:
    """A weight, or its gradient, in Keras's layout: dense kernels are `[in, out]`."""
    value = np.asarray(value)
    return value.T if value.ndim == 2 else value
