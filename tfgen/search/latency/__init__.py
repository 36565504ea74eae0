"""How long a block takes on the device at hand, measured, kept in tables and added up."""

from tfgen.search.latency.additivity import Additivity, additivity
from tfgen.search.latency.backends import (
    BACKENDS,
    Backend,
    KerasBackend,
    LiteRTBackend,
    OnnxBackend,
    ReplayedBackend,
)
from tfgen.search.latency.blocks import REFERENCE, Block, BlockError, Network
from tfgen.search.latency.calibration import LEAST_NETWORKS, Calibration, calibration
from tfgen.search.latency.measuring import measure, unmeasured
from tfgen.search.latency.table import Entry, LatencyTable, Repeat

__all__ = [
    "BACKENDS",
    "LEAST_NETWORKS",
    "REFERENCE",
    "Additivity",
    "Backend",
    "Block",
    "BlockError",
    "Calibration",
    "Entry",
    "KerasBackend",
    "LatencyTable",
    "LiteRTBackend",
    "Network",
    "OnnxBackend",
    "Repeat",
    "ReplayedBackend",
    "additivity",
    "calibration",
    "measure",
    "unmeasured",
]
