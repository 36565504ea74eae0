"""Runs of an attack: repetition, seeds, traces, purity, what options change."""

import numpy as np
import pytest
from short_attacks import SHORT, attack_of, plain_attack, run
from tiny import (
    distinct_batch,
    relu_net,
    smooth_batch_norm_net,
    threat_model,
)

from tfgen.errors import UserError
from tfgen.privacy import (
    AttackSettings,
    GradientInversion,
    SharedNetwork,
)
from tfgen.privacy.attack.descent import _stride
from tfgen.privacy.attack.optimization import layer_weights


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
