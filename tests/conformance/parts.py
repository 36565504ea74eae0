"""One tiny instance of every layer, optimizer, schedule, metric and distribution."""

from instances import TINY_ENERGY, WORDS, bank, levels, making, mirrored_rows, tensor

from tfgen import distributions, metrics, optimizers, samplers, training
from tfgen.generative.lsgm import ScoreMLP, ScoreUNet
from tfgen.generative.vaebm import EnergyNetwork
from tfgen.grounding.projection import Projection
from tfgen.grounding.words import WordEncoder
from tfgen.layers.drop_path import DropPath
from tfgen.ood import multi_task, transformations
from tfgen.ood import scores as ood_scores
from tfgen.ood.multi_task.scores import EnsembleKLToUniform
from tfgen.search.hant.int8 import fake_quantization
from tfgen.search.unas import (
    ArchitectureDistribution,
    Reinforce,
    UnbiasedEstimator,
)
from tfgen.search.unas.variance import RunningVariance

LAYERS = {
    "self-supervised score": making(
        multi_task.SelfSupervised, [1.0, 2.0], True, shapes={"scales": [2]}
    ),
    "combined score": making(
        ood_scores.Combined,
        [ood_scores.KLToUniform(), ood_scores.Energy(2.0)],
        shapes=ood_scores.Combined.shapes_of(2),
    ),
    "projection": making(Projection, 6, 4, 3, 0.8, 2),
    "word encoder": making(WordEncoder, WORDS, 4, num_blocks=1, num_heads=2),
    "drop path": making(DropPath, 0.3, 5),
    "architecture distribution": making(
        ArchitectureDistribution, {"a/input": (2, 3), "b": (1, 5)}, 0.7, 0.08
    ),
    "unbiased estimator": making(UnbiasedEstimator, 0.9, True, True, 0.9),
    "reinforce": making(Reinforce, "average", 0.8),
    "running variance": making(RunningVariance, 5, 0.9),
    "fake quantization": making(fake_quantization.FakeQuantize, 2, "learnt", 0.9),
    "parameter bank": bank,
    "energy network": making(EnergyNetwork, (8, 8, 3), **TINY_ENERGY),
    "score network of grids": making(
        ScoreUNet, (4, 4, 3), 8, (1, 2), 1, attention_grids=(4,), filtered=True, embedding_dims=8
    ),
    "score network of vectors": making(ScoreMLP, (3,), 8, 2, embedding="fourier"),
    "mahalanobis": making(
        ood_scores.Mahalanobis,
        2,
        True,
        3,
        shapes={"origin": [4], "inverse_scale": [4], "whitening": [4, 3], "centres": [2, 3]},
    ),
    "csi": making(
        ood_scores.CSI,
        "rotation",
        9,
        shapes={"directions": [4, 9, 3], "nearness": [4], "sureness": [4]},
    ),
    "knn": making(ood_scores.KNN, 2, 9, 3, shapes={"bank": [9, 4]}),
    "dirichlet": making(
        ood_scores.DirichletNormality, "rotation", shapes={"concentration": [4, 4]}
    ),
    "distance of levels": making(
        ood_scores.TransformationDistance, "rotation", shapes={"centres": [4, 4]}
    ),
    "vim": making(ood_scores.ViM, 2, shapes={"origin": [4], "residual_space": [4, 2], "scale": []}),
    "react": making(ood_scores.ReAct, 80.0, shapes={"kernel": [4, 3], "bias": [3], "most": []}),
    "ash": making(ood_scores.ASH, 70.0, "prune", shapes={"kernel": [4, 3], "bias": [3]}),
    "replay buffer": making(samplers.ReplayBuffer, 5, {"z_0": [2, 2, 3], "z_1": [4]}),
}

# Layers without weights.
FUNCTIONS = {
    **{
        f"transformation: {name}": making(type_)
        for name, type_ in transformations.TRANSFORMATIONS.items()
    },
    "transformation: translation with everything": making(
        transformations.Translation, 3, "axes", True, "wrap", name="other"
    ),
    "transformation of one's own": making(
        transformations.FunctionTransformation, mirrored_rows, 2, True
    ),
    "ensemble score": making(EnsembleKLToUniform),
    "max softmax": making(ood_scores.MaxSoftmax),
    "max logit": making(ood_scores.MaxLogit, name="other"),
    "energy": making(ood_scores.Energy, 2.0),
    "kl to uniform": making(ood_scores.KLToUniform),
    "entropy": making(ood_scores.Entropy),
    "odin": making(ood_scores.ODIN, 10.0, 0.01, [0.5, 0.2]),
}

OPTIMIZERS = {
    "adam": making(optimizers.Adam, 0.05, 0.8, epsilon=0.01),
    "adamw": making(optimizers.AdamW, 0.05, weight_decay=0.1),
    "sgd": making(optimizers.SGD, 0.05, 0.8, weight_decay=0.1),
    "adamax": making(optimizers.Adamax, 0.05, epsilon=0.01, weight_decay=0.02),
    "clipped adam": making(
        optimizers.ClippedAdam, 0.05, 0.8, 0.9, 1e-6, 0.02, clip_factor=2.0, clip_offset=0.2
    ),
    "clipped adam that does not clip": making(optimizers.ClippedAdam, clip_factor=None),
    "adamax on a schedule": making(optimizers.Adamax, training.WarmupCosine(0.1, 2, 3, 4)),
    "fromage": making(optimizers.Fromage),
    "fromage with everything": making(
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
    "fromage on a schedule": making(optimizers.Fromage, training.WarmupCosine(0.1, 2, 3, 4)),
}

SCHEDULES = {"warm-up and cosine": making(training.WarmupCosine, 0.1, 4, 3, 10, final=1e-3)}

# With what `update_state` takes.
METRICS = {
    "mean": (making(metrics.MeanWithStandardError, name="value"), tensor(5)),
    "importance-weighted bound": (
        making(metrics.ImportanceWeightedBound, name="bound"),
        tensor(3, 5),
    ),
}

_PRIOR = distributions.ClampedNormal(tensor(2, 3), tensor(2, 3))

# With values to score.
DISTRIBUTIONS = {
    "clamped normal": (
        making(distributions.ClampedNormal, tensor(2, 3), tensor(2, 3), 0.7),
        tensor(2, 3),
    ),
    "residual normal": (
        making(distributions.ResidualNormal, _PRIOR, tensor(2, 3), tensor(2, 3)),
        tensor(2, 3),
    ),
    "cropped bernoulli": (
        making(distributions.CroppedBernoulli, tensor(2, 6, 6, 1), padding=1),
        levels(2, 2, 4, 4, 1),
    ),
    "logistic mixture": (
        making(distributions.DiscretizedLogisticMixture, tensor(2, 3, 3, 20), num_channels=3),
        levels(256, 2, 3, 3, 3),
    ),
    "pixel normal": (
        making(distributions.PixelNormal, tensor(2, 3, 3, 4)),
        levels(256, 2, 3, 3, 2),
    ),
}
