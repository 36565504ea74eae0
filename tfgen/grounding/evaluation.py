"""How often phrases are found: recall and pointing, under every protocol that is in use.

Published numbers differ by protocol as much as by method: whether one box of several is enough or
the box around all of them is wanted, whether large objects alone are counted, whether padding is
ranked. So a number is never returned without the name of its protocol, nor recall without what
perfect ranking of the same proposals would reach.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tfgen.errors import DataError
from tfgen.grounding import boxes as geometry
from tfgen.ops.checks import in_range, one_of, whole_number

TRUTHS = ("any_box", "merged_box")
_RECALLS = (1, 5, 10)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What counts as found.

    Attributes:
        truth: string, "any_box": overlap with any one of a phrase's boxes is enough (the published
            evaluation); "merged_box": with the box around all of them (MAF, GLIP). Defaults to
            `"any_box"`.
        iou: float, overlap from which a box is found. Defaults to `0.5`.
        least_share: float, phrases whose boxes together cover less of the image are left out; 0.05
            in MultiGrounding. Defaults to `0.0`.
        inclusive: whether a point on the edge of a box is in it, as where heat maps point. Defaults
            to `False`.
        ranking: string, how the regions that are scored were ranked. Defaults to `""`.
    """

    truth: str = "any_box"
    iou: float = 0.5
    least_share: float = 0.0
    inclusive: bool = False
    ranking: str = ""

    def __post_init__(self):
        one_of("truth", self.truth, TRUTHS)
        in_range("iou", self.iou, 0.0, most=1.0)
        in_range("least_share", self.least_share, 0.0, most=1.0)

    @property
    def name(self) -> str:
        """The protocol in words, to stand beside its numbers."""
        words = [self.truth.replace("_", "-"), f"IoU from {self.iou:g}"]
        if self.least_share:
            words.append(f"only phrases covering {self.least_share:.0%} of the image")
        if self.inclusive:
            words.append("edges inside")
        return ", ".join([*words, *([self.ranking] if self.ranking else [])])


