"""Regions of images: their boxes, and features of what is within them."""

from tfgen.grounding.regions.detectors import DetectorRegions
from tfgen.grounding.regions.features import RegionFeatures
from tfgen.grounding.regions.files import OfficialRegions, Regions, read_tsv, stacked
from tfgen.grounding.regions.maf import MAFRegions
from tfgen.grounding.regions.roi_align import roi_align
from tfgen.grounding.regions.selective_search import selective_search
from tfgen.grounding.regions.windows import windows

__all__ = [
    "DetectorRegions",
    "MAFRegions",
    "OfficialRegions",
    "RegionFeatures",
    "Regions",
    "read_tsv",
    "roi_align",
    "selective_search",
    "stacked",
    "windows",
]
