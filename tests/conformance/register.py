"""One tiny instance of everything public that Keras, TensorFlow or TFP can hold.

The tests beside this file ask all of them the same questions, by what they can do, and fail when
something public is missing here. To add a system, add a line to `SYSTEMS`; a class, a row to the
table of its kind.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfgen import distributions, layers, metrics, optimizers, samplers, training
from tfgen.generative.lsgm import LSGM, FrozenLSGM, ScoreMLP, ScoreNetwork, ScoreUNet
from tfgen.generative.ncp import NCPVAE, FrozenNCPVAE
from tfgen.generative.nvae import NVAE, FrozenNVAE
from tfgen.generative.over_vae import FrozenOverVAE, OverVAEModel
from tfgen.generative.vaebm import VAEBM, EnergyNetwork, FrozenVAEBM
from tfgen.grounding import PhraseGrounding
from tfgen.grounding.negatives import MaskedLanguageModel
from tfgen.grounding.projection import Projection
from tfgen.grounding.regions import RegionFeatures
from tfgen.grounding.words import WordEncoder
from tfgen.layers import convolutional
from tfgen.layers.drop_path import DropPath
from tfgen.ood import MultiTaskOOD, multi_task, transformations
from tfgen.ood import scores as ood_scores
from tfgen.ood.multi_task.detection import Detection
from tfgen.ood.multi_task.ending import FinishesCalibrated
from tfgen.ood.multi_task.scores import EnsembleKLToUniform
from tfgen.ood.scores.logits import LogitScore
from tfgen.ood.scores.shaping import ShapedFeatures
from tfgen.ood.scores.transformed import TransformedScore
from tfgen.search.hant import NetworkClassifier, mobile_network
from tfgen.search.hant.int8 import fake_quantization
from tfgen.search.unas import (
    UNAS,
    ArchitectureDistribution,
    Criterion,
    GradientEstimator,
    GumbelSoftmax,
    Reinforce,
    SearchedClassifier,
    UnbiasedEstimator,
)
from tfgen.search.unas.block_supernet import BlockSupernet
from tfgen.search.unas.cell_supernet import CellSupernet
from tfgen.search.unas.supernet import Supernet
from tfgen.search.unas.surrogates import OnlineSurrogate
from tfgen.search.unas.variance import RunningVariance
from tfgen.training.keras_methods import KerasMethods

RNG = np.random.default_rng(0)

_TINY = {
    "image_shape": (8, 8, 1),
    "padding": 0,
    "num_channels": 4,
    "num_scales": 1,
    "num_groups": 2,
    "latent_channels": 3,
    "encoder_cells": 1,
    "decoder_cells": 1,
    "preprocess_blocks": 1,
    "preprocess_cells": 1,
    "postprocess_blocks": 1,
    "postprocess_cells": 1,
}


def _making(type_, *arguments, **options):
    """Makes fresh instances; takes further keyword arguments of the constructor."""
    return lambda **kwargs: type_(*arguments, **{**options, **kwargs})


def _nvae(**options):
    return _making(NVAE, **{**_TINY, **options})


def _ncp(vae, **options):
    """Over a generator of its own each time."""
    options = {"width": 8, "num_cells": 1, "num_proposals": 5, "chunk_size": 16, **options}
    return lambda **kwargs: NCPVAE(vae(), **{**options, **kwargs})


_TINY_ENERGY = {"architecture": [[1, True], [2, False]], "num_channels": 4}


def _vaebm(vae, **options):
    """Over a generator of its own each time."""
    options = {"energy": _TINY_ENERGY, "num_steps": 2, "sample_steps": 2, **options}
    return lambda **kwargs: VAEBM(vae(), **{**options, **kwargs})


_TINY_NODE = [[["dilated_3x3", 0], ["skip", 1]]]
_TINY_GENOTYPE = {"normal": _TINY_NODE, "reduction": _TINY_NODE}
_TINY_SCORE = {"num_channels": 4, "multipliers": [1], "num_blocks": 1, "embedding_dims": 4}


def _lsgm(vae, **options):
    """Over a generator of its own each time."""
    options = {
        "score_network": _TINY_SCORE,
        "sampler": {"name": "dpm_solver", "num_steps": 3},
        "num_evaluation_times": 1,
        **options,
    }
    return lambda **kwargs: LSGM(vae(), **{**options, **kwargs})


def _bank(**kwargs):
    """A bank with a row of everything."""
    result = layers.ParameterBank(**kwargs)
    result.conv(3, 4, 3)
    result.conv(4, 4, 5, depthwise=True, bias=False, weight_norm=False)
    result.dense(4, 2)
    result.batch_norm(4)
    result.group_norm(4, 2)
    result.free("start", (2, 2, 3))
    return result


def _tensor(*shape):
    return tf.constant(RNG.standard_normal(shape), tf.float32)


def _levels(count, *shape):
    return tf.constant(RNG.integers(0, count, shape) / (count - 1), tf.float32)


def image_batch(model, num_images=3):
    """Images that any decoder can score, as `fit` would get them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (num_images, *model.image_shape))
    return {"images": tf.constant(images, tf.float32)}


