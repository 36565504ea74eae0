"""What `tfgen-evaluate` measures: one small dataclass each, whose fields are its options.

A system's row in the registry names those it wants; they run in that order.
"""

from tfgen.runs.evaluators.base import Evaluator, Subject
from tfgen.runs.evaluators.classification import Classification
from tfgen.runs.evaluators.detection import Detection
from tfgen.runs.evaluators.grounding import Grounding
from tfgen.runs.evaluators.grounding_gallery import GroundingGallery
from tfgen.runs.evaluators.holes import Holes
from tfgen.runs.evaluators.likelihood import Likelihood
from tfgen.runs.evaluators.partition import Partition
from tfgen.runs.evaluators.pictures import Pictures
from tfgen.runs.evaluators.sample_quality import SampleQuality

EVALUATORS: dict[str, type[Evaluator]] = {
    "classification": Classification,
    "detection": Detection,
    "grounding": Grounding,
    "grounding_gallery": GroundingGallery,
    "holes": Holes,
    "likelihood": Likelihood,
    "partition": Partition,
    "pictures": Pictures,
    "sample_quality": SampleQuality,
}

__all__ = ["EVALUATORS", "Evaluator", "Subject"]
