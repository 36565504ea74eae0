"""Scores that say how far an image is from what a network was made for; larger is further."""

from tfgen.ood.scores.base import Head, Score, check_score
from tfgen.ood.scores.combined import Combined
from tfgen.ood.scores.contrastive import CSI
from tfgen.ood.scores.logits import Energy, Entropy, KLToUniform, MaxLogit, MaxSoftmax
from tfgen.ood.scores.mahalanobis import Mahalanobis
from tfgen.ood.scores.neighbours import KNN
from tfgen.ood.scores.odin import ODIN
from tfgen.ood.scores.shaping import ASH, ReAct
from tfgen.ood.scores.transformed import DirichletNormality, TransformationDistance
from tfgen.ood.scores.vim import ViM

__all__ = [
    "ASH",
    "CSI",
    "KNN",
    "ODIN",
    "Combined",
    "DirichletNormality",
    "Energy",
    "Entropy",
    "Head",
    "KLToUniform",
    "Mahalanobis",
    "MaxLogit",
    "MaxSoftmax",
    "ReAct",
    "Score",
    "TransformationDistance",
    "ViM",
    "check_score",
]
