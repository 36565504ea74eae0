"""HANT from end to end on a small network that was trained."""

import keras
import numpy as np
import pytest
import scipy.stats
import small_networks
from sklearn.datasets import load_digits
from timers import KnownBackend

from tfgen.errors import ConfigError, UserError
from tfgen.search.hant import Grouping, InfeasibleError, Plan, coarser
from tfgen.search.hant.chain import at_rest
from tfgen.search.hant.hant import HANT
from tfgen.search.hant.scores import mean_loss
from tfgen.search.hant.timing import whole_networks

POOL = [
    {"family": "teacher"},
    {"family": "identity"},
    {"family": "cb_res", "kernel": 1},
    {"family": "repvgg", "kernel": 3},
]


def digits():
    data = load_digits()
    images = np.repeat((data.images / 16.0)[..., None], 3, axis=-1).astype(np.float32)
    return images, data.target.astype(np.int32)


def train(num_blocks, epochs):
    """A network that knows most digits."""
    keras.utils.set_random_seed(0)
    network = small_networks.residual(num_blocks=num_blocks, width=8, num_classes=10)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    network.compile(
        keras.optimizers.Adam(0.005),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    network.fit(*digits(), batch_size=64, epochs=epochs, verbose=0)
    return network


@pytest.fixture(scope="module")
def trained():
    return train(num_blocks=3, epochs=5)


@pytest.fixture(scope="module")
def hant(trained, tmp_path_factory):
    made = HANT(trained, tmp_path_factory.mktemp("hant"), POOL)
    images, labels = digits()
    made.distil(images, batch_size=64, epochs=3, learning_rate=0.01, at_once=16)
    made.score(images[:512], labels[:512], "loss")
    made.measure(backend(made), repeat=0)
    return made


def backend(hant):
    """A layer takes four, a candidate one or two, the network what its layers take and three."""

    def times(key, timer, run):
        del timer, run
        if key.startswith("residual/b"):
            return 4.0
        return 15.0 if key.startswith("residual/") else 2.0 if "repvgg" in key else 1.0

    return KnownBackend(times)


class TestPlanning:
    def test_it_stays_as_it_is_where_the_budget_allows(self, hant, trained):
        assert hant.latency_ms == 15.0
        (plan,) = hant.plans(15.0)
        assert (plan.score, hant.predicted_ms(plan)) == (0.0, 15.0)
        images = digits()[0][:8]
        np.testing.assert_allclose(
            hant.network(plan)(images), trained(images, training=False), rtol=1e-4, atol=1e-4
        )

    def test_a_budget(self, hant):
        (plan,) = hant.plans(11.0)
        assert hant.predicted_ms(plan) <= 11.0
        assert plan.score > 0.0
        front = hant.front()
        assert front.at(8.0).score == pytest.approx(plan.score)
        text = hant.describe(plan)
        assert text.splitlines()[0].split() == ["layer", "operation", "saves", "(ms)", "loses"]
        assert len(text.splitlines()) == 5
        assert f"{hant.predicted_ms(plan):.3f} ms" in text.splitlines()[-1]

    def test_rows(self, hant, tmp_path):
        plan = hant._plan((1, 3, 0))
        rows = hant.rows(plan)
        assert [row.operation for row in rows] == ["identity", "repvgg_k3", "teacher"]
        assert [row.saved_ms for row in rows] == [4.0, 2.0, 0.0]
        assert sum(row.score for row in rows) == pytest.approx(plan.score)
        hant.plot(plan, tmp_path / "plan.png")
        assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")

    def test_calibrated_by_whole_networks(self, hant, tmp_path):
        """Of what layers save, networks save but half; the network itself is met exactly."""
        known, library = backend(hant), hant.library
        sums = {
            network.key: sum(known.times(key, 0, 0) for key in network.parts if key != "identity")
            for network in whole_networks(library, 5)
        }

        def times(key, timer, run):
            if key in sums:
                return 15.0 - 0.5 * (12.0 - sums[key])
            return known.times(key, timer, run)

        made = HANT(library.network.network, library.folder, POOL)
        made._scores = hant._scores
        made.measure(KnownBackend(times), tmp_path / "t.json", 5, repeat=0)
        assert made.calibration.factor == pytest.approx(0.5)
        plan = hant._plan((1, 3, 0))  # saves four and two
        assert made.predicted_ms(made._plan(plan.choices)) == pytest.approx(12.0)
        assert [row.saved_ms for row in made.rows(plan)] == pytest.approx([2.0, 1.0, 0.0])
        assert made.plans(15.0)[0].score == 0.0
        assert made.predicted_ms(made.plans(12.5)[0]) <= 12.5

    def test_one_that_cannot_be_met(self, hant):
        # Three for stem and head: all layers can be left out.
        with pytest.raises(InfeasibleError) as refused:
            hant.plans(2.5)
        assert str(refused.value) == (
            "a latency of 2.5 ms cannot be met: the smallest that this pool makes is 3 ms, of "
            "which stem and head take 3 ms"
        )

    def test_the_best_of_several(self, hant, trained):
        images, labels = digits()
        plans = hant.plans(11.0, 2)
        assert len(plans) == 2
        plan, network, losses = hant.best(plans, images[:256], labels[:256])
        assert plan is plans[int(np.argmin(losses))]
        found = network.predict(images[256:], verbose=0).argmax(1)
        assert np.mean(found == labels[256:]) > 0.5  # one in ten would be chance
        again = keras.losses.sparse_categorical_crossentropy(
            labels[:256], network(images[:256], training=False), from_logits=True
        )
        assert min(losses) == pytest.approx(float(np.mean(again)), rel=1e-4)
        _, _, divergences = hant.best(plans[:1], images[:256])
        assert min(divergences) > 0.0
        with pytest.raises(ConfigError, match="there is no plan"):
            hant.best([], images)

    def test_refining(self, hant):
        """From a bad plan to a better one, within the budget."""
        images, labels = digits()
        images, labels = images[:256], labels[:256]
        bad = hant._plan((2, 1, 1))

        def loss(plan):
            return mean_loss(
                hant.library, [hant.operations[k] for k in plan.choices], images, labels, "loss"
            )

        found = hant.refine(bad, 11.0, images, labels, "loss", num_changes=2, rounds=1)
        assert loss(found) < loss(bad)
        assert hant.predicted_ms(found) <= 11.0
        with pytest.raises(InfeasibleError, match="the plan takes 4 ms, more than the budget of 2"):
            hant.refine(bad, 2.0, images)

    def test_the_next_call_takes_everything_up(self, hant, trained):
        again = HANT(trained, hant.library.folder, POOL)
        assert not again.library.missing()
        with pytest.raises(UserError, match="no latencies yet; call measure"):
            assert again.latency_ms
        images, labels = digits()
        again.score(images[:512], labels[:512], "loss")
        timers = backend(again)
        again.measure(timers, repeat=0)
        assert not timers.timers
        assert again.plans(11.0) == hant.plans(11.0)


class TestRunsOfLayers:
    @pytest.fixture(scope="class")
    def grouping(self, hant):
        """The first two layers as one as well; the third is left over."""
        made, (images, labels) = coarser(hant, 2), digits()
        made.distil(images, batch_size=64, epochs=1, learning_rate=0.01, at_once=16)
        made.score(images[:256], labels[:256], "loss")
        found = Grouping(hant, [made])
        found.measure(backend(made), repeat=0)
        return found

    def test_one_operation_for_two_layers(self, hant, grouping, tmp_path):
        made = grouping.cuts[1]
        assert [segment.name for segment in made.library.network.segments] == ["b1_out"]
        assert grouping.runs == [(0, 0), (1, 1), (2, 2), (0, 1)]
        (whole,), (kept,) = hant.plans(15.0), grouping.plans(15.0)
        assert kept.choices == (*whole.choices, None)
        # Three of stem and head, and one millisecond for each of two operations.
        made._scores[0][made.operations.index("cb_res_k1")] = 0.0
        (plan,) = grouping.plans(8.0)
        rows = grouping.rows(plan)
        assert [row.layer for row in rows] == ["b0_out to b1_out", "b2_out"]
        assert (rows[0].operation, rows[0].saved_ms, rows[0].num_layers) == ("cb_res_k1", 7.0, 2)
        assert grouping.predicted_ms(plan) == 15.0 - sum(row.saved_ms for row in rows) <= 8.0
        assert grouping.front().at(5.0).score == pytest.approx(plan.score)
        assert "b0_out to b1_out  cb_res_k1" in grouping.describe(plan)
        grouping.plot(plan, tmp_path / "plan.png")
        images = digits()[0][:4]
        last = hant.library.teacher_name, hant.library.network.layer(2)
        candidate = made.library.candidate(0, "cb_res_k1")
        x = hant.library.network.features()(images, training=False)[0]
        expected = hant.library.network.tail(2)(last[1](candidate(x, training=False)))
        assert rows[1].operation == last[0]
        found = grouping.network(plan)
        np.testing.assert_allclose(found(images, training=False), expected, rtol=1e-4, atol=1e-4)
        with pytest.raises(InfeasibleError, match="the smallest that this pool makes is 3 ms"):
            grouping.plans(2.5)

    def test_plans_that_differ(self, grouping):
        images, labels = digits()
        plans = grouping.plans(11.0, 4)
        assert len({plan.choices for plan in plans}) == 4
        assert all(grouping.predicted_ms(plan) <= 11.0 for plan in plans)
        chosen, _, losses = grouping.best(plans[:2], images[:64], labels[:64])
        assert chosen is plans[int(np.argmin(losses))]

    def test_mistakes(self, hant, tmp_path):
        with pytest.raises(ConfigError, match="the layers of a run is 1; expected 2 to 3"):
            coarser(hant, 1)
        other = HANT(small_networks.residual(), tmp_path, POOL)
        with pytest.raises(ConfigError, match="is no run of the layers"):
            Grouping(hant, [other])
        fewer = HANT(hant.library.network.network, tmp_path / "fewer", POOL[:2])
        with pytest.raises(ConfigError, match="runs of layers have the pool teacher, identity,"):
            Grouping(hant, [fewer])


def rank_correlation(hant, count):
    """Kendall's tau between sums of scores and losses of whole networks, over random plans.

    Some of them change much, some little.
    """
    images, labels = digits()
    images, labels = images[:512], labels[:512]
    network, rng = hant.library.network, np.random.default_rng(0)
    names, layers = hant.operations, range(len(network.segments))
    models = [[hant.library.candidate(k, name) for name in names] for k in layers]
    runs = [[(lambda x: x) if m is None else at_rest(m) for m in row] for row in models]
    start, end = network.features()(images, training=False)[0], at_rest(network.tail(layers[-1]))
    sums, losses = [], []
    for share in rng.uniform(0.1, 1.0, count):
        choices = rng.integers(len(names), size=len(layers)) * (rng.random(len(layers)) < share)
        x = start
        for row, place in zip(runs, choices):
            x = row[place](x)
        entropies = keras.losses.sparse_categorical_crossentropy(labels, end(x), from_logits=True)
        sums.append(sum(row[place] for row, place in zip(hant._scores, choices)))
        losses.append(float(np.mean(entropies)))
    return scipy.stats.kendalltau(sums, losses).statistic


def test_scores_nearly_add_up(hant):
    """Even of candidates that were hardly trained, so that some plans are down to chance."""
    assert rank_correlation(hant, 40) > 0.6


@pytest.mark.slow
def test_scores_add_up(tmp_path):
    made = HANT(train(num_blocks=5, epochs=12), tmp_path, POOL)
    images, labels = digits()
    made.distil(images, batch_size=64, epochs=16, learning_rate=0.01, at_once=16)
    made.score(images[:512], labels[:512], "loss")
    assert rank_correlation(made, 120) >= 0.8


def test_plan_is_plain():
    assert Plan((1, 0), 0.5, {"latency": 2.0}).latency_ms == 2.0
