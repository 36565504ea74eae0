"""Recipes of phrase grounding, with the paper's numbers (Gupta et al., arXiv:2006.09920)."""

from typing import Any

from ml_collections import config_dict

from tfgen.recipes.sections import check_mode, training


def adam(learning_rate: float = 1e-5, **changes: Any) -> dict:
    """The section `optimizer` of phrase grounding, a dict: Adam at a constant rate.

    Args:
        learning_rate: float, the rate. Defaults to `1e-5`.
    """
    return {
        "name": "adam",
        "learning_rate": learning_rate,
        "warmup_epochs": 0,
        "final_learning_rate": learning_rate,
        "weight_decay": 0.0,
        "epsilon": 1e-8,
        "ema_momentum": config_dict.placeholder(float),
        **changes,
    }


def grounding(name: str, mode: str = "", **model: Any) -> config_dict.ConfigDict:
    """Phrase grounding on features of regions and words, at the paper's scale.

    Args:
        name: string, the data set's name, such as "arrays:flickr30k".
        mode: string, "", "cpu" for half an hour on two cores, or "runlocal" for every step of the
            programs in a minute. Defaults to `""`.
        **model: keyword arguments of `tfgen.PhraseGrounding` that differ from the paper's.

    Returns:
        The recipe, a `ConfigDict`.
    """
    check_mode(mode, ("", "cpu", "runlocal"))
    config = config_dict.ConfigDict()
    config.model = {"name": "phrase_grounding", "num_regions": 30, "num_words": 32, **model}
    config.data = dict(name=name, batch_size=50)
    config.optimizer = adam()
    config.training = training(epochs=10)
    config.evaluation = dict(split="test", num_images=config_dict.placeholder(int), batch_size=50)
    if mode == "cpu":  # the small step is the paper's, for ten epochs of a large set
        config.optimizer = adam(1e-4)
        config.training.update(epochs=4, steps_per_epoch=1000)
    if mode == "runlocal":
        config.training.update(epochs=1, steps_per_epoch=20, report_steps=10)
        config.evaluation.num_images = 100
    return config


def grounding_scenes(mode: str = "") -> config_dict.ConfigDict:
    """Phrase grounding from pictures and token ids of `digit_scenes`, all of it learnt.

    Args:
        mode: string, "", or "runlocal" for every step of the programs in half a minute. Defaults to
            `""`.

    Returns:
        The recipe, a `ConfigDict`.
    """
    config = grounding(
        "digit_scenes",
        mode,
        dims=32,
        num_words=11,
        region_features={
            "image_shape": (96, 96, 1),
            "grids": (3,),
            "overlap": 0.0,
            "crop_size": 12,
        },
        word_encoder={"vocabulary": _SCENE_WORDS, "dims": 32},
    )
    config.data.batch_size = 32
    config.optimizer = adam(2e-3, final_learning_rate=1e-4)
    config.training.epochs = 1 if mode else 40
    config.evaluation.batch_size = 100
    return config


def composed_scenes(mode: str = "") -> config_dict.ConfigDict:
    """Phrase grounding from pictures and token ids of `composed_scenes`, all of it learnt.

    Args:
        mode: string, "", or "runlocal" for every step of the programs in half a minute. Defaults to
            `""`.

    Returns:
        The recipe, a `ConfigDict`.
    """
    config = grounding(
        "composed_scenes",
        mode,
        dims=64,
        num_words=11,
        region_features={
            "image_shape": (96, 96, 1),
            "grids": (3,),
            "overlap": 2 / 3,
            "crop_size": 3,
            "backbone": {"filters": (12, 24, 32)},
            "train_backbone": True,
        },
        word_encoder={"vocabulary": _COMPOSED_WORDS, "dims": 32},
    )
    config.data.batch_size = 32
    config.optimizer = adam(2e-3, final_learning_rate=4e-5)
    config.training.epochs = 1 if mode else 14
    config.evaluation.batch_size = 100
    return config


# The vocabularies of `tfgen.data.scenes` and `tfgen.data.composed_scenes`, which a recipe cannot
# import: that would load TensorFlow.
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_NUMERALS = (
    *("zero", "one", "two", "three", "four"),
    *("five", "six", "seven", "eight", "nine"),
)
_SCENE_WORDS = (*_SPECIAL, "a", "and", "beside", ".", *_NUMERALS)
_COMPOSED_WORDS = (
    *_SPECIAL,
    *("a", "the", "and", "beside", "near", "with", "."),
    *_NUMERALS,
    *("top", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "boot"),
)
