"""Several trainings together."""

import json

import numpy as np
import pytest

from tfgen import metrics
from tfgen.errors import UserError
from tfgen.ood.evaluation import Evaluation, Row, over_seeds
from tfgen.ood.evaluation.result import mean_separation

SETS = ("near", "far")


def evaluation(seed, sets=SETS, scores=("msp", "knn")):
    """Of scores that are drawn, not of a network."""
    rng = np.random.default_rng(seed)
    inside, rows = rng.standard_normal(50), []
    for score in scores:
        found = {name: metrics.measure_separation(inside, rng.normal(1, 1, 40)) for name in sets}
        means = {"all": mean_separation(list(found.values()))}
        rows.append(Row("net", score, 1, 0.1, found, {}, means))
    accuracy = {"net": {"accuracy": 0.9 + 0.01 * seed, "expected_calibration_error": 0.0}}
    return Evaluation(
        tuple(rows), "in", {"in": 50, **dict.fromkeys(sets, 40)}, 0.95, accuracy, (), {}
    )


def test_means_and_deviations():
    each = [evaluation(seed) for seed in range(3)]
    found = over_seeds(each)
    assert [(row.model, row.score) for row in found.rows] == [("net", "msp"), ("net", "knn")]
    for place, row in enumerate(found.rows):
        assert list(row.separation) == [*SETS, "mean of all"]
        for name in SETS:
            values = [e.rows[place].separation[name].fpr95_id_positive for e in each]
            spread = row.separation[name].fpr95_id_positive
            np.testing.assert_allclose(spread, [np.mean(values), np.std(values, ddof=1)])
    np.testing.assert_allclose(found.accuracy["net"], [0.91, 0.01])
    read = json.loads(json.dumps(found.to_json()))
    assert read["rows"][1]["sets"]["far"]["auroc"] == list(found.rows[1].separation["far"].auroc)
    mean, sd = found.rows[0].separation["near"].auroc
    assert f"{100 * mean:.2f} ± {100 * sd:.2f}" in str(found)
    assert "net: accuracy 91.00% ± 1.00%" in str(found)


def test_trainings_that_do_not_compare():
    for others in ([], [evaluation(1, ("near",))], [evaluation(1, scores=("msp",))]):
        with pytest.raises(UserError, match=r"at least 2|of other rows or sets"):
            over_seeds([evaluation(0), *others])
