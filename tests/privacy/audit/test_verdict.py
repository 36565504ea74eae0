"""What may be concluded from a few images, and how surely."""

import dataclasses

import numpy as np
import pytest

from tfgen.privacy.audit.cells import leaking_defences
from tfgen.privacy.audit.verdict import (
    INCONCLUSIVE,
    LEAKS,
    NOT_FOUND,
    Evidence,
    judge,
    mean_interval,
    severity,
)

HARMLESS = np.array([-1.0, 0.2, -0.5, -2.0, -0.3, 0.1, -1.5, -0.2])
# An attack that leaked the bare gradient, converged, and found nothing.
SAFE = Evidence(
    margins_db=HARMLESS,
    gained=0,
    lost=0,
    pool_size=256,
    images_alone=0.6,
    images_together=1.0,
    positive_control=True,
)


def with_(**changes):
    return judge(dataclasses.replace(SAFE, **changes))


class TestLeaks:
    def test_by_margin(self):
        margins = np.array([8.0, 9.0, 10.0, 7.0])
        verdict = with_(margins_db=margins, images_together=0.004)
        assert (verdict.finding, verdict.leaked) == (LEAKS, ("images",))
        np.testing.assert_allclose(verdict.confidence, 0.996)
        assert "+8.5 dB over the best control (95 % interval +6.4 to +10.6)" in verdict.reason

    def test_by_identification_though_the_margin_is_negative(self):
        verdict = with_(margins_db=np.full(4, -2.0), gained=3, images_together=0.004)
        assert verdict.finding == LEAKS
        assert "3 of 4 images identified among 256" in verdict.reason

    def test_not_by_what_chance_explains(self):
        verdict = with_(gained=3, images_alone=0.04, images_together=0.2)
        assert (verdict.finding, verdict.confidence) == (INCONCLUSIVE, None)
        assert "chance would hardly explain" in verdict.reason

    def test_one_image_at_a_small_margin_is_no_leak(self):
        verdict = with_(margins_db=np.array([1.5]))
        assert (verdict.finding, verdict.confidence) == (INCONCLUSIVE, None)
        assert "one image has no interval" in verdict.reason

    def test_an_exact_copy_needs_no_interval(self):
        verdict = with_(margins_db=np.array([60.0]), copies=1, images_together=0.08)
        assert verdict.finding == LEAKS
        np.testing.assert_allclose(verdict.confidence, 0.92)

    def test_not_by_what_the_control_knows_as_well(self):
        # Batch-norm statistics alone may tell images: then the gradient has to tell more.
        known = dict(images_alone=0.004, images_together=0.004, prior_alone=0.01)
        verdict = with_(**known, gained=3, lost=2)
        assert verdict.finding == INCONCLUSIVE
        assert "without the gradient tells the images as well" in verdict.reason
        assert with_(**known, gained=8, lost=0).finding == LEAKS

    def test_labels(self):
        verdict = with_(num_labels=8, labels_alone=0.001, labels_together=0.002)
        assert (verdict.finding, verdict.leaked) == (LEAKS, ("labels",))
        assert "8 of 8 labels restored" in verdict.reason


class TestSafety:
    def test_confidence(self):
        verdict = judge(SAFE)
        assert verdict.finding == NOT_FOUND
        # Student's t of a mean of -0.65 and a standard error of 0.27, 7 degrees of freedom.
        np.testing.assert_allclose(verdict.confidence, 1 - 0.5**8, atol=3e-3)
        few = with_(margins_db=np.array([-1.0, -1.1]))
        np.testing.assert_allclose(few.confidence, 0.75)

    def test_of_labels_needs_its_own_control(self):
        labels = dict(num_labels=3, labels_alone=0.6, labels_together=1.0)
        assert "of labels nothing is concluded" in with_(**labels).reason
        assert "of labels nothing" not in with_(**labels, label_control=True).reason
        assert "of labels nothing" not in judge(SAFE).reason

    @pytest.mark.parametrize(
        ("doubt", "words"),
        [
            (dict(bare=True), "fails on the bare gradient"),
            (dict(positive_control=None), "no bare gradient was attacked"),
            (dict(positive_control=False), "it was no test"),
            (dict(converged=False), "did not converge"),
            (dict(images_alone=0.03), "resemble the originals"),
            (dict(labels_alone=0.03, num_labels=6), "explain the labels"),
            (dict(labels_alone=0.1, num_labels=8), "all labels are right"),
            (dict(margins_db=np.array([-9.0, 0.0, 1.5, 12.0])), "may exceed 1 dB"),
            (dict(margins_db=np.array([-3.0])), "one image"),
        ],
    )
    def test_is_not_concluded_in_doubt(self, doubt, words):
        verdict = with_(**doubt)
        assert (verdict.finding, verdict.confidence) == (INCONCLUSIVE, None)
        assert words in verdict.reason

    def test_a_weak_attack_beside_a_strong_one_changes_nothing(self):
        def cell(verdict):
            return {
                "severity": verdict.severity,
                "leaked": verdict.leaked,
                "iip": 0,
                "margin_db": 0,
            }

        strong, weak = cell(judge(SAFE)), cell(with_(positive_control=False, converged=False))
        suspicious = cell(with_(images_alone=0.03, positive_control=False))
        assert severity(weak) < severity(strong) < severity(suspicious)


class TestPipeline:
    """What `--fail_on_leak` fails."""

    def cells(self, *findings):
        keys = ("bare", "finding", "leaked")
        return [dict(zip(keys, found)) for found in findings]

    @pytest.mark.parametrize(
        ("findings", "fails"),
        [
            ([(True, LEAKS, ("labels",))], True),
            ([(True, INCONCLUSIVE, ())], False),
            ([(True, LEAKS, ("images",)), (False, NOT_FOUND, ())], False),
            ([(True, LEAKS, ("images",)), (False, INCONCLUSIVE, ())], False),
            ([(True, INCONCLUSIVE, ()), (False, LEAKS, ("labels",))], True),
            ([(False, NOT_FOUND, ()), (False, LEAKS, ("images", "labels"))], True),
            ([], False),
        ],
    )
    def test_a_leak_through_a_defence_or_without_any(self, findings, fails):
        assert bool(leaking_defences(self.cells(*findings))) == fails


class TestInterval:
    @pytest.mark.parametrize("count", [1, 2, 4, 8])
    def test_covers_the_mean(self, count):
        # Nominally 95 % at any size (100 % of one image, whose interval is the line). 4,000 trials:
        # a share outside 95 % +- 1.4 % has a probability below 1e-4.
        rng = np.random.default_rng(count)
        intervals = [mean_interval(rng.standard_normal(count) + 3) for _ in range(4000)]
        covered = np.mean([low <= 3 <= high for low, high in intervals])
        assert abs(covered - (1.0 if count == 1 else 0.95)) < 0.014

    @pytest.mark.parametrize("count", [2, 4, 8])
    def test_rare_large_values_are_no_reason_to_claim_more(self, count):
        # Of exponential margins it covers less, and from below: it lies above the mean in 0.3 to
        # 1 % of 40,000 trials. Of 4,000 at 2.5 %, more than 133 have a probability below 1e-3.
        rng = np.random.default_rng(count)
        intervals = [mean_interval(rng.exponential(size=count)) for _ in range(4000)]
        assert sum(low > 1 for low, _ in intervals) <= 133

    def test_two_values_by_hand(self):
        # 12.706 standard errors of one half on either side of 1.5.
        np.testing.assert_allclose(mean_interval([1.0, 2.0]), (-4.853, 7.853), atol=1e-3)
