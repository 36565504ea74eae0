"""What numbers about a few images allow to say, and how surely.

A gradient leaks images if they can be told from other images, or come nearer to the originals than
what the attacker gets without the gradient, and chance does not explain it; and it leaks labels if
more of them were restored than chance explains. "No leak found" needs an attack that could have
found one: it reached a leak on the bare gradient of the same run, and it converged. Even then it
holds for the attacks and the budget tried. Only a privacy loss (epsilon) is a guarantee.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

LEAKS, NOT_FOUND, INCONCLUSIVE = "leaks", "no leak found", "inconclusive"
IMAGES, LABELS = "images", "labels"
# False alarms: the share of reports on attacks without knowledge that say "leaks" anywhere.
SIGNIFICANCE = 0.05


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A judgement of one attack on one defence.

    Attributes:
        finding: "leaks", "no leak found" or "inconclusive".
        confidence: float in [0, 1]; None where nothing is concluded. Of a leak, one minus the
            chance of a false alarm anywhere in the report. Of none, the chance that an attack which
            still restores every second image would have shown it on as many images, or that the
            mean margin is below the threshold, whichever is less.
        reason: string, one sentence with the numbers behind it.
        leaked: tuple of what leaks, of "images" and "labels". Defaults to `()`.
        severity: integer, order of verdicts about one defence: 3 of a leak; 2 of doubts by what was
            found; 1 of no leak; 0 of attacks that could not have shown one, which say nothing
            against another that could. Defaults to `0`.
    """

    finding: str
    confidence: float | None
    reason: str
    leaked: tuple[str, ...] = ()
    severity: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What is known about one attack on one defence, all its batches together.

    Attributes:
        margins_db: `[n]`, PSNR of each reconstruction above that of its best control.
        gained: integer, images that the reconstruction identifies, and the control does not.
        lost: integer, images that the control identifies, and the reconstruction does not.
        pool_size: integer, images of the pool among which they are identified.
        copies: integer, images that came back to within one grey level.
        images_alone: float, chance of so high scores of these images, of this attack alone.
        images_together: float, the same in any cell of the report.
        prior_alone: float, as `images_alone`, of the attack without the gradient.
        num_labels: integer, labels that were restored; None where the attacker knew them.
        labels_alone: float, as `images_alone`, of the labels; 1 where they were known.
        labels_together: float, as `images_together`, likewise.
        converged: whether the attack came as near to the gradient as the originals are.
        bare: whether this is the bare gradient, on which no attack has a positive control.
        positive_control: whether the same attack leaked images from the bare gradient; None where
            it was not tried.
        label_control: whether it leaked labels from it.
    """

    margins_db: np.ndarray
    gained: int
    lost: int
    pool_size: int
    images_alone: float
    images_together: float
    prior_alone: float = 1.0
    copies: int = 0
    num_labels: int | None = None
    labels_alone: float = 1.0
    labels_together: float = 1.0
    converged: bool = True
    bare: bool = False
    positive_control: bool | None = None
    label_control: bool = False


def mean_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean over images.

    Args:
        values: `[n]`, taken as independent and nearly normal.
        level: float, how often it holds the mean.

    Returns:
        Its ends; of one value the whole line.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return -math.inf, math.inf
    error = values.std(ddof=1) / math.sqrt(len(values))
    reach = scipy.stats.t.ppf(0.5 + level / 2, len(values) - 1) * error
    return float(values.mean() - reach), float(values.mean() + reach)


def judge(evidence: Evidence, threshold_db: float = 1.0) -> Verdict:
    """Judges the images and labels of one attack together.

    Args:
        evidence: the `Evidence` that is known.
        threshold_db: float, margins in decibel up to here are no leak.
    """
    chances = {}
    if _shows_images(evidence, threshold_db):
        chances[IMAGES] = evidence.images_together
    if evidence.labels_together <= SIGNIFICANCE:
        chances[LABELS] = evidence.labels_together
    reason = _numbers(evidence)
    if chances:
        return Verdict(LEAKS, 1.0 - min(chances.values()), reason, tuple(chances), severity=3)
    unable, suspicions = _inabilities(evidence), _suspicions(evidence)
    thin = _thin(evidence.margins_db, threshold_db)
    if unable or suspicions or thin:
        severity = 0 if unable and not suspicions else 2
        doubts = "; ".join([reason, *unable, *suspicions, *thin])
        return Verdict(INCONCLUSIVE, None, doubts, severity=severity)
    if evidence.num_labels is not None and not evidence.label_control:
        reason += "; of labels nothing is concluded: those of the bare gradient did not leak either"
    confidence = _confidence_in_safety(evidence.margins_db, threshold_db)
    return Verdict(NOT_FOUND, confidence, reason, severity=1)


def severity(cell: Mapping[str, Any]) -> tuple:
    """Order of cells of the grid from harmless to worst."""
    return (cell["severity"], IMAGES in cell["leaked"], cell["iip"], cell["margin_db"])


def worst_by_defence(cells: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The worst cell of every defence and batch size."""
    worst: dict[tuple, Mapping] = {}
    for cell in cells:
        key = (cell["batch_size"], cell["defence"])
        if key not in worst or severity(cell) > severity(worst[key]):
            worst[key] = cell
    return list(worst.values())


