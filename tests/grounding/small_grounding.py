"""A small model of phrase grounding that is not trained, and a picture for it."""

import numpy as np

from tfgen import PhraseGrounding

PICTURE = np.zeros((20, 30, 3), np.uint8)
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog")


def make(**encoder) -> PhraseGrounding:
    """The model, with what is given of its encoder of words."""
    return PhraseGrounding(
        dims=4,
        num_layers=1,
        region_features=dict(image_shape=(8, 8, 3), grids=(2,), overlap=0.0, crop_size=1),
        word_encoder=dict(vocabulary=WORDS, dims=4, **encoder),
    )
