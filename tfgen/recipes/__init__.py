"""What the recipes in `configs` share; it loads nothing heavy."""

from tfgen.recipes.grey_vaebm import GREY_MODES, grey_vaebm
from tfgen.recipes.sections import (
    adamax,
    adamw,
    check_mode,
    clipped_adam,
    evaluation,
    over_vae,
    shrink_binary_nvae,
    shrink_vaebm,
    training,
)

__all__ = [
    "GREY_MODES",
    "adamax",
    "adamw",
    "check_mode",
    "clipped_adam",
    "evaluation",
    "grey_vaebm",
    "over_vae",
    "shrink_binary_nvae",
    "shrink_vaebm",
    "training",
]
