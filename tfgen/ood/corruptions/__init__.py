"""Corruptions of images: fifteen of the lens, the weather and the file, and three small shifts."""

from tfgen.ood.corruptions.corrupt import CORRUPTIONS, SEVERITIES, SHIFTS, corrupt

__all__ = ["CORRUPTIONS", "SEVERITIES", "SHIFTS", "corrupt"]
