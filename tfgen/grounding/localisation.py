"""From the attention of a phrase's pieces to its regions, best first."""

from typing import NamedTuple

import numpy as np

from tfgen.ops.checks import one_of

POOLS = ("max", "mean", "noisy_or")
SLOTS = 10  # ranked at most by the published evaluation


class Ranking(NamedTuple):
    """Regions of one phrase, best first.

    Attributes:
        regions: integers `[K]`, their numbers.
        protocol: string, how they were ranked.
    """

    regions: np.ndarray
    protocol: str


def phrase_scores(attention, pool: str = "max") -> np.ndarray:
    """One score for each region, of the attention of a phrase's pieces.

    Args:
        attention: `[P, M]` floats of the P pieces of the phrase.
        pool: string, "max" over the pieces as published, "mean", or "noisy_or": one minus the
            product of what each piece leaves. Defaults to `"max"`.

    Returns:
        `[M]`.
    """
    attention = np.asarray(attention)
    one_of("pool", pool, POOLS)
    if pool == "mean":
        return attention.mean(0)
    return attention.max(0) if pool == "max" else 1.0 - np.prod(1.0 - attention, axis=0)


def rank_regions(scores, region_mask, compat: str | None = None) -> Ranking:
    """The regions of a phrase, best first; equal ones in the order of the image.

    Args:
        scores: `[M]` floats, see `phrase_scores`.
        region_mask: `[M]` booleans or floats, 1 where there is a region.
        compat: string, "official" takes the ten best slots first and drops padding among them
            afterwards, so that R@5 and R@10 may see fewer regions than that; None ranks regions
            only.

    Returns:
        A `Ranking`.
    """
    one_of("compat", compat, (None, "official"))
    scores, mask = np.asarray(scores, np.float64), np.asarray(region_mask) > 0
    if compat is None:
        order = np.argsort(-np.where(mask, scores, -np.inf), kind="stable")
        return Ranking(order[: int(mask.sum())], "real regions ranked")
    order = np.argsort(-scores, kind="stable")[:SLOTS]
    return Ranking(order[mask[order]], f"{SLOTS} best slots ranked, then padding dropped")


def heat_map(attention, boxes, height: int, width: int) -> np.ndarray:
    """How much of the attention lies on each pixel, float32 `[height, width]`, at most 1.

    A region's attention is spread over its pixels evenly, so that a small one is brighter; then the
    brightest pixel is 1.

    Args:
        attention: `[M]` floats.
        boxes: `[M, 4]` numbers, x1, y1, x2, y2 in pixels, both ends included.
        height: integer, of the image in pixels.
        width: integer, likewise.
    """
    found = np.zeros((height, width), np.float64)
    for weight, box in zip(np.asarray(attention), np.asarray(boxes, np.float64)):
        x1, y1 = (max(0, int(np.floor(end))) for end in box[:2])
        x2, y2 = (max(-1, int(np.ceil(end))) for end in box[2:])
        part = found[y1 : y2 + 1, x1 : x2 + 1]
        part += weight / max(part.size, 1)
    peak = found.max(initial=0.0)
    return (found / peak if peak > 0 else found).astype(np.float32)


def peak_of(heat) -> tuple[float, float]:
    """Where a heat map `[H, W]` is hottest, a pair x, y in pixels; of several places the first.

    Protocols that point by heat maps take it as `Located.point`, with edges inside.
    """
    y, x = np.unravel_index(int(np.argmax(heat)), np.shape(heat))
    return float(x), float(y)
