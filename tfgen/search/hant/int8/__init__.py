"""Trained networks in int8: LiteRT files whose weights and activations are integers."""

from tfgen.search.hant.int8.model import Comparison, Int8Model
from tfgen.search.hant.int8.post_training import quantize

__all__ = ["Comparison", "Int8Model", "quantize"]