def _shows_images(evidence, threshold_db):
    """Whether chance does not explain the images, and they show what the attacker had not."""
    if evidence.copies:
        return True
    if evidence.images_together > SIGNIFICANCE:
        return False
    return mean_interval(evidence.margins_db)[0] > threshold_db or _identifies(evidence)


def _identifies(evidence):
    """More images than by the control, which counts where the control itself knows the batch."""
    if evidence.prior_alone > SIGNIFICANCE:
        return evidence.gained > 0
    changed = evidence.gained + evidence.lost
    if not changed:
        return False
    test = scipy.stats.binomtest(evidence.gained, changed, 0.5, alternative="greater")
    return test.pvalue <= SIGNIFICANCE


def _inabilities(evidence):
    """Why the attack could not have shown a leak."""
    found = []
    if evidence.bare:
        found.append("an attack that fails on the bare gradient proves nothing")
    elif evidence.positive_control is None:
        found.append("no bare gradient was attacked beside it, so it has shown no ability")
    elif not evidence.positive_control:
        found.append("the same attack showed no images of the bare gradient, so it was no test")
    if not evidence.converged:
        found.append("the attack did not converge")
    return found


def _suspicions(evidence):
    """What speaks for a leak, and not loud enough."""
    found = []
    if evidence.images_together <= SIGNIFICANCE and evidence.prior_alone <= SIGNIFICANCE:
        found.append("the same attack without the gradient tells the images as well")
    elif evidence.images_alone <= SIGNIFICANCE:
        found.append("by itself chance would hardly explain how the images resemble the originals")
    if evidence.labels_alone <= SIGNIFICANCE:
        found.append("by itself chance would hardly explain the labels")
    elif evidence.num_labels == len(evidence.margins_db):
        found.append("all labels are right, of which too few were attacked to rule out a guess")
    return found


def _thin(margins_db, threshold_db):
    """Why so few images show nothing."""
    if len(margins_db) < 2:
        return ["one image has no interval"]
    if mean_interval(margins_db)[1] > threshold_db:
        return [f"the mean margin may exceed {threshold_db:g} dB"]
    return []


def _confidence_in_safety(margins_db, threshold_db):
    # Of an attack that succeeds on every second image, so many would all be failures with
    # probability 2**-count: few images are no evidence of safety.
    count = len(margins_db)
    error = max(np.std(margins_db, ddof=1) / math.sqrt(count), 1e-9)
    below = scipy.stats.t.cdf((threshold_db - np.mean(margins_db)) / error, count - 1)
    return float(min(1.0 - 0.5**count, below))


def _numbers(evidence):
    e, count = evidence, len(evidence.margins_db)
    low, high = mean_interval(e.margins_db)
    interval = f" (95 % interval {low:+.1f} to {high:+.1f})" if count > 1 else ""
    sentence = (
        f"{np.mean(e.margins_db):+.1f} dB over the best control{interval}, {e.gained} of {count} "
        f"images identified among {e.pool_size} and not by the control (p = "
        f"{e.images_together:.2g} over the whole report)"
    )
    if e.copies:
        sentence += f", {e.copies} of {count} exact to one grey level"
    if e.num_labels is not None:
        sentence += (
            f", {e.num_labels} of {count} labels restored (p = {e.labels_together:.2g} likewise)"
        )
    return sentence
