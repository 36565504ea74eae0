"""Transformations whose levels a network can be asked for, as Keras layers.

Mohseni, Vahdat & Yadawa (2021, arXiv:2106.03899) shift images by translation, rotation, blurring,
sharpening, colour jitter, noise and cutout. The levels here are ours: for images of 32 and of 224
pixels, and by the image's height in between. All take images in [0, 1], before any normalisation.
"""

from tfgen.ood.transformations.appearance import Blur, ColorJitter, Cutout, Noise, Sharpen
from tfgen.ood.transformations.base import Transformation
from tfgen.ood.transformations.catalogue import (
    TRANSFORMATIONS,
    FunctionTransformation,
    build,
    build_all,
    register,
    spec_of,
)
from tfgen.ood.transformations.geometric import Flip, Permutation, Rotation, Translation

__all__ = [
    "TRANSFORMATIONS",
    "Blur",
    "ColorJitter",
    "Cutout",
    "Flip",
    "FunctionTransformation",
    "Noise",
    "Permutation",
    "Rotation",
    "Sharpen",
    "Transformation",
    "Translation",
    "build",
    "build_all",
    "register",
    "spec_of",
]
