"""The search itself: what a step computes, what it leaves alone, where it ends."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy_supernet import ToySupernet, toy_data

from tfgen.errors import ConfigError, DataError, UserError
from tfgen.search.unas import UNAS, Criterion, Reinforce
from tfgen.search.unas.losses import with_generalization_gap
from tfgen.search.unas.measures import AdditiveMeasure
from tfgen.training import CheckpointManager, JointOptimizer

GROUPS = {"stage": (2, 3)}
COST = AdditiveMeasure({"stage": [[5.0, 2.0, 1.0], [4.0, 2.0, 0.5]]}, constant=1.0)


def searching(compiled=True, warm=False, **options):
    model = UNAS(ToySupernet(), **options)
    model.distribution.trainable = not warm
    if compiled:
        sgd = keras.optimizers.SGD
        parts = {"weights": sgd(0.0 if compiled == "still" else 0.1), "architecture": sgd(1.0)}
        model.compile(sgd(0.1) if warm else JointOptimizer(parts), run_eagerly=True)
    return model


def state(model):
    return [v.numpy().copy() for v in model.variables]


class TestStep:
    """One step, in closed form."""

    @pytest.mark.slow
    def test_expected_gradient_of_the_logits_is_that_of_the_expected_loss(self):
        """The nine architectures' exact losses against the mean of 300 steps' gradients.

        A sound estimator fails with probability 6 * 1e-5: six coordinates, each within 4.4 standard
        errors.
        """
        data = toy_data(16)
        model = searching(num_architectures=4, logit_penalty=0.0, gap_coefficient=0.5)
        model.supernet.head.kernel.assign(np.random.default_rng(0).normal(size=(6, 3)))
        logits = np.float32([[0.3, -0.2, 0.0], [0.1, 0.4, -0.5]])
        model.distribution.logits["stage"].assign(logits)
        given = model.batch_of({k: tf.constant(v) for k, v in data.items()})

        # A step draws one architecture for every quarter of the batch.
        losses = np.zeros((3, 3))
        for first, second in itertools.product(range(3), repeat=2):
            weights = {"stage": tf.one_hot([[first, second]], 3)}
            train, validation = (
                model._cross_entropies(given[f"{kind}images"], given[f"{kind}labels"], weights)
                for kind in ("", "validation_")
            )
            losses[first, second] = np.mean(with_generalization_gap(train, validation, 0.5))
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        marginal = np.stack([losses @ p[1], p[0] @ losses])
        exact = p * (marginal - (p * marginal).sum(axis=1, keepdims=True))

        @tf.function(autograph=False)
        def gradient():
            model.train_steps.assign_add(1)
            _, gradients = model.compute_gradients(given)
            return gradients[-1]

        # Batch norm sees all quarters at once, so quarters are not independent: test one at a time.
        model.num_architectures = 1
        found = np.array([gradient().numpy() for _ in range(300)])
        error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
        assert np.all(np.abs(found.mean(axis=0) - exact) < 4.4 * error + 1e-6)
        assert np.abs(exact).max() > 10 * error.max()

    def test_weights_follow_the_relaxed_loss_of_training_images(self):
        data = toy_data(8)
        model = searching(weight_penalty=0.0, clip_norm=1e9)
        model.supernet.head.kernel.assign(np.random.default_rng(0).normal(size=(6, 3)))
        given = model.batch_of({k: tf.constant(v) for k, v in data.items()})
        drawn = model.distribution.sample(8, model.step_seed("architectures")).relaxed

        def loss():
            logits = model.supernet(given["images"], drawn, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(given["labels"], logits)
            return float(tf.reduce_mean(losses))

        kernel = model.supernet.stages[0].kernel
        _, gradients = model.compute_gradients(given)
        found = dict(zip([v.path for v in model.trainable_variables], gradients))[kernel.path]
        start, place, change = kernel.numpy(), (3, 2), 1e-2
        ends = []
        for sign in (1, -1):
            moved = start.copy()
            moved[place] += sign * change
            kernel.assign(moved)
            ends.append(loss())
        np.testing.assert_allclose(found[place], (ends[0] - ends[1]) / (2 * change), rtol=5e-3)

    def test_statistics_move_once_and_only_by_the_relaxed_training_pass(self):
        data = toy_data(8)
        model = searching("still")
        drawn = model.distribution.sample(8, model.step_seed("architectures")).relaxed
        other = ToySupernet()
        other.set_weights(model.supernet.get_weights())
        other(tf.constant(data["images"]), drawn, training=True)
        model.train_on_batch(data)
        np.testing.assert_allclose(
            model.supernet.norm.moving_variance, other.norm.moving_variance, rtol=1e-6
        )

    def test_a_step_that_is_not_finite_changes_nothing(self):
        model = searching(
            estimator={"name": "unas", "tuned": True},
            criteria=[dict(measure=lambda a: float("nan"), target=1.0, num_fitted=0)],
        )
        before = state(model)
        model.train_on_batch(toy_data(8))
        assert model.counters()["skipped_steps"] == 1
        skipped = {"train_steps", "skipped_steps", "consecutive_skips", "first_skipped_step"}
        for variable, value in zip(model.variables, before):
            if variable.name not in {*skipped, "last_skipped_step", "seed_generator_state"}:
                np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)

    def test_warming_up_leaves_the_architecture_alone(self):
        model = searching(warm=True)
        head = model.supernet.head.kernel.numpy()
        logs = model.train_on_batch(toy_data(8), return_dict=True)
        assert not np.any(model.distribution.logits["stage"].numpy())
        assert np.any(model.supernet.head.kernel.numpy() != head)
        assert "gap" not in logs
        assert int(model.architecture_steps.numpy()) == 0

    def test_gap_of_equal_halves_is_the_training_loss_alone(self):
        """With running statistics both halves would see equal networks; here equal batches do."""
        data = toy_data(8)
        data |= {f"validation_{kind}": data[kind] for kind in ("images", "labels")}
        losses = [
            searching("still", gap_coefficient=c).train_on_batch(data, return_dict=True)
            for c in (0.5, 0.0)
        ]
        assert losses[0]["gap"] == 0.0
        np.testing.assert_allclose(losses[0]["loss"], losses[1]["loss"], rtol=1e-6)

    def test_gradient_norm_of_weights_is_clipped_before_the_penalty(self):
        data = {k: tf.constant(v) for k, v in toy_data(8).items()}
        model = searching(clip_norm=1e-3, weight_penalty=0.0)
        model.supernet.head.kernel.assign(np.random.default_rng(0).normal(size=(6, 3)))
        _, gradients = model.compute_gradients(model.batch_of(data))
        np.testing.assert_allclose(tf.linalg.global_norm(gradients[:-1]), 1e-3, rtol=1e-4)

    def test_entropy_coefficient_moves_towards_fewer_architectures(self):
        entropies = []
        for coefficient in (0.5, -0.5):
            model = searching(entropy_coefficient=coefficient)
            model.distribution.logits["stage"].assign([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
            for _ in range(3):
                model.train_on_batch(toy_data(8))
            entropies.append(float(model.distribution.entropy()))
        assert entropies[0] < entropies[1]

    @pytest.mark.parametrize("estimator", ["reinforce", "gumbel_softmax", Reinforce("none")])
    def test_every_estimator_steps(self, estimator):
        model = searching(estimator=estimator, criteria=[dict(measure=COST, target=3.0)])
        model.prepare()
        logs = model.train_on_batch(toy_data(8), return_dict=True)
        assert np.isfinite(list(logs.values())).all()
        assert np.any(model.distribution.logits["stage"].numpy())


class TestSearch:
    """Whole searches."""

    def test_finds_the_useful_layers(self):
        model = searching()
        data = tf.data.Dataset.from_tensors(toy_data(48)).repeat()
        model.compile(
            JointOptimizer(
                {
                    "weights": keras.optimizers.Adam(3e-2),
                    "architecture": keras.optimizers.Adam(5e-2),
                }
            ),
            jit_compile=False,
        )
        model.fit(data, steps_per_epoch=120, epochs=1, verbose=0)
        np.testing.assert_array_equal(model.top()[0].choices["stage"], [0, 0])
        assert model.genotypes() == [model.supernet.genotype({"stage": [0, 0]})]
        logs = model._train_means.scalars()
        assert logs["gradient_variance"] < logs["reinforce_variance"]

    def test_latency_alone_ends_at_the_fastest(self):
        """With a constant loss and a target that nothing meets, every factor takes its least."""
        tables = np.random.default_rng(0).uniform(0.05, 1.5, (5, 4))
        latency = dict(measure=AdditiveMeasure({"op": tables}), form="linear", coefficient=1.0)
        model = UNAS(None, [latency], groups={"op": (5, 4)})
        model.compile(keras.optimizers.Adam(5e-2), jit_compile=False)
        model.prepare()
        steps = tf.data.Dataset.range(400).map(lambda k: {"step": k[None]})
        model.fit(steps, verbose=0)
        np.testing.assert_array_equal(model.top()[0].choices["op"], tables.argmin(axis=1))

    def test_a_target_above_all_has_no_gradient(self):
        latency = dict(measure=COST, target=20.0)
        model = UNAS(None, [latency], groups=GROUPS, logit_penalty=0.0)
        model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
        model.prepare()
        model.train_on_batch({"step": np.zeros(1)})
        np.testing.assert_array_equal(model.distribution.logits["stage"].numpy(), 0.0)

    @pytest.mark.slow
    def test_a_multiplier_meets_the_target_on_average(self):
        """Architectures want to be slow, and come to 5 ms without a coefficient; they swing around
        it, as primal and dual do."""

        def error(architecture):
            return float((6 - np.sum(architecture["op"])) ** 2)

        def latency(architecture):
            return float(1 + 2 * np.sum(architecture["op"]))

        quality = dict(measure=error, form="linear", coefficient=0.05, name="error")
        speed = dict(measure=latency, target=5.0, form="lagrangian", name="latency")
        fast = dict(multiplier_rate=0.05, num_fitted=200)
        model = UNAS(None, [quality | fast, speed | fast], groups={"op": (3, 3)})
        model.compile(keras.optimizers.Adam(3e-2), jit_compile=False)
        model.prepare()
        steps = tf.data.Dataset.range(600).map(lambda k: {"step": k[None]})
        found = model.fit(steps, steps_per_epoch=200, epochs=3, verbose=0).history["latency"]
        assert np.mean(found[1:]) == pytest.approx(5.0, abs=0.75)
        assert found[0] == pytest.approx(7.0, abs=2.5)  # of all, the mean is 7

    @pytest.mark.slow
    def test_interrupted_search_goes_on_bit_for_bit(self, tmp_path):
        def new():
            return searching(
                estimator={"name": "unas", "tuned": True},
                criteria=[dict(measure=COST, target=3.0, form="lagrangian")],
            )

        data = toy_data(8)
        whole, first = new(), new()
        for _ in range(4):
            whole.train_on_batch(data)
        for _ in range(2):
            first.train_on_batch(data)
        CheckpointManager(tmp_path).save(first)
        second = new()
        CheckpointManager(tmp_path).restore(second)
        for _ in range(2):
            second.train_on_batch(data)
        for a, b in zip(state(whole), state(second)):
            np.testing.assert_array_equal(a, b)


class TestAnswers:
    """What a search is asked afterwards."""

    def test_top_is_the_sorted_list_of_all(self):
        model = searching(compiled=False)
        rng = np.random.default_rng(1)
        model.distribution.logits["stage"].assign(rng.normal(size=(2, 3)))
        log_p = model.distribution.log_probabilities()["stage"].numpy()
        expected = sorted(
            ((log_p[0, a] + log_p[1, b], (a, b)) for a in range(3) for b in range(3)), reverse=True
        )
        found = model.top(20)
        assert [tuple(f.choices["stage"]) for f in found] == [choice for _, choice in expected]
        np.testing.assert_allclose([f.log_prob for f in found], [p for p, _ in expected], rtol=1e-6)

    def test_best_are_measured(self):
        """Of the most probable architectures those within bounds, the least penalty first."""
        bound = dict(measure=COST, target=5.0, form="lagrangian", name="cost")
        cheap = dict(measure=COST, form="linear", coefficient=1.0, name="cheap")
        model = UNAS(None, [bound, cheap], GROUPS)
        model.distribution.logits["stage"].assign([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        found = model.best(9)
        costs = [COST(f.choices) for f in found]
        within = [cost for cost in costs if cost <= 5.0]
        assert costs[: len(within)] == sorted(within)
        assert [f.objective for f in found[: len(within)]] == within
        assert 0 < len(within) < 9
        few = model.best(2, candidates=2)  # the two most probable ones within bounds
        expected = [f.choices for f in model.top(9) if COST(f.choices) <= 5.0][:2]
        expected.sort(key=COST)
        for one, other in zip(few, expected):
            np.testing.assert_array_equal(one.choices["stage"], other["stage"])
        with pytest.raises(ConfigError, match="without any where it has none"):
            model.best(data=[])

    def test_best_by_the_loss_of_a_network(self):
        """Equal to the loss of each architecture alone, by hand; statistics stay."""
        model = searching(compiled=False)
        model.supernet.head.kernel.assign(np.random.default_rng(0).normal(size=(6, 3)))
        data, before = [toy_data(8), toy_data(8, seed=1)], state(model)
        found = model.best(9, candidates=9, data=data)
        assert len(found) == 9
        empty = [{k: v[:0] for k, v in data[0].items()}]
        for nothing, message in (
            ([], "the data hold none, or an empty one; expected"),
            (empty, "the array of images is empty; expected at least one"),
        ):
            with pytest.raises(DataError, match=message):
                model.best(data=nothing)
        for a, b in zip(before, state(model)):
            np.testing.assert_array_equal(a, b)
        for one in (found[0], found[8]):
            weights = {"stage": tf.one_hot(one.choices["stage"], 3)[None]}
            losses = []
            for batch in data:
                ce = []
                for kind in ("", "validation_"):
                    logits = model.supernet(batch[f"{kind}images"], weights, training=True)
                    ce.append(
                        keras.losses.sparse_categorical_crossentropy(
                            batch[f"{kind}labels"], logits, from_logits=True
                        )
                    )
                losses.append(float(tf.reduce_mean(ce[0] + 0.5 * tf.abs(ce[1] - ce[0]))))
            assert one.objective == pytest.approx(np.mean(losses), rel=1e-5)
        assert found[0].objective < found[8].objective
        with pytest.raises(ConfigError, match="measured on batches of images"):
            model.best()

    @pytest.mark.parametrize("kind", ["", "validation_"])
    def test_data_are_checked_in_both_halves(self, kind):
        """By `fit`, in a data set and as arrays, and by `best`."""
        data = toy_data(8)
        wrong = {
            rf"{kind.replace('_', ' ')}images holds .* \(x \+ 1\) / 2": {
                f"{kind}images": 2.0 * data[f"{kind}images"] - 1.0
            },
            "labels are 9 to 11; expected 0 to 2": {f"{kind}labels": data[f"{kind}labels"] + 9},
        }
        for message, change in wrong.items():
            changed = {**data, **change}
            for given in (changed, tf.data.Dataset.from_tensors(changed)):
                with pytest.raises(DataError, match=message):
                    searching().fit(given, verbose=0, shuffle=False)
            message = message.replace(kind.replace("_", " "), "")
            with pytest.raises(DataError, match=message):
                searching().best(data=[changed])

    def test_words_name_the_same_classes_in_every_batch(self):
        """Where one lacks a class nobody knows which numbers its words are."""
        data = toy_data(16)
        words = {k: np.array(["a", "b", "c"])[v] for k, v in data.items() if "labels" in k}
        assert all(len(set(w)) == 3 for w in words.values())
        model = searching(compiled=False)
        model.supernet.head.kernel.assign(np.random.default_rng(0).normal(size=(6, 3)))
        named, numbered = (model.best(9, data=[d])[0] for d in ({**data, **words}, data))
        assert named.objective == numbered.objective
        np.testing.assert_array_equal(named.choices["stage"], numbered.choices["stage"])
        lacking = {k: np.where(w == "a", "b", w) for k, w in words.items()}
        with pytest.raises(DataError, match="classes"):
            model.best(data=[{**data, **lacking}])
        with pytest.raises(DataError, match="classes"):
            searching().fit({**data, **lacking}, verbose=0, shuffle=False)

    def test_configuration_comes_back(self):
        criterion = Criterion(COST, GROUPS, 3.0, "absolute", name="cost")
        model = searching(False, criteria=[criterion], estimator="reinforce", softening=0.08)
        again = UNAS.from_config(model.get_config())
        assert again.get_config() == model.get_config()

    def test_predicts_and_evaluates_by_the_most_probable(self):
        model = searching()
        data = toy_data(8)
        assert model.predict(data["images"], verbose=0).shape == (8, 3)
        before = state(model)[:10]
        logs = model.evaluate(data["images"], data["labels"], verbose=0, return_dict=True)
        assert logs["loss"] == pytest.approx(np.log(3), rel=1e-5)  # the head is zero
        for a, b in zip(before, state(model)[:10]):
            np.testing.assert_array_equal(a, b)

    def test_what_cannot_be_searched_is_said(self):
        with pytest.raises(ConfigError, match="needs groups, and criteria"):
            UNAS()
        with pytest.raises(ConfigError, match="supernet is 'cell'; expected one of cells, blocks"):
            UNAS({"name": "cell"})
        with pytest.raises(ConfigError, match="a batch has 8 images; expected a divisor"):
            searching(num_architectures=3).train_on_batch(toy_data(8))
        data = toy_data(8)
        with pytest.raises(DataError, match="8 training and 4 validation images"):
            searching().train_on_batch(
                data | {k: v[:4] for k, v in data.items() if k.startswith("validation")}
            )
        with pytest.raises(DataError, match="no 'validation_images'"):
            searching().train_on_batch({k: data[k] for k in ("images", "labels")})
        with pytest.raises(UserError, match="at least two a step"):
            searching(
                num_architectures=1, estimator={"name": "unas", "leave_one_out": True}
            ).train_on_batch(data)
