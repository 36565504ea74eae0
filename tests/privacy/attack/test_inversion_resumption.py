"""An attack that was stopped goes on as if it had not been; another one is refused."""

import numpy as np
import pytest
import tensorflow as tf
from short_attacks import attack_of, lbfgs_attack, run
from tiny import (
    PLAIN,
    distinct_batch,
    smooth_batch_norm_net,
    threat_model,
)

from tfgen.errors import CheckpointError
from tfgen.files.tensor_file import read_tensors, write_tensors
from tfgen.privacy import (
    GradientInversion,
    SharedNetwork,
)
from tfgen.privacy.attack import resumption
from tfgen.privacy.attack.resumption import save_state


class TestResumption:
    @pytest.mark.parametrize(
        "options",
        [{}, pytest.param({"gradient_form": "whitened"}, marks=pytest.mark.slow)],
        ids=["plain", "whitened"],
    )
    def test_a_resumed_run_is_the_run(self, tmp_path, monkeypatch, options):
        path, attack = tmp_path / "attack.safetensors", attack_of(**options)
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
        resumed = run(attack_of.__wrapped__(**options), checkpoint=path)
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
