"""Knowing what a network was not made for: scores of out-of-distribution images.

Larger scores are more out-of-distribution, everywhere.
"""

from tfgen.ood import scores

__all__ = ["scores"]
