"""What a runtime saves by computing neighbouring layers as one.

    python tools/studies/hant_fusion.py --folder=fusion [--side=28] [--channels=64]

Times a convolution, batch norm and a rectifier, each alone and all as one block, and the same of a
depthwise convolution and of an inverted bottleneck with its shortcut, in LiteRT in float32 and in
int8. The parts' sum over the block says how wrong a table of single layers would be: plans stand on
blocks. The tables stay in the folder. Last, blocks of both precisions run in turn.
"""

import argparse
import pathlib

import keras
import numpy as np
from hant_int8 import speed
from keras import layers

from tfgen.search import hant, latency
from tfgen.search.latency.artefacts import litert_content


def model(shape, build, *more) -> keras.Model:
    """A function of tensors as a model."""
    tensors = [keras.Input(each) for each in (shape, *more)]
    return keras.Model(tensors, build(*tensors))


def blocks(side: int, channels: int) -> tuple[list[latency.Block], dict[str, list[str]]]:
    """What is timed, and of each whole its parts."""
    shape, wide = (side, side, channels), (side, side, 3 * channels)
    single = {
        "convolution": (shape, _convolution(channels, 3)),
        "depthwise": (shape, layers.DepthwiseConv2D(3, padding="same", use_bias=False)),
        "norm": (shape, layers.BatchNormalization()),
        "rectifier": (shape, layers.ReLU(6.0)),
        "expand": (shape, _convolution(3 * channels, 1)),
        "wide depthwise": (wide, layers.DepthwiseConv2D(3, padding="same", use_bias=False)),
        "wide norm": (wide, layers.BatchNormalization()),
        "wide rectifier": (wide, layers.ReLU(6.0)),
        "project": (wide, _convolution(channels, 1)),
        "sum": (shape, lambda x, y: layers.Add()([x, y]), shape),
    }
    parts = {
        "convolution, norm, rectifier": ["convolution", "norm", "rectifier"],
        "depthwise, norm, rectifier": ["depthwise", "norm", "rectifier"],
        "inverted bottleneck": [
            *("expand", "wide norm", "wide rectifier"),
            *("wide depthwise", "wide norm", "wide rectifier"),
            *("project", "norm", "sum"),
        ],
    }

    def whole(names):
        def build(x):
            y = x
            for name in names:
                y = layers.Add()([x, y]) if name == "sum" else _fresh(single[name][1])(y)
            return y

        return model(shape, build)

    found = [
        latency.Block(name, lambda s=shape_of, b=build, m=more: model(s, b, *m))
        for name, (shape_of, build, *more) in single.items()
    ]
    found += [latency.Block(name, lambda n=names: whole(n)) for name, names in parts.items()]
    return found, parts


def _convolution(filters, kernel):
    return layers.Conv2D(filters, kernel, padding="same", use_bias=False)


def _fresh(layer):
    config = {k: v for k, v in layer.get_config().items() if k != "name"}
    return type(layer).from_config(config)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", required=True)
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--channels", type=int, default=64)
    chosen = parser.parse_args()
    folder = pathlib.Path(chosen.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for precision in ("float32", "int8"):
        found, parts = blocks(chosen.side, chosen.channels)
        backend = latency.LiteRTBackend(precision=precision)
        table = latency.measure(found, backend, folder / f"{precision}.json", repeat=4)
        report = latency.additivity(parts, table)
        for name, total, measured in zip(report.names, report.sums, report.measured):
            print(
                f"{precision:8s} {name:30s} parts {total:.3f} ms, block {measured:.3f} ms: "
                f"{total / measured:.2f} times",
                flush=True,
            )
    images = np.random.default_rng(0).standard_normal(
        (8, chosen.side, chosen.side, chosen.channels)
    )
    for name, block in ((b.key, b.made()) for b in found if b.key in parts):
        int8 = hant.quantize(block, images, integer_ends=True)
        times = speed(litert_content(block, 1, "float32"), int8.content, images[:1])
        print(f"int8 over float32 {name:30s} {times:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
