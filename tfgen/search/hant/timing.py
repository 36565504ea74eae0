"""The latency of every candidate of every layer, and of what stays around them."""

import hashlib
import json

import keras
import numpy as np

from tfgen.search.hant.folding import merge_branches
from tfgen.search.hant.library import Library
from tfgen.search.latency import Block, LatencyTable, Network


def layer_blocks(library: Library) -> list[Block]:
    """What has to be timed: all candidates of all layers, once for equal shapes, and the network.

    Candidates need not be trained. Branches that fold into one convolution are folded.

    Args:
        library: the `Library`.
    """
    blocks = {}
    for number in range(len(library.network.segments)):
        for name in library.choices(number):
            key = _key(library, number, name)
            blocks.setdefault(key, lambda k=number, n=name: _deployed(library, k, n))
    blocks[_network_key(library)] = library.network.network
    return [Block(key, item) for key, item in blocks.items()]


def whole_networks(library: Library, count: int, seed: int = 0) -> list[Network]:
    """Networks with an operation drawn for every layer, to be timed beside their layers.

    Args:
        library: the `Library`; candidates need not be trained.
        count: integer, how many.
        seed: integer that draws them. Defaults to `0`.
    """
    rng, layers = np.random.default_rng(seed), range(len(library.network.segments))
    found = []
    for _ in range(count):
        names = [str(rng.choice(library.choices(number))) for number in layers]
        keys = [_key(library, number, name) for number, name in zip(layers, names)]
        told = "".join([_network_key(library), *keys])
        key = f"network_of_layers/{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        found.append(Network(key, lambda names=names: _assembled(library, names), tuple(keys)))
    return found


def _assembled(library, names) -> keras.Model:
    replacements = {
        number: _deployed(library, number, name)
        for number, name in enumerate(names)
        if library.operations[name]["family"] != "teacher"
    }
    return library.network.assemble(replacements, None)


def layer_latencies(library: Library, table: LatencyTable) -> list[np.ndarray]:
    """Milliseconds of the operations, one array a layer in the order of `library.operations`.

    Args:
        library: the `Library`.
        table: `LatencyTable` of `layer_blocks`.

    Returns:
        Arrays; infinity where an operation does not fit or could not be timed.

    Raises:
        UserError: something was not measured, or a layer itself could not be timed.
    """
    rows, failures = [], table.failures
    for number in range(len(library.network.segments)):
        row = np.full(len(library.operations), np.inf)
        for place, name in enumerate(library.operations):
            key = _key(library, number, name)
            if name in library.choices(number) and key not in failures:
                row[place] = table.milliseconds([key])[0]
        rows.append(row)
    return rows


def network_latency(library: Library, table: LatencyTable) -> tuple[float, float]:
    """Milliseconds of the whole network, and of what is not in its layers: stem and head.

    Args:
        library: the `Library`.
        table: `LatencyTable` of `layer_blocks`.

    Raises:
        UserError: something was not measured, or could not be timed.
    """
    keys = [_key(library, k, library.teacher_name) for k in range(len(library.network.segments))]
    whole = float(table.milliseconds([_network_key(library)])[0])
    return whole, max(0.0, whole - float(table.milliseconds(keys).sum()))


def _key(library, number, name) -> str:
    """The operation, what it ends with, and its shapes; a layer of the network is its own."""
    segment, operation = library.network.segments[number], library.operations[name]
    if operation["family"] == "identity":
        return "identity"
    shapes = (
        "x".join(map(str, segment.input.shape[1:])),
        "x".join(map(str, segment.output.shape[1:])),
    )
    if operation["family"] == "teacher":
        own = f"{library.network.network.name}/{segment.name}/{_layers(segment)}"
    else:
        last = segment.nodes[-1].operation
        own = f"{name}/{library.activation}/{type(last).__name__}"
    return f"{own}/{shapes[0]}/{shapes[1]}"


def _network_key(library) -> str:
    network = library.network.network
    shape = "x".join(map(str, network.inputs[0].shape[1:]))
    every = hashlib.sha256("".join(map(_layers, library.network.segments)).encode()).hexdigest()
    return f"{network.name}/{every[:8]}/{shape}"


def _layers(segment) -> str:
    """A short text of the kinds and sizes of a layer's parts."""
    parts = [
        (type(node.operation).__name__, [tuple(w.shape) for w in _weights(node.operation)])
        for node in segment.nodes
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def _weights(operation):
    return getattr(operation, "weights", ())


def _deployed(library, number, name) -> keras.Model | None:
    """An untrained candidate as it would be run, or the layer itself."""
    operation = library.operations[name]
    if operation["family"] == "teacher":
        return library.network.layer(number)
    model = library.fresh(number, name)
    for layer in model.layers if model is not None else ():
        # Nothing is added at first, in a range of zero, by which LiteRT's fast integer operators
        # cannot scale: what has learnt anything is faster.
        if isinstance(layer, keras.layers.BatchNormalization) and not np.any(layer.gamma):
            layer.gamma.assign(np.ones(layer.gamma.shape))
    return merge_branches(model) if operation["family"] == "repvgg" else model
