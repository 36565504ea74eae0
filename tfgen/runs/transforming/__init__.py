"""What `tfgen-transform` does: a trained network in, one that is fast on the device at hand out."""

from tfgen.runs.transforming.config import complete
from tfgen.runs.transforming.transforming import Transforming

__all__ = ["Transforming", "complete"]
