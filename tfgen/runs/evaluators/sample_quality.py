"""How samples compare with real images, beside the samples of the model underneath."""

import dataclasses

from tfgen.runs import quality
from tfgen.runs.evaluators.base import Evaluator
from tfgen.runs.sampling_cost import in_words


@dataclasses.dataclass(frozen=True)
class SampleQuality(Evaluator):
    """See `tfgen.runs.quality.measure_quality`.

    Attributes:
        num_samples: integer, samples to compare, with as many real images drawn at random where
            there are more; 0 measures nothing.
        extractor: string, features by "inception_v3", the path of its weights, or of a `.keras`
            file.
        quality_temperature: float, temperature of the samples.
        reference_split: string, the split of the real images to compare with.
    """

    num_samples: int = 0
    extractor: str = "inception_v3"
    quality_temperature: float = 1.0
    reference_split: str = "train"

    record = "sample_quality"

    def check(self, subject):
        # What is missing or does not fit is better known before an hour of scoring.
        if self.num_samples:
            subject.source(self.reference_split)
            quality.try_extractor(
                quality.extractor_from(self.extractor), subject.served.image_shape
            )

    def measure(self, subject, found):
        del found
        if not self.num_samples:
            return {}
        source, count = subject.source(self.reference_split), self.num_samples
        source = source.take(min(count, len(source)), subject.seed)
        total = (1 + (subject.base is not None)) * count + 2 * len(source)
        with subject.progress("comparing samples", total) as advance:
            measured = quality.measure_quality(
                subject.served,
                subject.pipeline(source, binarized=False),
                subject.pipeline(source),
                quality.extractor_from(self.extractor),
                num_samples=count,
                base=subject.base,
                temperature=self.quality_temperature,
                seed=subject.seed,
                batch_size=subject.batch_size,
                report=lambda done: advance(min(done, total)),
            )
        return {**measured, "reference": f"{subject.config['data']['name']}: {source.extent}"}

    def lines(self, found):
        yield f"{_line(found)}; reconstructions {found['reconstruction_fid']:.3f}"
        yield f"compared with {found['reference']}"
        if "base" in found:
            yield f"the prior underneath: {_line(found['base'])}"


def _line(found) -> str:
    return (
        f"FID {found['fid']:.3f}, KID {found['kid']:.5f} +- {found['kid_standard_error']:.5f}, "
        f"precision {found['precision']:.3f}, recall {found['recall']:.3f} "
        f"({found['num_fake']:,} samples at temperature {found['temperature']:g}, "
        f"{found['num_real']:,} real images, features of {found['extractor']}; "
        f"{in_words(found)})"
    )
