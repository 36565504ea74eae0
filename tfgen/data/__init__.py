"""A name and a split in, a `tf.data` pipeline of named arrays out."""

from tfgen.data.catalogue import CATALOGUE, DatasetInfo
from tfgen.data.pipeline import Pipeline
from tfgen.data.readers import load
from tfgen.data.source import Source
from tfgen.data.transforms import quantize

__all__ = ["CATALOGUE", "DatasetInfo", "Pipeline", "Source", "load", "quantize"]
