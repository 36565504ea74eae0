"""A name and a split in, a `tf.data` pipeline of named arrays out."""

from tfgen.data.augmentation import ColourJitter, ResizedCrop
from tfgen.data.catalogue import CATALOGUE, DatasetInfo
from tfgen.data.pipeline import Pipeline
from tfgen.data.readers import load
from tfgen.data.source import Source
from tfgen.data.transforms import Binarize, Flip, Quantize, quantize

__all__ = [
    "CATALOGUE",
    "Binarize",
    "ColourJitter",
    "DatasetInfo",
    "Flip",
    "Pipeline",
    "Quantize",
    "ResizedCrop",
    "Source",
    "load",
    "quantize",
]