@dataclasses.dataclass(frozen=True)
class Located:
    """One phrase and what a model says of it.

    Attributes:
        ranked: `[K, 4]` boxes, best first.
        truth: `[G, 4]` boxes, where the phrase is.
        image_id: integer or string; intervals take the phrases of an image together.
        kinds: tuple of strings, types of the phrase, such as "people"; one phrase may have several.
            Defaults to `()`.
        image_size: pair of numbers, height and width in pixels; needed where a protocol asks for a
            share of the image, else None.
        proposals: `[M, 4]` boxes, all there were to rank; None: those of `ranked`.
        point: pair of numbers x, y that the model points at, such as the peak of a heat map; None:
            the middle of the first box.
    """

    ranked: Any
    truth: Any
    image_id: Any
    kinds: tuple[str, ...] = ()
    image_size: tuple[float, float] | None = None
    proposals: Any = None
    point: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        protocol: string, its name.
        num_phrases: integer, phrases that were scored.
        num_images: integer, images that they are of.
        values: dict of shares in [0, 1]: `pointing`, `recall_1`, `recall_5`, `recall_10` and
            `upper_bound`.
        intervals: dict of pairs of numbers, each value's interval.
        confidence: float, of the intervals.
        kinds: dict, type of phrase -> dict of its values and `num_phrases`.
    """

    protocol: str
    num_phrases: int
    num_images: int
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    confidence: float
    kinds: dict[str, dict[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """All of it in plain values, as JSON holds them."""
        found = dataclasses.asdict(self)
        found["intervals"] = {name: list(pair) for name, pair in self.intervals.items()}
        return found

    def lines(self) -> Iterable[str]:
        """The numbers in a few lines for a person."""
        low, high = self.intervals["pointing"]
        yield (
            f"pointing {self.values['pointing']:.2%} ({low:.2%} to {high:.2%}, "
            f"{self.confidence:.0%} interval)"
        )
        recalls = ", ".join(f"R@{k} {self.values[f'recall_{k}']:.2%}" for k in _RECALLS)
        yield f"{recalls}; the proposals allow {self.values['upper_bound']:.2%}"
        yield f"of {self.num_phrases:,} phrases of {self.num_images:,} images; {self.protocol}"
        for kind, found in sorted(self.kinds.items()):
            yield (
                f"  {kind}: pointing {found['pointing']:.2%}, R@1 {found['recall_1']:.2%} "
                f"of {found['num_phrases']:,}"
            )


def evaluate_phrases(
    phrases: Iterable[Located],
    protocol: Protocol | None = None,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Result:
    """Recall, pointing accuracy and the proposals' upper bound of a set of phrases.

    Args:
        phrases: iterable of `Located`; those without a true box cannot be scored and are left out.
        protocol: a `Protocol`, what counts as found; None: `Protocol()`.
        confidence: float, of the intervals. Defaults to `0.95`.
        num_resamples: integer, bootstrap samples of the images. Defaults to `1000`.
        seed: integer, seed of those. Defaults to `0`.

    Returns:
        A `Result`.

    Raises:
        DataError: no phrase can be scored, or a protocol needs the size of an image that is not
            known.
    """
    protocol = protocol or Protocol()
    rows, images, kinds = [], [], []
    for phrase in phrases:
        if np.size(phrase.truth) and _is_counted(phrase, protocol):
            rows.append(_hits(phrase, protocol))
            images.append(phrase.image_id)
            kinds.append(phrase.kinds)
    if not rows:
        raise DataError(
            f"no phrase can be scored under {protocol.name}; expected phrases with true boxes"
        )
    names = list(rows[0])
    table = np.array([[row[name] for name in names] for row in rows], np.float64)
    _, image_rows = np.unique(np.asarray(images).astype(str), return_inverse=True)
    low, high = cluster_intervals(table, image_rows, confidence, num_resamples, seed)
    return Result(
        protocol.name,
        len(rows),
        int(image_rows.max()) + 1,
        dict(zip(names, table.mean(0).tolist())),
        {name: (float(a), float(b)) for name, a, b in zip(names, low, high)},
        confidence,
        _by_kind(table, names, kinds),
    )


def cluster_intervals(
    values: np.ndarray,
    clusters: np.ndarray,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap percentile intervals of means over rows that come in groups.

    Phrases of one image share its proposals and captions; drawing images, with all their phrases,
    keeps that.

    Args:
        values: `[N, K]` numbers.
        clusters: `[N]` integers from 0 on, which group a row belongs to.
        confidence: float in (0, 1). Defaults to `0.95`.
        num_resamples: integer, bootstrap samples. Defaults to `1000`.
        seed: integer, seed of those. Defaults to `0`.

    Returns:
        Lower and upper ends, `[K]` each.
    """
    in_range("confidence", confidence, 0.0, above=True, below=1.0)
    whole_number("num_resamples", num_resamples, 1)
    number = int(clusters.max()) + 1
    sums = np.zeros((number, values.shape[1]))
    np.add.at(sums, clusters, values)
    counts = np.bincount(clusters, minlength=number).astype(np.float64)
    rng, means = np.random.default_rng(seed), []
    for start in range(0, num_resamples, 100):
        size = min(100, num_resamples - start)
        weights = rng.multinomial(number, np.full(number, 1.0 / number), size=size)
        means.append(weights @ sums / (weights @ counts)[:, None])
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(np.concatenate(means), [tail, 100.0 - tail], axis=0)
    return low, high


def _is_counted(phrase: Located, protocol: Protocol) -> bool:
    if not protocol.least_share:
        return True
    if phrase.image_size is None or min(phrase.image_size) <= 0:
        raise DataError(
            f"the size of image {phrase.image_id!r} is not known, which the protocol "
            f"{protocol.name!r} needs"
        )
    return geometry.covered_share(phrase.truth, phrase.image_size) >= protocol.least_share


def _hits(phrase: Located, protocol: Protocol) -> dict[str, float]:
    ranked = np.asarray(phrase.ranked, np.float64).reshape(-1, 4)
    proposals = ranked if phrase.proposals is None else phrase.proposals
    truth = np.asarray(phrase.truth, np.float64).reshape(-1, 4)
    if protocol.truth == "merged_box":
        truth = geometry.enclosing(truth)
    point = phrase.point
    if point is None and len(ranked):
        point = geometry.centres(ranked[0])
    pointed = point is not None and geometry.points_inside([point], truth, protocol.inclusive).any()
    found = (geometry.intersection_over_union(ranked, truth) >= protocol.iou).any(axis=1)
    possible = (geometry.intersection_over_union(proposals, truth) >= protocol.iou).any()
    recalls = {f"recall_{k}": float(found[:k].any()) for k in _RECALLS}
    return {"pointing": float(pointed), **recalls, "upper_bound": float(possible)}


def _by_kind(table, names, kinds: Sequence[tuple[str, ...]]) -> dict[str, dict[str, float]]:
    found = {}
    for kind in sorted({kind for each in kinds for kind in each}):
        rows = np.array([kind in each for each in kinds])
        means = dict(zip(names, table[rows].mean(0).tolist()))
        found[kind] = {**means, "num_phrases": int(rows.sum())}
    return found
