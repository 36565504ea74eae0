"""How often a model of phrase grounding finds what a phrase means."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from tfgen.grounding.evaluation import Located, Protocol, evaluate_phrases
from tfgen.grounding.localisation import rank_regions
from tfgen.ops.checks import one_of
from tfgen.runs.evaluators.base import Evaluator, images_of
from tfgen.runs.grounding import SIZES, check_arrays, check_sizes, phrases_of
from tfgen.runs.numbers import is_text, misfit

# By name; what is published under each is told in `tfgen.grounding.evaluation`.
PROTOCOLS = {
    "any_box": Protocol("any_box"),
    "merged_box": Protocol("merged_box"),
    "large_only": Protocol("any_box", least_share=0.05),
}
_VALUES = ("pointing", "recall_1", "recall_5", "recall_10", "upper_bound")
_OF_A_KIND = dict.fromkeys(("pointing", "recall_1", "upper_bound", "num_phrases"), float)


@dataclasses.dataclass(frozen=True)
class Grounding(Evaluator):
    """Pointing accuracy, recall and the proposals' upper bound, each with its interval.

    Data need two arrays beside those of training: `phrase_words` `[N, P, T]`, 1 for the words (or
    tokens) of each phrase, and `phrase_boxes` `[N, P, G, 4]`, where x2 < x1 or y2 < y1 stands for
    no box. With `phrase_kinds` `[N, P, 8]`, 1 at each type of Flickr30K Entities that a phrase is
    of, there are numbers of each type as well. "large_only" needs to know how large the images are:
    by `images`, or by `image_sizes` `[N, 2]`, height and width in the pixels of the boxes.

    Attributes:
        protocol: string, "any_box", "merged_box" or "large_only". Defaults to `"any_box"`.
        confidence: float, of the intervals. Defaults to `0.95`.
        pool: string, how the words of a phrase are taken together, "max", "mean" or "noisy_or".
            Defaults to `"max"`.
    """

    protocol: str = "any_box"
    confidence: float = 0.95
    pool: str = "max"

    shown: ClassVar = {
        **dict.fromkeys(_VALUES, float),
        **{f"{name}_interval": tuple for name in _VALUES},
        "protocol": str,
        "num_phrases": float,
        "num_images": float,
        "images": str | None,
    }

    def check(self, subject):
        one_of("config.evaluation.protocol", self.protocol, PROTOCOLS)
        arrays = subject.load(subject.split).arrays
        check_arrays(arrays, subject.split)
        if PROTOCOLS[self.protocol].least_share:
            check_sizes(arrays, subject.split, self.protocol)

    def measure(self, subject, found):
        del found
        phrases, done = [], 0
        with subject.progress("grounding", subject.num_images) as advance:
            for batch in subject.pipeline().dataset():
                phrases += self._located(subject.model, batch, done)
                done += len(batch["phrase_words"])
                advance(done)
        protocol = dataclasses.replace(PROTOCOLS[self.protocol], ranking="real regions ranked")
        result = evaluate_phrases(phrases, protocol, self.confidence, seed=subject.seed)
        intervals = {f"{k}_interval": list(pair) for k, pair in result.intervals.items()}
        return {
            **result.values,
            **intervals,
            "protocol": result.protocol,
            "num_phrases": result.num_phrases,
            "num_images": done,
            **({"kinds": result.kinds} if result.kinds else {}),
        }

    def _located(self, model, batch, first) -> Iterator[Located]:
        count = len(batch["phrase_words"])
        ids = batch["image_ids"].numpy() if "image_ids" in batch else first + np.arange(count)
        ids = [one.decode() if isinstance(one, bytes) else one for one in ids.tolist()]
        if SIZES in batch:
            sizes = batch[SIZES].numpy().tolist()
        else:
            sizes = [tuple(batch["images"].shape[1:3]) if "images" in batch else None] * count
        for phrase in phrases_of(model, batch, self.pool):
            ranking = rank_regions(phrase.scores, phrase.region_mask)
            yield Located(
                phrase.boxes[ranking.regions],
                phrase.truth,
                ids[phrase.row],
                phrase.kinds,
                image_size=sizes[phrase.row],
                proposals=phrase.boxes[phrase.region_mask],
            )

    def lines(self, found):
        low, high = found["pointing_interval"]
        yield (
            f"pointing {found['pointing']:.2%} ({low:.2%} to {high:.2%}, {self.confidence:.0%} "
            f"interval), of {found['num_phrases']:,} phrases"
        )
        recalls = ", ".join(f"R@{k} {found[f'recall_{k}']:.2%}" for k in (1, 5, 10))
        yield f"{recalls}; the proposals allow {found['upper_bound']:.2%}"
        yield f"protocol: {found['protocol']}"
        for kind, one in found.get("kinds", {}).items():
            yield (
                f"  {kind}: pointing {one['pointing']:.2%}, R@1 {one['recall_1']:.2%} of "
                f"{one['num_phrases']:,} phrases"
            )

    @classmethod
    def table(cls, numbers):
        yield "| Split | Images | Phrases | Pointing | R@1 | R@5 | R@10 | Upper bound | Protocol |"
        yield "|---|---|---|---|---|---|---|---|---|"
        for split, n in numbers.items():
            low, high = n["pointing_interval"]
            recalls = " | ".join(f"{n[f'recall_{k}']:.2%}" for k in (1, 5, 10))
            yield (
                f"| {split} | {images_of(n)} | {n['num_phrases']:,} | {n['pointing']:.2%} "
                f"({low:.2%} to {high:.2%}) | {recalls} | {n['upper_bound']:.2%} | "
                f"{n['protocol']} |"
            )
        yield from _table_of_kinds(numbers)


def _table_of_kinds(numbers):
    rows = [
        f"| {split} | {kind} | {found['num_phrases']:,} | {found['pointing']:.2%} | "
        f"{found['recall_1']:.2%} | {found['upper_bound']:.2%} |"
        for split, n in numbers.items()
        for kind, found in sorted(_kinds(n).items())
        if is_text(kind) and isinstance(found, Mapping) and not misfit(found, _OF_A_KIND)
    ]
    if rows:
        yield ""
        yield "| Split | Type | Phrases | Pointing | R@1 | Upper bound |"
        yield "|---|---|---|---|---|---|"
        yield from rows


def _kinds(numbers) -> Mapping:
    found = numbers.get("kinds")
    return found if isinstance(found, Mapping) else {}
