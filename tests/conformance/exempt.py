"""Public classes that have no instance in the register, and where they are tested."""

from tfgen import training
from tfgen.generative.lsgm import FrozenLSGM, ScoreNetwork
from tfgen.generative.ncp import FrozenNCPVAE
from tfgen.generative.nvae import FrozenNVAE
from tfgen.generative.over_vae import FrozenOverVAE, OverVAEModel
from tfgen.generative.vaebm import FrozenVAEBM
from tfgen.grounding.regions import RegionFeatures
from tfgen.layers import convolutional
from tfgen.ood import scores as ood_scores
from tfgen.ood import transformations
from tfgen.ood.multi_task.detection import Detection
from tfgen.ood.multi_task.ending import FinishesCalibrated
from tfgen.ood.scores.logits import LogitScore
from tfgen.ood.scores.shaping import ShapedFeatures
from tfgen.ood.scores.transformed import TransformedScore
from tfgen.search.hant.int8 import fake_quantization
from tfgen.search.unas import (
    UNAS,
    Criterion,
    GradientEstimator,
    GumbelSoftmax,
)
from tfgen.search.unas.block_supernet import BlockSupernet
from tfgen.search.unas.cell_supernet import CellSupernet
from tfgen.search.unas.supernet import Supernet
from tfgen.search.unas.surrogates import OnlineSurrogate
from tfgen.training.keras_methods import KerasMethods

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
