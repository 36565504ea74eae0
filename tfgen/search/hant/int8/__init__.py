"""Trained networks in int8: LiteRT files whose weights and activations are integers."""

from tfgen.search.hant.int8.aware import quantize_aware
from tfgen.search.hant.int8.fake_quantization import FakeQuantize
from tfgen.search.hant.int8.model import Comparison, Int8Model
from tfgen.search.hant.int8.post_training import quantize

__all__ = [
    "Comparison",
    "FakeQuantize",
    "Int8Model",
    "quantize",
    "quantize_aware",
]
