"""Attacks end to end: zero at the truth, exact schedules, seeds, resumption, purity, recovery."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import (
    PLAIN,
    digits,
    distinct_batch,
    float64,
    relu_net,
    smooth_batch_norm_net,
    threat_model,
)

from tfgen.errors import CheckpointError, ConfigError, UserError
from tfgen.files.tensor_file import read_tensors, write_tensors
from tfgen.privacy import (
    ATTACKS,
    AttackSettings,
    GradientInversion,
    SharedNetwork,
    build_classifier,
)
from tfgen.privacy.attack import resumption
from tfgen.privacy.attack.descent import _stride
from tfgen.privacy.attack.learning_rate import learning_rate_of
from tfgen.privacy.attack.optimization import Optimization, layer_weights
from tfgen.privacy.attack.resumption import save_state
from tfgen.privacy.attack.state import TERMS, Evidence
from tfgen.privacy.attack.threat_model import ThreatModel

SHORT = {**PLAIN, "num_steps": 12, "num_seeds": 2}


def psnr(images, truth):
    return -10 * np.log10(np.mean((images - truth) ** 2, axis=(-3, -2, -1)) + 1e-12)


def evidence_of(network, images, labels, **changes):
    fields = dict(
        gradients=network.gradients(images, labels),
        labels=network.one_hot(labels),
        statistics=network.statistics(images, labels),
        masks=[],
        seeds=tf.constant([0]),
    )
    return Evidence(**{**fields, **changes})


class TestObjective:
    @pytest.mark.parametrize("mode", ["eval", "train"])
    @pytest.mark.parametrize("form", ["norm", "squared", "cosine"])
    def test_truth_is_a_zero(self, mode, form):
        images, labels = distinct_batch(4)
        network = SharedNetwork(smooth_batch_norm_net(), batch_norm_mode=mode)
        settings = AttackSettings(gradient_form=form, group="none", tv_weight=0, l2_weight=0)
        step = Optimization(network, settings)
        evidence = evidence_of(network, images, labels)
        state = step.start(evidence)._replace(values=[network.normalize(images)[None]])
        terms = dict(zip(TERMS, step.evaluate(state, evidence).numpy()[:, 0]))
        assert abs(terms["gradient"]) < 1e-5
        assert terms["batch_norm"] < 1e-5
        gradients, _ = step._derivative(state, evidence)
        assert np.all(np.isfinite(gradients[0]))

    def test_statistics_of_the_other_mode_are_no_zero(self):
        images, labels = distinct_batch(4)
        model = smooth_batch_norm_net()
        network = SharedNetwork(model, batch_norm_mode="train")
        step = Optimization(network, AttackSettings(group="none"))
        other = SharedNetwork(model, batch_norm_mode="eval").statistics(images, labels)
        for statistics in (other, network.moving_statistics()):
            evidence = evidence_of(network, images, labels, statistics=statistics)
            state = step.start(evidence)._replace(values=[images[None]])
            terms = dict(zip(TERMS, step.evaluate(state, evidence).numpy()[:, 0]))
            assert terms["batch_norm"] > 0.1

    def test_the_sum_has_the_stated_weights(self):
        images, labels = distinct_batch(3)
        network = SharedNetwork(smooth_batch_norm_net(), batch_norm_mode="train")
        settings = AttackSettings(
            gradient_weight=0.3,
            tv_weight=0.5,
            l2_weight=0.7,
            batch_norm_weight=1.1,
            group_weight=1.3,
            group_start=0,
            label_weight=0.9,
        )
        step = Optimization(network, settings)
        evidence = evidence_of(network, images, labels)
        terms = dict(zip(TERMS, step.evaluate(step.start(evidence), evidence).numpy()[:, 0]))
        assert all(value > 0 for value in terms.values())
        want = sum(getattr(settings, f"{name}_weight") * terms[name] for name in TERMS[1:])
        np.testing.assert_allclose(terms["total"], want, rtol=1e-5)

    @pytest.mark.parametrize("mode", ["eval", "train"])
    def test_derivative_is_that_of_central_differences(self, mode):
        # float64 throughout: of the network, and of Keras' losses.
        images, labels = distinct_batch(2)
        with float64():
            model = smooth_batch_norm_net()
            variables = [v.value for v in model.trainable_variables]
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
            network = SharedNetwork(model, loss, batch_norm_mode=mode)
        one_hot = tf.one_hot(labels, 10, dtype=tf.float64)

        def gradients(x):
            with tf.GradientTape() as tape:
                loss = network.forward(x, one_hot)[0]
            return tape.gradient(loss, variables)

        target = gradients(tf.constant(images, tf.float64))

        @functools.partial(tf.function, autograph=False)
        def distance(x):
            return tf.add_n([tf.norm(g - t) for g, t in zip(gradients(x), target)])

        x = tf.constant(np.random.default_rng(0).random(images.shape))
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = distance(x)
        found = tape.gradient(value, x).numpy()
        for index in [(0, 0, 0, 0), (0, 3, 4, 0), (1, 7, 7, 0), (1, 2, 5, 0)]:
            shift = np.zeros(images.shape)
            shift[index] = 1e-5
            want = (float(distance(x + shift)) - float(distance(x - shift))) / 2e-5
            np.testing.assert_allclose(found[index], want, rtol=1e-4, atol=1e-7)


class TestSchedule:
    def test_paper(self):
        rate = learning_rate_of(AttackSettings(num_steps=20_000))
        want = {0: 0.002, 24: 0.05, 49: 0.1, 50: 0.1, 10_025: 0.05, 19_999: 6.2e-10}
        for step, value in want.items():
            found = rate(tf.constant(step, tf.float64 if step == 19_999 else tf.int32))
            np.testing.assert_allclose(found, value, rtol=1e-2 if step == 19_999 else 1e-5)

    def test_steps(self):
        rate = learning_rate_of(AttackSettings(**{**ATTACKS["inverting_gradients"]}))
        found = [float(rate(tf.constant(s))) for s in (0, 7_499, 7_500, 12_500, 17_500)]
        np.testing.assert_allclose(found, [0.1, 0.1, 0.01, 0.001, 0.0001], rtol=1e-5)

    def test_noise_has_the_stated_size(self):
        # No gradient, no priors: only noise moves the pixels. 8 * 64 * 64 * 3 draws: the standard
        # deviation of their standard deviation is 0.2 %; 1.5 % is beyond seven of them.
        inputs = keras.Input((64, 64, 3))
        pooled = keras.layers.GlobalAveragePooling2D()(inputs)
        network = SharedNetwork(keras.Model(inputs, keras.layers.Dense(2)(pooled)))
        nothing = dict.fromkeys(
            ("gradient_weight", "tv_weight", "l2_weight", "batch_norm_weight"), 0.0
        )
        settings = AttackSettings(**nothing, group="none", clip=False, num_steps=400, num_seeds=1)
        step = Optimization(network, settings)
        evidence = Evidence([], tf.zeros([8, 2]), [], [], tf.constant([5]))
        start = step.start(evidence)
        end = step.run(start, evidence, tf.constant(400))
        rates = np.array([float(learning_rate_of(settings)(tf.constant(t))) for t in range(400)])
        want = 0.2 * np.sqrt(np.sum(rates**2))
        np.testing.assert_allclose(np.std(end.values[0] - start.values[0]), want, rtol=0.015)


class TestRecovery:
    @pytest.mark.parametrize(("batch_size", "least"), [(1, 60), (4, 40), (8, 25)])
    def test_digits(self, batch_size, least):
        images, labels = distinct_batch(batch_size)
        attack = GradientInversion(relu_net(), threat_model=threat_model(), num_steps=1500, **PLAIN)
        gradients = attack.network.gradients(images, labels)
        found = attack.run(gradients, batch_size=batch_size, verbose=0)
        np.testing.assert_array_equal(found.labels, labels)
        assert psnr(found.images, images).mean() > least
        assert psnr(np.full_like(images, 0.5), images).mean() < 9

    def test_without_the_gradient_nothing_is_restored(self):
        images, labels = distinct_batch(2)
        attack = GradientInversion(
            relu_net(),
            threat_model=threat_model(),
            num_steps=200,
            **{**PLAIN, "gradient_weight": 0.0, "tv_weight": 1e-3},
        )
        found = attack.run(attack.network.gradients(images, labels), batch_size=2, verbose=0)
        assert psnr(found.images, images).mean() < 12

    def test_optimised_labels(self):
        images, labels = distinct_batch(5)
        attack = GradientInversion(
            relu_net(),
            threat_model=threat_model(labels="optimized"),
            num_steps=800,
            **{**PLAIN, "gradient_form": "cosine"},
        )
        gradients = attack.network.gradients(images[3:], labels[3:])
        found = attack.run(gradients, batch_size=2, verbose=0)
        assert sorted(found.labels.tolist()) == [3, 4]

    @pytest.mark.parametrize("labels", ["optimized", "restored"])
    def test_dlg_and_idlg(self, labels):
        images, _ = distinct_batch(5)
        model = build_classifier("lenet", (8, 8, 1), 10)
        attack = GradientInversion(
            model, threat_model=threat_model(labels=labels), **ATTACKS["dlg"]
        )
        gradients = attack.network.gradients(images[4:], [4])
        found = attack.run(gradients, batch_size=1, verbose=0, seed=1)
        assert found.labels.tolist() == [4]
        assert psnr(found.images, images[4:]).mean() > 60
        assert found.terms["gradient"][0] < 1e-5

    def test_labels_in_any_form(self):
        images, labels = distinct_batch(3)
        attack = GradientInversion(relu_net(), threat_model=threat_model(labels="known"), **SHORT)
        gradients = attack.network.gradients(images, labels)
        want = attack.run(gradients, labels=labels, verbose=0)
        for form in (labels[:, None], np.eye(10)[labels]):
            found = attack.run(gradients, labels=form, verbose=0)
            np.testing.assert_array_equal(found.images, want.images)
            np.testing.assert_array_equal(found.labels, labels)

    def test_soft_labels(self):
        images, labels = distinct_batch(2)
        soft = 0.6 * np.eye(10)[labels] + 0.04
        settings = {**PLAIN, "num_steps": 800}
        attack = GradientInversion(
            relu_net(), threat_model=threat_model(labels="known"), **settings
        )
        gradients = attack.network.gradients(images, soft)
        found = attack.run(gradients, labels=soft, verbose=0)
        np.testing.assert_array_equal(found.labels, labels)
        assert psnr(found.images, images).mean() > 40

    @pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
    def test_float64(self, optimizer):
        images, labels = distinct_batch(3)
        with float64():
            attack = GradientInversion(
                smooth_batch_norm_net(),
                threat_model=threat_model(batch_norm_mode="train", batch_norm_statistics="batch"),
                optimizer=optimizer,
                num_steps=3,
                **PLAIN,
            )
            gradients = attack.network.gradients(images, labels)
            found = attack.run(
                gradients,
                batch_size=3,
                batch_norm_statistics=attack.network.statistics(images, labels),
                verbose=0,
            )
        assert gradients[0].dtype == tf.float64
        assert found.terms["gradient"].dtype == np.float64
        assert found.images.dtype == np.float32
        np.testing.assert_array_equal(found.labels, labels)

    def test_unknown_batch_size(self):
        images, labels = distinct_batch(5)
        attack = GradientInversion(
            relu_net(), threat_model=threat_model(batch_size="unknown"), **SHORT
        )
        found = attack.run(attack.network.gradients(images, labels), verbose=0)
        np.testing.assert_array_equal(found.labels, labels)

    def test_batch_statistics_alone_shape_the_images(self):
        # What they give away has to be known before anything is credited to the gradient.
        images, labels = distinct_batch(4)
        attack = GradientInversion(
            smooth_batch_norm_net(),
            threat_model=threat_model(batch_norm_mode="train", batch_norm_statistics="batch"),
            num_steps=150,
            **{**PLAIN, "gradient_weight": 0.0, "batch_norm_weight": 1.0},
        )
        network = attack.network
        found = attack.run(
            network.gradients(images, labels),
            batch_size=4,
            batch_norm_statistics=network.statistics(images, labels),
            verbose=0,
        )
        assert found.terms["batch_norm"][0] < 0.1 * found.history[0]["batch_norm"] + 0.5
        assert found.terms["gradient"][0] == 0


@functools.cache  # compiling costs more than running
def attack_of(**changes):
    """A short attack with everything switched on."""
    return GradientInversion(
        smooth_batch_norm_net(),
        threat_model=threat_model(batch_norm_mode="train", batch_norm_statistics="batch"),
        **{**SHORT, "noise": 0.2, "group": "registered", "group_start": 4, "group_period": 3}
        | changes,
    )


@functools.cache
def plain_attack(model=None, **changes):
    """A short attack on a small network, for what is the same on every network."""
    return GradientInversion(
        model or relu_net(), threat_model=threat_model(), **{**SHORT, "noise": 0.2, **changes}
    )


@functools.cache
def lbfgs_attack():
    settings = {**ATTACKS["dlg"], "num_steps": 8, "num_seeds": 2}
    return GradientInversion(
        build_classifier("lenet", (8, 8, 1), 10), threat_model=threat_model(), **settings
    )


def run(attack, **options):
    images, labels = distinct_batch(3)
    network = attack.network
    return attack.run(
        network.gradients(images, labels),
        batch_size=3,
        batch_norm_statistics=network.statistics(images, labels),
        verbose=0,
        **options,
    )


class TestRuns:
    def test_repeats(self):
        first, again = run(attack_of()), run(attack_of.__wrapped__())
        np.testing.assert_array_equal(first.seeds, again.seeds)
        other = run(attack_of(), seed=7)
        assert np.abs(first.seeds - other.seeds).max() > 0.01

    def test_seeds_side_by_side_are_seeds_one_by_one(self):
        together = run(attack_of(group="none", num_seeds=3), seed=4).seeds
        alone = attack_of(group="none", num_seeds=1)
        for g in range(3):
            np.testing.assert_allclose(run(alone, seed=4 + g).seeds[0], together[g], atol=2e-5)

    def test_looking_more_often_changes_nothing(self):
        np.testing.assert_array_equal(
            run(attack_of(), steps_per_call=5).seeds, run(attack_of()).seeds
        )

    def test_looks_are_some_seconds_apart(self):
        assert _stride(1, 0.001, 1) == 8
        assert _stride(8, 0.001, 8) == 64
        assert _stride(64, 0.001, 64) == 100
        assert _stride(100, 50.0, 100) == 10
        assert _stride(1, 60.0, 1) == 1

    def test_time_of_a_step_leaves_tracing_out(self):
        found = run(plain_attack.__wrapped__())
        assert found.history[0]["step"] == 1
        assert 0 < found.seconds_per_step < found.seconds / found.num_steps

    def test_no_retracing(self):
        attack = attack_of()
        run(attack)
        run(attack, seed=3, steps_per_call=5)
        assert attack._optimization.run.experimental_get_tracing_count() == 1
        assert attack._optimization.evaluate.experimental_get_tracing_count() == 1

    def test_a_resumed_run_is_the_run(self, tmp_path, monkeypatch):
        path, attack = tmp_path / "attack.safetensors", attack_of()
        whole, loop, states = run(attack), attack._optimization, []

        class Stop(Exception):
            pass

        def stopping(state, evidence, until, original=loop.run):
            state = original(state, evidence, until)
            states.append((state, evidence))
            if int(state.step) >= 8:
                raise Stop
            return state

        with monkeypatch.context() as patch:
            patch.setattr(loop, "run", stopping)
            with pytest.raises(Stop):
                run(attack, steps_per_call=2, checkpoint=path)
        state, evidence = states[-2]  # what a save before the stop holds
        save_state(path, state, attack._identity(evidence))
        resumed = run(attack_of.__wrapped__(), checkpoint=path)
        np.testing.assert_array_equal(resumed.seeds, whole.seeds)
        assert resumed.history[0]["step"] > int(state.step) >= 4
        # Finished: nothing is left to do.
        finished = run(attack, checkpoint=path)
        np.testing.assert_array_equal(finished.seeds, whole.seeds)
        assert not finished.history

    def test_a_checkpoint_of_another_attack_is_refused(self, tmp_path):
        path = tmp_path / "attack.safetensors"
        run(attack_of(), checkpoint=path)
        with pytest.raises(CheckpointError, match="other settings"):
            run(attack_of(noise=0.1), checkpoint=path)
        with pytest.raises(CheckpointError, match="other seeds"):
            run(attack_of(), checkpoint=path, seed=9)
        with pytest.raises(CheckpointError, match="other sample_weight;"):
            run(attack_of(), checkpoint=path, sample_weight=[1.0, 2.0, 1.0])
        masks = [tf.ones(v.shape) for v in attack_of().network.variables]
        with pytest.raises(CheckpointError, match="other masks;"):
            run(attack_of(), checkpoint=path, masks=masks)

    def test_so_is_one_of_other_labels_statistics_or_weights(self, tmp_path):
        images, labels = distinct_batch(3)
        known = threat_model(batch_norm_mode="train", batch_norm_statistics="batch", labels="known")

        def invert(labels, seed=0, shift=0.0):
            attack = GradientInversion(
                smooth_batch_norm_net(seed), threat_model=known, num_steps=1, **PLAIN
            )
            statistics = [(mean + shift, v) for mean, v in network.statistics(images, labels)]
            return attack.run(
                gradients,
                labels=labels,
                batch_norm_statistics=statistics,
                checkpoint=tmp_path / "attack.safetensors",
                verbose=0,
            )

        network = SharedNetwork(smooth_batch_norm_net(), batch_norm_mode="train")
        gradients = network.gradients(images, labels)
        invert(labels)
        with pytest.raises(CheckpointError, match="other labels;"):
            invert(labels[::-1])
        with pytest.raises(CheckpointError, match="other batch_norm_statistics;"):
            invert(labels, shift=1.0)
        with pytest.raises(CheckpointError, match="other weights;"):
            invert(labels, seed=1)

    @pytest.mark.parametrize("seen", [1, 9, 14])
    def test_a_resumed_lbfgs_is_the_run(self, tmp_path, monkeypatch, seen):
        monkeypatch.setattr(resumption, "_SECONDS_BETWEEN_SAVES", -1.0)
        attack, path = lbfgs_attack(), tmp_path / "attack.safetensors"
        images, labels = distinct_batch(1)
        gradients = attack.network.gradients(images, labels)
        arguments = dict(batch_size=1, verbose=0)
        whole, ask, asked = attack.run(gradients, **arguments), attack._optimization, []

        class Stop(Exception):
            pass

        def counting(*arguments, original=ask.value_and_gradient):
            asked.append(None)
            if len(asked) == seen + 1:
                raise Stop
            return original(*arguments)

        monkeypatch.setattr(ask, "value_and_gradient", counting)
        with pytest.raises(Stop):
            attack.run(gradients, checkpoint=path, **arguments)
        resumed = attack.run(gradients, checkpoint=path, **arguments)
        np.testing.assert_array_equal(resumed.seeds, whole.seeds)
        needed = len(asked) - 1  # nothing is computed twice but what was stopped
        finished = attack.run(gradients, checkpoint=path, **arguments)
        np.testing.assert_array_equal(finished.seeds, whole.seeds)
        assert len(asked) - 1 == needed > 14

    @pytest.mark.parametrize("damage", [{"seconds": None}, {"0": None}, {"0": np.zeros(3)}])
    def test_a_checkpoint_without_its_state_is_refused(self, tmp_path, damage):
        path = tmp_path / "attack.safetensors"
        run(attack_of(), checkpoint=path)
        arrays, note = read_tensors(path)
        arrays |= damage
        kept = {name: array for name, array in arrays.items() if array is not None}
        write_tensors(path, kept, note)
        with pytest.raises(CheckpointError, match="does not hold the state of this attack"):
            run(attack_of(), checkpoint=path)

    def test_the_model_is_not_touched(self):
        attack = attack_of()
        variables = attack.network.model.variables
        before = [np.array(v) for v in variables]
        run(attack)
        for old, variable in zip(before, variables, strict=True):
            np.testing.assert_array_equal(old, variable)

    def test_pixels_stay_in_the_box(self):
        found = run(plain_attack(learning_rate=5.0))
        assert found.seeds.min() >= 0
        assert found.seeds.max() <= 1
        assert found.images.shape == found.consensus.shape == (3, 8, 8, 1)

    def test_groups_pull_seeds_together(self):
        apart = run(plain_attack(num_steps=60)).seeds
        strong = dict(group_weight=100.0, group_start=4, num_steps=60, noise=0.0)
        together = run(plain_attack(group="lazy", **strong)).seeds
        assert np.std(together, axis=0).mean() < 0.5 * np.std(apart, axis=0).mean()

    @pytest.mark.parametrize("options", [{"jitter": 2}, {"flip": True}, {"signed": True}])
    def test_options_change_the_path(self, options):
        assert np.abs(run(plain_attack(**options)).seeds - run(plain_attack()).seeds).max() > 1e-3

    def test_late_kernels(self):
        network = SharedNetwork(smooth_batch_norm_net())
        kernels = [v.path for v in network.variables if len(v.shape) > 1]
        assert len(kernels) == 3

        def seen(share, **settings):
            weights = layer_weights(network, AttackSettings(late_kernels=share, **settings))
            return {v.path: w for v, w in zip(network.variables, weights) if w}

        assert seen(0.5) == dict.fromkeys(kernels[1:], 1.0)
        assert seen(0.1, layer_weights={kernels[2]: 3.0}) == {kernels[2]: 3.0}
        assert seen(1.0) == dict.fromkeys(kernels, 1.0)  # no biases, gains and offsets
        assert layer_weights(network, AttackSettings()) is None

    def test_layer_weights(self):
        network = plain_attack().network
        weights = {network.variables[0].path: 0.0}
        other = run(plain_attack.__wrapped__(network.model, layer_weights=weights))
        assert np.abs(other.seeds - run(plain_attack()).seeds).max() > 1e-4
        with pytest.raises(UserError, match="names 'nonsense'"):
            plain_attack.__wrapped__(layer_weights={"nonsense": 1.0})

    @pytest.mark.slow
    def test_xla_equals_not(self):
        # Without noise: from one seed XLA draws other numbers than TensorFlow's own kernels.
        short = dict(num_seeds=1, num_steps=5, noise=0.0)
        plain = run(attack_of(**short)).seeds
        np.testing.assert_allclose(
            run(attack_of(jit_compile=True, **short)).seeds, plain, atol=1e-3
        )

    def test_progress_is_reported(self, capsys):
        images, labels = distinct_batch(2)
        attack = GradientInversion(relu_net(), threat_model=threat_model(), **SHORT)
        seen = []
        attack.run(
            attack.network.gradients(images, labels),
            batch_size=2,
            steps_per_call=4,
            callback=lambda step, terms: seen.append((step, terms["gradient"])),
        )
        assert [step for step, _ in seen] == [4, 8, 12]
        assert "gradient" in capsys.readouterr().out


class TestMistakes:
    def attack(self, model=None, **changes):
        return GradientInversion(model or relu_net(), threat_model=threat_model(**changes), **SHORT)

    def gradients(self):
        return self.attack().network.gradients(*distinct_batch(2))

    def test_threat_model_is_required_and_complete(self):
        with pytest.raises(TypeError, match="threat_model"):
            GradientInversion(relu_net())
        with pytest.raises(TypeError, match="labels"):
            ThreatModel(batch_norm_mode="eval", batch_norm_statistics="none", batch_size="known")
        with pytest.raises(UserError, match="batch_norm_mode is 'test'; expected one of 'eval'"):
            threat_model(batch_norm_mode="test")

    def test_gradients_that_do_not_fit(self):
        attack, gradients = self.attack(), self.gradients()
        with pytest.raises(UserError, match="5 gradients came for 6"):
            attack.run(gradients[:-1], batch_size=2)
        with pytest.raises(UserError, match="has shape"):
            attack.run([*gradients[:-1], tf.zeros([3])], batch_size=2)
        with pytest.raises(UserError, match="NaN or infinity"):
            attack.run([*gradients[:-1], gradients[-1] * np.nan], batch_size=2)
        with pytest.raises(UserError, match="is None; give zeros"):
            attack.run([*gradients[:-1], None], batch_size=2)
        with pytest.raises(UserError, match="masks do not have the shapes"):
            attack.run(gradients, batch_size=2, masks=gradients[:-1])
        with pytest.raises(UserError, match=r"sample_weight has shape \(3,\)"):
            attack.run(gradients, batch_size=2, sample_weight=[1.0, 1.0, 1.0])

    def test_knowledge_that_is_missing(self):
        gradients = self.gradients()
        with pytest.raises(UserError, match="knows the batch size"):
            self.attack().run(gradients)
        with pytest.raises(UserError, match="knows the labels"):
            self.attack(labels="known").run(gradients, batch_size=2)
        with pytest.raises(UserError, match="label 12 is outside"):
            self.attack(labels="known").run(gradients, labels=[1, 12])
        with pytest.raises(UserError, match="2 labels came for a batch of 3"):
            self.attack(labels="known").run(gradients, labels=[1, 2], batch_size=3)
        attack = self.attack(smooth_batch_norm_net(), batch_norm_statistics="batch")
        gradients = attack.network.gradients(*distinct_batch(2))
        with pytest.raises(UserError, match="none were given"):
            attack.run(gradients, batch_size=2)

    def test_no_batch_norm(self):
        with pytest.raises(UserError, match="has no batch-norm layer"):
            self.attack(batch_norm_statistics="moving")

    def test_settings(self):
        with pytest.raises(ConfigError, match="did you mean 'num_seeds'"):
            GradientInversion(relu_net(), threat_model=threat_model(), num_seed=2)
        with pytest.raises(ConfigError, match="gradient_form"):
            GradientInversion(relu_net(), threat_model=threat_model(), gradient_form="l1")
        for field in ("num_steps", "num_seeds", "group_start", "jitter"):
            with pytest.raises(ConfigError, match=f"{field} is 2.5; expected a whole number"):
                AttackSettings(**{field: 2.5})
        with pytest.raises(ConfigError, match="noise is -1"):
            AttackSettings(noise=-1.0)
        with pytest.raises(ConfigError, match="late_kernels is 1"):
            AttackSettings(late_kernels=1.5)
        with pytest.raises(ConfigError, match="metric_damping is 0; expected above 0"):
            AttackSettings(metric_damping=0)
        with pytest.raises(ConfigError, match="batch_norm_form is 'l1'; expected one of norm"):
            AttackSettings(batch_norm_form="l1")
        with pytest.raises(ConfigError, match="'lbfgs' needs the derivative"):
            AttackSettings(optimizer="lbfgs", group="none", relu_width=0.5)
        settings = AttackSettings.from_config(ATTACKS["inverting_gradients"])
        assert AttackSettings.from_config(settings.get_config()) == settings

    def test_a_loss_that_cannot_be_differentiated(self):
        def opaque(labels, outputs):
            largest = tf.numpy_function(lambda x: x.max(axis=1), [outputs], tf.float32)
            return tf.ensure_shape(largest, outputs.shape[:1])

        attack = GradientInversion(relu_net(), opaque, threat_model=threat_model(), **SHORT)
        with pytest.raises(UserError, match="cannot be differentiated by any weight"):
            attack.network.gradients(*distinct_batch(2))

    @pytest.mark.parametrize(
        "layer",
        [
            tf.nn.local_response_normalization,  # no second derivative is registered
            lambda x: tf.cast(tf.cast(255 * x, tf.uint8), tf.float32),  # none at all
        ],
    )
    def test_a_model_that_cannot_be_differentiated_twice(self, layer):
        inputs = x = keras.Input((8, 8, 1))
        if layer is tf.nn.local_response_normalization:
            x = keras.layers.Conv2D(1, 1)(x)  # the first derivative has to pass through it
        x = keras.layers.Flatten()(keras.layers.Lambda(layer, (8, 8, 1))(x))
        attack = self.attack(keras.Model(inputs, keras.layers.Dense(10)(x)))
        gradients = attack.network.gradients(*distinct_batch(2))
        with pytest.raises(UserError, match="cannot be differentiated twice"):
            attack.run(gradients, batch_size=2, verbose=0)

    def test_no_head(self):
        inputs = keras.Input((8, 8, 1))
        pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(10, 1)(inputs))
        attack = self.attack(keras.Model(inputs, pooled))
        with pytest.raises(UserError, match="no trainable dense layer"):
            attack.run(attack.network.gradients(*distinct_batch(2)), batch_size=2)

    def test_an_overflow_is_named(self):
        images, labels = digits()
        attack = GradientInversion(
            relu_net(),
            threat_model=threat_model(),
            **{**SHORT, "clip": False, "learning_rate": 1e30},
        )
        gradients = attack.network.gradients(images[:2], labels[:2])
        with pytest.raises(UserError, match="NaN or infinite between steps"):
            attack.run(gradients, batch_size=2, verbose=0)
