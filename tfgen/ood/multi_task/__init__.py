"""One backbone, many tasks on transformed images (Mohseni et al., 2021, arXiv:2106.03899).

Images that are none of those it was made for make the tasks' heads unsure, or wrong.
"""

from tfgen.ood.multi_task.contrastive import Contrast, contrastive_losses
from tfgen.ood.multi_task.model import MultiTaskOOD
from tfgen.ood.multi_task.scores import SelfSupervised

__all__ = ["Contrast", "MultiTaskOOD", "SelfSupervised", "contrastive_losses"]
