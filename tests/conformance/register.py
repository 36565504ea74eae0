"""One tiny instance of everything public that Keras, TensorFlow or TFP can hold.

The tests beside this file ask all of them the same questions, by what they can do, and fail when
something public is missing here. To add a system, add a line to `SYSTEMS`; a class, a row to the
table of its kind in `parts`, or a line to `exempt`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from instances import (
    REGIONS,
    TINY_ENERGY,
    TINY_GENOTYPE,
    TINY_SCORE,
    WORDS,
    caption_batch,
    detector,
    image_batch,
    labelled_batch,
    lsgm,
    making,
    ncp,
    network_classifier,
    nvae,
    vaebm,
)
from parts import DISTRIBUTIONS, FUNCTIONS, LAYERS, METRICS, OPTIMIZERS, SCHEDULES

from tfgen.grounding import PhraseGrounding
from tfgen.grounding.negatives import MaskedLanguageModel
from tfgen.ood import scores as ood_scores
from tfgen.search.unas import (
    SearchedClassifier,
)


class System(NamedTuple):
    """A tiny instance of a system and what it can do.

    Attributes:
        make: makes a fresh one; takes further keyword arguments of the constructor.
        capabilities: some of "trainable", "servable" and "generator".
        batch: `(model, number of examples)` to a batch of data.
    """

    make: Callable
    capabilities: tuple[str, ...] = ("trainable", "servable", "generator")
    batch: Callable[..., Any] = image_batch


SYSTEMS = {
    "nvae": System(nvae()),
    "nvae with everything": System(
        nvae(
            image_shape=(8, 4, 3),
            decoder="logistic_mixture",
            num_mixtures=2,
            num_bits=5,
            edge="nvae2020",
            architecture="res_bnelu",
            squeeze_excite=False,
            residual_posterior=False,
            num_flows=1,
            conditional_flow=True,
            spectral_initial=1.0,
            total_steps=10,
            kl_balance=None,
            recompute=True,
        )
    ),
    "nvae of one group": System(
        nvae(image_shape=(4, 8, 2), decoder="normal", num_groups=1, padding=2)
    ),
    "ncp": System(ncp(nvae())),
    "ncp with everything": System(
        ncp(
            nvae(num_groups=3),
            shared=True,
            quadratic=False,
            num_cells=2,
            num_negatives=3,
            num_proposals=[1, 40, 3],
            seed=3,
        )
    ),
    "vaebm": System(vaebm(nvae(decoder="normal"))),
    "vaebm with everything": System(
        vaebm(
            nvae(image_shape=(4, 8, 3), decoder="normal", num_flows=1),
            energy={**TINY_ENERGY, "signed_input": True, "seed": 4},
            step_size=1e-3,
            noise_scale=0.5,
            potential="official",
            negatives="mean",
            output="sample",
            spectral_coefficient=0.0,
            energy_coefficient=0.1,
            buffer_size=7,
            seed=2,
        )
    ),
    "lsgm": System(
        lsgm(
            nvae(image_shape=(4, 8, 3), decoder="normal", num_groups=1, num_scales=2),
            score_network={**TINY_SCORE, "filtered": True, "attention_grids": [1], "seed": 4},
            scope="all",
            sde={"name": "geometric_sde", "max_variance": 0.99},
            algorithm=3,
            weighting="re",
            cutoff=0.0,
            importance=False,
            spacing="antithetic",
            control_variate=False,
            prediction="velocity",
            mixing_logit=-3.0,
            inactive_below=0.0,
            kl_initial=0.7,
            total_steps=10,
            spectral_coefficient=0.1,
            sampler={"name": "ancestral", "num_steps": 3},
            seed=2,
        )
    ),
    "searched classifier": System(
        making(
            SearchedClassifier,
            TINY_GENOTYPE,
            (16, 16, 3),
            4,
            {"num_channels": 2, "num_cells": 3},
            drop_path=0.3,
            cutout=4,
            label_smoothing=0.1,
            weight_penalty=1e-3,
            pixel_mean=[0.5, 0.4, 0.3],
            pixel_std=0.25,
            total_steps=10,
            seed=2,
        ),
        ("trainable", "servable"),
        labelled_batch,
    ),
}


SYSTEMS["network classifier"] = System(
    network_classifier, ("trainable", "servable"), labelled_batch
)

_SERVED_DETECTOR = ("trainable", "servable"), labelled_batch
SYSTEMS |= {
    "multi-task detector": System(detector("rotation", "cutout", num_classes=3), *_SERVED_DETECTOR),
    "multi-task detector with everything": System(
        detector(
            *("rotation", {"name": "blur", "stddevs": [0.0, 1.0]}, "color_jitter", "sharpen"),
            image_shape=(8, 8, 3),
            num_classes=3,
            ssl_weights=[1.0, 0.5, 0.0, 2.0],
            supervised_weights={"color_jitter": 0.7, "rotation": 1.0},
            head_width=5,
            share_identity=False,
            mean=[0.4, 0.5, 0.6],
            std=[0.2, 0.3, 0.2],
            label_smoothing=0.1,
            crop_padding=1,
            flip=True,
            score="knn",
            task_score_weights="normalised",
            acceptance=0.9,
            other_scores=[ood_scores.KNN(2, 9, 3, shapes={"bank": [9, 6]})],
            seed=3,
        ),
        *_SERVED_DETECTOR,
    ),
}

SYSTEMS |= {
    "phrase grounding": System(
        making(PhraseGrounding, 6, 5, 4, num_regions=4, num_words=3),
        ("trainable", "servable"),
        caption_batch,
    ),
    "phrase grounding of pictures": System(
        making(
            PhraseGrounding,
            dims=4,
            num_words=5,
            region_features=REGIONS,
            word_encoder={"vocabulary": WORDS, "dims": 4},
        ),
        ("trainable", "servable"),
        caption_batch,
    ),
    "phrase grounding with everything": System(
        making(
            PhraseGrounding,
            dims=4,
            num_layers=3,
            image_weight=0.5,
            language_weight=2.0,
            symmetric_weight=0.1,
            learn_temperature=True,
            compat="official",
            num_words=5,
            region_features={**REGIONS, "pool": "mean"},
            word_encoder={"vocabulary": WORDS, "dims": 4, "num_blocks": 1, "num_heads": 2},
            threshold=0.25,
            seed=3,
        ),
        ("trainable", "servable"),
        caption_batch,
    ),
}

SYSTEMS["masked language model"] = System(
    making(MaskedLanguageModel, WORDS, 8, 1, 2, 6, 0.3),
    ("trainable",),
    lambda model, num_examples=3: {"token_ids": tf.ones((num_examples, 4), tf.int32) * 6},
)

KERAS_OBJECTS = {
    **{name: system.make for name, system in SYSTEMS.items()},
    **LAYERS,
    **FUNCTIONS,
    **OPTIMIZERS,
    **SCHEDULES,
    **{name: make for name, (make, _) in METRICS.items()},
}


def registered_types() -> set[type]:
    """Classes that have an instance."""
    makers = [*KERAS_OBJECTS.values(), *(make for make, _ in DISTRIBUTIONS.values())]
    return {type(make()) for make in makers}


def able(capability: str) -> list[str]:
    """Names of the systems that have a capability."""
    return [name for name, system in SYSTEMS.items() if capability in system.capabilities]
