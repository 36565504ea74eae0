"""What the recipes in `configs` share; it loads nothing heavy."""

from tfgen.recipes.gradinversion import deep_attack
from tfgen.recipes.grey_vaebm import GREY_MODES, grey_vaebm
from tfgen.recipes.grounding import composed_scenes, grounding, grounding_scenes
from tfgen.recipes.hant import (
    HANT_MODES,
    MOBILE_HANT_MODES,
    hant,
    mobile_hant,
    shorten_hant,
)
from tfgen.recipes.image_vaebm import (
    REPLAY,
    VAEBM_MODES,
    image_energy,
    image_vaebm,
    normal_nvae,
)
from tfgen.recipes.lsgm import LSGM_MODES, SMALL_LSGM_MODES, binary_lsgm, lsgm, stages
from tfgen.recipes.ncp import binary_ncp, colour_ncp, ncp
from tfgen.recipes.nvae import (
    binary_nvae,
    colour_nvae,
    face_nvae,
    shrink_binary_nvae,
    shrink_colour_nvae,
)
from tfgen.recipes.ood import OOD_MODES, ood, sgd
from tfgen.recipes.sections import (
    adamax,
    adamw,
    check_mode,
    clipped_adam,
    evaluation,
    over_vae,
    shorten,
    training,
)
from tfgen.recipes.unas import (
    CIFAR_PIXELS,
    IMAGENET_PIXELS,
    SEARCH_MODES,
    SEARCHED_MODES,
    searched,
    searched_imagenet,
    unas,
    unas_cifar,
)

__all__ = [
    "CIFAR_PIXELS",
    "GREY_MODES",
    "HANT_MODES",
    "IMAGENET_PIXELS",
    "LSGM_MODES",
    "MOBILE_HANT_MODES",
    "OOD_MODES",
    "REPLAY",
    "SEARCHED_MODES",
    "SEARCH_MODES",
    "SMALL_LSGM_MODES",
    "VAEBM_MODES",
    "adamax",
    "adamw",
    "binary_lsgm",
    "binary_ncp",
    "binary_nvae",
    "check_mode",
    "clipped_adam",
    "colour_ncp",
    "colour_nvae",
    "composed_scenes",
    "deep_attack",
    "evaluation",
    "face_nvae",
    "grey_vaebm",
    "grounding",
    "grounding_scenes",
    "hant",
    "image_energy",
    "image_vaebm",
    "lsgm",
    "mobile_hant",
    "ncp",
    "normal_nvae",
    "ood",
    "over_vae",
    "searched",
    "searched_imagenet",
    "sgd",
    "shorten",
    "shorten_hant",
    "shrink_binary_nvae",
    "shrink_colour_nvae",
    "stages",
    "training",
    "unas",
    "unas_cifar",
]
