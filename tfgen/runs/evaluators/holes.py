"""Where the prior underneath has holes, and how well the refined one fills them."""

import dataclasses

from tfgen.runs import holes_report
from tfgen.runs.evaluators.base import Evaluator


@dataclasses.dataclass(frozen=True)
class Holes(Evaluator):
    """See `tfgen.generative.ncp.holes.find_holes`; writes `holes.json` and `holes.png`."""

    record = "holes"

    def measure(self, subject, found):
        del found
        holes, files = holes_report.write(
            subject.served,
            subject.base,
            subject.pipeline(),
            subject.source(subject.config["data"]["split"]).images,
            subject.folder,
            subject.seed,
        )
        return {**holes, "files": [str(file) for file in files]}

    def lines(self, found):
        yield holes_report.summary(found)
        yield "holes: " + ", ".join(found["files"])
