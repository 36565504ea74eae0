"""What to learn from, chosen without any outlier."""

from tfgen.ood.selection.automatic import POOL, Selection, select_transformations
from tfgen.ood.selection.charts import draw_trajectory
from tfgen.ood.selection.choice import Budget
from tfgen.ood.selection.difficulty import BAND, Difficulty, measure_difficulty
from tfgen.ood.selection.hypergradient import Hypergradient, hypergradient
from tfgen.ood.selection.subsets import search
from tfgen.ood.selection.trainings import Trainings, parted
from tfgen.ood.selection.weights import LearnedWeights, learn_weights

__all__ = [
    "BAND",
    "POOL",
    "Budget",
    "Difficulty",
    "Hypergradient",
    "LearnedWeights",
    "Selection",
    "Trainings",
    "draw_trajectory",
    "hypergradient",
    "learn_weights",
    "measure_difficulty",
    "parted",
    "search",
    "select_transformations",
]
