"""Regions of images: their boxes, and features of what is within them."""

from tfgen.grounding.regions.features import RegionFeatures
from tfgen.grounding.regions.roi_align import roi_align
from tfgen.grounding.regions.windows import windows

__all__ = ["RegionFeatures", "roi_align", "windows"]
