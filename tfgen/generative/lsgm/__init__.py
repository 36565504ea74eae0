"""LSGM: a score-based prior in latent space (arXiv:2106.05931)."""

from tfgen.generative.lsgm.frozen import FrozenLSGM
from tfgen.generative.lsgm.lsgm import LSGM
from tfgen.generative.lsgm.mlp import ScoreMLP
from tfgen.generative.lsgm.score_network import ScoreNetwork
from tfgen.generative.lsgm.unet import ScoreUNet

__all__ = ["LSGM", "FrozenLSGM", "ScoreMLP", "ScoreNetwork", "ScoreUNet"]