def labelled_batch(model, num_images=3):
    """Images and labels of any classifier."""
    images = np.random.default_rng(0).random((num_images, *model.image_shape))
    labels = np.arange(num_images) % (model.num_classes or 10)
    return {"images": tf.constant(images, tf.float32), "labels": tf.constant(labels, tf.int32)}


@keras.saving.register_keras_serializable(package="tfgen_tests")
def mirrored_rows(images, level):
    """A transformation of one's own."""
    return tf.reverse(images, [1])


_TINY_CNN = {"name": "small_cnn", "widths": [4, 6], "strides": [1, 2]}


def _multi_task(*transformations, **options):
    """With a threshold, as what is served has to have."""

    def make(**kwargs):
        given = {"image_shape": (8, 8, 1), **options, **kwargs}
        model = MultiTaskOOD(_TINY_CNN, transformations, **given)
        for variable, value in ((model.fitted_to, 50), (model.calibrated_on, 40)):
            variable.assign(value)
        for score in model.scores.values():
            for statistic in score.weights:
                statistic.assign(statistic + 1.0)
        model.threshold.assign(1.5)
        return model

    return make


_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "red", "ball"]
_REGIONS = {"image_shape": (8, 8, 3), "grids": (1, 2), "crop_size": 2}


def caption_batch(model, num_examples=3):
    """Images and captions, as features or for the parts that make those."""
    rng = np.random.default_rng(0)
    batch = {"image_ids": tf.range(num_examples)}
    if model.word_encoder is not None:
        batch |= {
            "images": tf.constant(rng.random((num_examples, 8, 8, 3)), tf.float32),
            "token_ids": tf.constant(rng.integers(1, 10, (num_examples, 4))),
            "word_positions": tf.constant(rng.integers(0, 4, (num_examples, 2))),
            "negative_ids": tf.constant(rng.integers(1, 10, (num_examples, 3))),
            "noun_position": tf.constant(rng.integers(0, 4, num_examples)),
        }
        return batch
    shapes = {"regions": (4, 6), "words": (3, 5), "negatives": (3, 5)}
    features = {k: rng.normal(size=(num_examples, *shape)) for k, shape in shapes.items()}
    return batch | {name: tf.constant(value, tf.float32) for name, value in features.items()}


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
    "nvae": System(_nvae()),
    "nvae with everything": System(
        _nvae(
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
        _nvae(image_shape=(4, 8, 2), decoder="normal", num_groups=1, padding=2)
    ),
    "ncp": System(_ncp(_nvae())),
    "ncp with everything": System(
        _ncp(
            _nvae(num_groups=3),
            shared=True,
            quadratic=False,
            num_cells=2,
            num_negatives=3,
            num_proposals=[1, 40, 3],
            seed=3,
        )
    ),
    "vaebm": System(_vaebm(_nvae(decoder="normal"))),
    "vaebm with everything": System(
        _vaebm(
            _nvae(image_shape=(4, 8, 3), decoder="normal", num_flows=1),
            energy={**_TINY_ENERGY, "signed_input": True, "seed": 4},
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
        _lsgm(
            _nvae(image_shape=(4, 8, 3), decoder="normal", num_groups=1, num_scales=2),
            score_network={**_TINY_SCORE, "filtered": True, "attention_grids": [1], "seed": 4},
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
        _making(
            SearchedClassifier,
            _TINY_GENOTYPE,
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


def _network_classifier(**kwargs):
    """Around a network that is made when it is needed."""
    options = dict(stages=[(2, 4, 2, 2, 3)], stem=4, head=6)
    network = mobile_network((8, 8, 3), 4, **options)
    return NetworkClassifier(network, label_smoothing=0.1, temperature=3.0, **kwargs)


SYSTEMS["network classifier"] = System(
    _network_classifier, ("trainable", "servable"), labelled_batch
)

_DETECTOR = ("trainable", "servable"), labelled_batch
SYSTEMS |= {
    "multi-task detector": System(_multi_task("rotation", "cutout", num_classes=3), *_DETECTOR),
    "multi-task detector with everything": System(
        _multi_task(
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
        *_DETECTOR,
    ),
}

SYSTEMS |= {
    "phrase grounding": System(
        _making(PhraseGrounding, 6, 5, 4, num_regions=4, num_words=3),
        ("trainable", "servable"),
        caption_batch,
    ),
    "phrase grounding of pictures": System(
        _making(
            PhraseGrounding,
            dims=4,
            num_words=5,
            region_features=_REGIONS,
            word_encoder={"vocabulary": _WORDS, "dims": 4},
        ),
        ("trainable", "servable"),
        caption_batch,
    ),
    "phrase grounding with everything": System(
        _making(
            PhraseGrounding,
            dims=4,
            num_layers=3,
            image_weight=0.5,
            language_weight=2.0,
            symmetric_weight=0.1,
            learn_temperature=True,
            compat="official",
            num_words=5,
            region_features={**_REGIONS, "pool": "mean"},
            word_encoder={"vocabulary": _WORDS, "dims": 4, "num_blocks": 1, "num_heads": 2},
            threshold=0.25,
            seed=3,
        ),
        ("trainable", "servable"),
        caption_batch,
    ),
}

SYSTEMS["masked language model"] = System(
    _making(MaskedLanguageModel, _WORDS, 8, 1, 2, 6, 0.3),
    ("trainable",),
    lambda model, num_examples=3: {"token_ids": tf.ones((num_examples, 4), tf.int32) * 6},
)

LAYERS = {
    "self-supervised score": _making(
        multi_task.SelfSupervised, [1.0, 2.0], True, shapes={"scales": [2]}
    ),
    "combined score": _making(
        ood_scores.Combined,
        [ood_scores.KLToUniform(), ood_scores.Energy(2.0)],
        shapes=ood_scores.Combined.shapes_of(2),
    ),
    "projection": _making(Projection, 6, 4, 3, 0.8, 2),
    "word encoder": _making(WordEncoder, _WORDS, 4, num_blocks=1, num_heads=2),
    "drop path": _making(DropPath, 0.3, 5),
    "architecture distribution": _making(
        ArchitectureDistribution, {"a/input": (2, 3), "b": (1, 5)}, 0.7, 0.08
    ),
    "unbiased estimator": _making(UnbiasedEstimator, 0.9, True, True, 0.9),
    "reinforce": _making(Reinforce, "average", 0.8),
    "running variance": _making(RunningVariance, 5, 0.9),
    "fake quantization": _making(fake_quantization.FakeQuantize, 2, "learnt", 0.9),
    "parameter bank": _bank,
    "energy network": _making(EnergyNetwork, (8, 8, 3), **_TINY_ENERGY),
    "score network of grids": _making(
        ScoreUNet, (4, 4, 3), 8, (1, 2), 1, attention_grids=(4,), filtered=True, embedding_dims=8
    ),
    "score network of vectors": _making(ScoreMLP, (3,), 8, 2, embedding="fourier"),
    "mahalanobis": _making(
        ood_scores.Mahalanobis,
        2,
        True,
        3,
        shapes={"origin": [4], "inverse_scale": [4], "whitening": [4, 3], "centres": [2, 3]},
    ),
    "csi": _making(
        ood_scores.CSI,
        "rotation",
        9,
        shapes={"directions": [4, 9, 3], "nearness": [4], "sureness": [4]},
    ),
    "knn": _making(ood_scores.KNN, 2, 9, 3, shapes={"bank": [9, 4]}),
    "dirichlet": _making(
        ood_scores.DirichletNormality, "rotation", shapes={"concentration": [4, 4]}
    ),
    "distance of levels": _making(
        ood_scores.TransformationDistance, "rotation", shapes={"centres": [4, 4]}
    ),
    "vim": _making(
        ood_scores.ViM, 2, shapes={"origin": [4], "residual_space": [4, 2], "scale": []}
    ),
    "react": _making(ood_scores.ReAct, 80.0, shapes={"kernel": [4, 3], "bias": [3], "most": []}),
    "ash": _making(ood_scores.ASH, 70.0, "prune", shapes={"kernel": [4, 3], "bias": [3]}),
    "replay buffer": _making(samplers.ReplayBuffer, 5, {"z_0": [2, 2, 3], "z_1": [4]}),
}

# Layers without weights.
FUNCTIONS = {
    **{
        f"transformation: {name}": _making(type_)
        for name, type_ in transformations.TRANSFORMATIONS.items()
    },
    "transformation: translation with everything": _making(
        transformations.Translation, 3, "axes", True, "wrap", name="other"
    ),
    "transformation of one's own": _making(
        transformations.FunctionTransformation, mirrored_rows, 2, True
    ),
    "ensemble score": _making(EnsembleKLToUniform),
    "max softmax": _making(ood_scores.MaxSoftmax),
    "max logit": _making(ood_scores.MaxLogit, name="other"),
    "energy": _making(ood_scores.Energy, 2.0),
    "kl to uniform": _making(ood_scores.KLToUniform),
    "entropy": _making(ood_scores.Entropy),
    "odin": _making(ood_scores.ODIN, 10.0, 0.01, [0.5, 0.2]),
}

OPTIMIZERS = {
    "adam": _making(optimizers.Adam, 0.05, 0.8, epsilon=0.01),
    "adamw": _making(optimizers.AdamW, 0.05, weight_decay=0.1),
    "sgd": _making(optimizers.SGD, 0.05, 0.8, weight_decay=0.1),
    "adamax": _making(optimizers.Adamax, 0.05, epsilon=0.01, weight_decay=0.02),
    "clipped adam": _making(
        optimizers.ClippedAdam, 0.05, 0.8, 0.9, 1e-6, 0.02, clip_factor=2.0, clip_offset=0.2
    ),
    "clipped adam that does not clip": _making(optimizers.ClippedAdam, clip_factor=None),
    "adamax on a schedule": _making(optimizers.Adamax, training.WarmupCosine(0.1, 2, 3, 4)),
    "fromage": _making(optimizers.Fromage),
    "fromage with everything": _making(
        optimizers.Fromage,
        0.1,
        p_bound=1.05,
        p_bound_floor=0.1,
        zero_norm="reference",
        norm_floor=0.02,
        granularity={"kernel": "neuron", "embeddings": [0], "": "layer"},
        exclude=["gamma"],
        weight_decay=0.1,
    ),
    "fromage on a schedule": _making(optimizers.Fromage, training.WarmupCosine(0.1, 2, 3, 4)),
}

SCHEDULES = {"warm-up and cosine": _making(training.WarmupCosine, 0.1, 4, 3, 10, final=1e-3)}

# With what `update_state` takes.
METRICS = {
    "mean": (_making(metrics.MeanWithStandardError, name="value"), _tensor(5)),
    "importance-weighted bound": (
        _making(metrics.ImportanceWeightedBound, name="bound"),
        _tensor(3, 5),
    ),
}

_PRIOR = distributions.ClampedNormal(_tensor(2, 3), _tensor(2, 3))

# With values to score.
DISTRIBUTIONS = {
    "clamped normal": (
        _making(distributions.ClampedNormal, _tensor(2, 3), _tensor(2, 3), 0.7),
        _tensor(2, 3),
    ),
    "residual normal": (
        _making(distributions.ResidualNormal, _PRIOR, _tensor(2, 3), _tensor(2, 3)),
        _tensor(2, 3),
    ),
    "cropped bernoulli": (
        _making(distributions.CroppedBernoulli, _tensor(2, 6, 6, 1), padding=1),
        _levels(2, 2, 4, 4, 1),
    ),
    "logistic mixture": (
        _making(distributions.DiscretizedLogisticMixture, _tensor(2, 3, 3, 20), num_channels=3),
        _levels(256, 2, 3, 3, 3),
    ),
    "pixel normal": (
        _making(distributions.PixelNormal, _tensor(2, 3, 3, 4)),
        _levels(256, 2, 3, 3, 2),
    ),
}

KERAS_OBJECTS = {
    **{name: system.make for name, system in SYSTEMS.items()},
    **LAYERS,
    **FUNCTIONS,
    **OPTIMIZERS,
    **SCHEDULES,
    **{name: make for name, (make, _) in METRICS.items()},
}

# What has no instance here, and why.
EXEMPT = {
    Supernet: "abstract; CellSupernet and BlockSupernet stand for it",
    Detection: "abstract; MultiTaskOOD stands for it",
    FinishesCalibrated: "abstract; MultiTaskOOD stands for it",
    transformations.Transformation: "abstract; those of tfgen.ood.transformations stand for it",
    training.Model: "abstract; NVAE and the toy model of tests/training stand for it",
    KerasMethods: "abstract, what `training.Model` has of Keras's methods: tests/training",
    OverVAEModel: "abstract; NCPVAE, VAEBM and LSGM stand for it",
    FrozenOverVAE: "abstract; their frozen forms stand for it",
    ScoreNetwork: "abstract; ScoreUNet and ScoreMLP stand for it",
    training.JointOptimizer: "needs a model's groups of variables: tests/training",
    ood_scores.Score: "abstract; those of tfgen.ood.scores stand for it",
    LogitScore: "abstract; those of tfgen.ood.scores stand for it",
    ShapedFeatures: "abstract; ReAct and ASH stand for it",
    TransformedScore: "abstract; DirichletNormality and TransformationDistance stand for it",
    GradientEstimator: "abstract; those of tfgen.search.unas stand for it",
    convolutional.BatchNormalization: "has Keras's arguments: tests/layers",
    convolutional.Conv2D: "has Keras's arguments: tests/layers",
    convolutional.DepthwiseConv2D: "has Keras's arguments: tests/layers",
    BlockSupernet: "takes an architecture beside its images: tests/search",
    CellSupernet: "takes an architecture beside its images: tests/search",
    RegionFeatures: "has no weights without a backbone: tests/grounding",
    Criterion: "measures with whatever function it is given: tests/search",
    OnlineSurrogate: "keeps float64, as regression needs: tests/search",
    UNAS: "trains on pairs of images and serves nothing: tests/search",
    fake_quantization.QuantizedConv2D: "needs the shape of its inputs: tests/search",
    fake_quantization.QuantizedDense: "needs the shape of its inputs: tests/search",
    fake_quantization.QuantizedDepthwiseConv2D: "needs the shape of its inputs: tests/search",
    GumbelSoftmax: "has neither options nor variables: tests/search",
    FrozenNCPVAE: "made by NCPVAE.frozen(), not by a configuration: tests/generative, tests/export",
    FrozenVAEBM: "made by VAEBM.frozen(), not by a configuration: tests/generative, tests/export",
    FrozenLSGM: "made by LSGM.frozen(), not by a configuration: tests/generative, tests/export",
    FrozenNVAE: "made by NVAE.frozen(), not by a configuration: tests/generative, tests/export",
}
_ELSEWHERE = {  # by module: callbacks, which Keras does not serialise
    "tfgen.generative.ncp.selection": "tests/generative",
    "tfgen.generative.vaebm.guard": "tests/generative",
    "tfgen.grounding.selection": "tests/grounding",
    "tfgen.optimizers.diagnostics": "tests/optimizers",
    "tfgen.search.unas.phases": "tests/search",
    "tfgen.training.callbacks": "tests/training",
    "tfgen.training.progress": "tests/training",
    "tfgen.training.reporting": "tests/training",
}


def is_exempt(type_) -> bool:
    """Whether a public class needs no instance in the register."""
    return type_ in EXEMPT or type_.__module__ in _ELSEWHERE


def registered_types() -> set[type]:
    """Classes that have an instance."""
    makers = [*KERAS_OBJECTS.values(), *(make for make, _ in DISTRIBUTIONS.values())]
    return {type(make()) for make in makers}


def able(capability: str) -> list[str]:
    """Names of the systems that have a capability."""
    return [name for name, system in SYSTEMS.items() if capability in system.capabilities]
