"""The contract of generators: seeds and noise of single images."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfgen import cores
from tfgen.errors import ConfigError
from tfgen.generative import Generator, NoiseSpec, seeds_for
from tfgen.generative.base import batch_size_of, draw_noise, group_temperatures

SPEC = {
    "first": NoiseSpec((None, 2, 3)),
    "pixel": NoiseSpec((None, 4), "uniform"),
    "second": NoiseSpec((None, 5)),
}


class Identity(Generator):
    """Shows its noise."""

    image_shape = (2, 3, 1)

    def noise_spec(self, num_images=None):
        return {"x": NoiseSpec((num_images, *self.image_shape))}

    def generate(self, noise, temperature=1.0):
        return temperature * noise["x"]


class TestSeeds:
    def test_image_k_does_not_depend_on_how_many(self):
        many = seeds_for(1000, 7)
        assert many.dtype == np.int32
        for count in (0, 1, 13):
            np.testing.assert_array_equal(seeds_for(count, 7), many[:count])

    @pytest.mark.parametrize("seed", [0, 1, -1, 2**31, 2**63, 2**64 - 1])
    def test_any_seed(self, seed):
        values = seeds_for(100, seed)
        assert values.min() >= 0
        assert len(np.unique(values)) == 100

    def test_streams_share_nothing(self):
        # 50 streams of 2,000 from 2**31 values: about 2 collisions are due to chance.
        values = np.concatenate([seeds_for(2000, seed) for seed in range(50)])
        assert len(values) - len(np.unique(values)) < 12  # P(Poisson(2.3) >= 12) < 1e-5

    def test_uniform(self):
        values = seeds_for(20_000, 3) / 2**31
        assert scipy.stats.kstest(values, "uniform").pvalue > 1e-4  # the false-alarm rate


class TestNoise:
    def test_row_depends_on_its_own_seed_only(self):
        seeds = tf.constant([5, 9, 5, 2**31 - 1], tf.int32)
        noise = draw_noise(SPEC, seeds)
        assert list(noise) == list(SPEC)
        for name, value in noise.items():
            assert value.shape == (4, *SPEC[name].shape[1:])
            assert value.dtype == tf.float32
            np.testing.assert_array_equal(value[0], value[2])
            assert np.all(value[0] != value[1])
            alone = draw_noise(SPEC, seeds[1:2])[name]
            np.testing.assert_array_equal(alone[0], value[1])

    def test_graph_and_eager_agree(self):
        seeds = tf.constant([1, 2, 3], tf.int32)
        run = tf.function(lambda s: draw_noise(SPEC, s))
        for a, b in zip(run(seeds).values(), draw_noise(SPEC, seeds).values(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_distributions(self):
        spec = {"n": NoiseSpec((None, 40)), "u": NoiseSpec((None, 40), "uniform")}
        noise = tf.function(lambda s: draw_noise(spec, s))(tf.constant(seeds_for(500)))
        # Each p-value is below 1e-4 once in ten thousand seeds.
        assert scipy.stats.kstest(np.ravel(noise["n"]), "norm").pvalue > 1e-4
        assert scipy.stats.kstest(np.ravel(noise["u"]), "uniform").pvalue > 1e-4

    def test_noises_are_independent(self):
        spec = {"a": NoiseSpec((None, 3)), "b": NoiseSpec((None, 3)), "u": SPEC["pixel"]}
        noise = tf.function(lambda s: draw_noise(spec, s))(tf.constant(seeds_for(4000)))
        columns = np.concatenate([np.asarray(v) for v in noise.values()], axis=1)
        correlations = np.corrcoef(columns.T) - np.eye(columns.shape[1])
        # A correlation of n pairs has standard deviation 1 / sqrt(n); 45 of them at 5 sigma.
        assert np.abs(correlations).max() < 5 / np.sqrt(4000)


class TestSample:
    def test_batches_do_not_show(self):
        whole = Identity().sample(10, seed=3)
        assert whole.shape == (10, 2, 3, 1)
        for batch_size in (1, 3, 10):
            images = Identity().sample(10, seed=3, batch_size=batch_size)
            np.testing.assert_array_equal(images, whole)
        np.testing.assert_array_equal(Identity().sample(4, seed=3), whole[:4])
        assert np.all(Identity().sample(10, seed=4) != whole)

    def test_parts_side_by_side_do_not_show(self, monkeypatch):
        whole = Identity().sample(10, seed=3)
        monkeypatch.setattr(cores, "parts_at_once", lambda: 3)
        generator = Identity()  # nothing is traced yet: all parts ask for that at once
        for batch_size in (1, 2, 7, 10):
            np.testing.assert_array_equal(
                generator.sample(10, seed=3, batch_size=batch_size), whole
            )
        sizes = [len(images) for images in generator.sample_batches(10, batch_size=7)]
        assert sizes == [7, 3]

    def test_temperature_and_nothing(self):
        cold = Identity().sample(3, temperature=0.5)
        np.testing.assert_allclose(cold, 0.5 * Identity().sample(3))
        assert Identity().sample(0).shape == (0, 2, 3, 1)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"num_images": -1}, "num_images is -1; expected at least 0"),
            ({"num_images": 2.5}, "num_images is 2.5; expected a whole number"),
            ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
            ({"seed": "a"}, "seed is 'a'; expected a whole number"),
            ({"temperature": -1.0}, "temperature is -1.0; expected at least 0 and finite"),
            ({"temperature": "0.7"}, "temperature is '0.7'; expected a number, or one per latent"),
            ({"temperature": None}, "temperature is None; expected a number, or one per latent"),
            ({"temperature": np.nan}, "temperature is nan; expected at least 0 and finite"),
        ],
    )
    def test_impossible_numbers(self, options, words):
        with pytest.raises(ConfigError, match=words):
            Identity().sample(**{"num_images": 3, **options})

    @pytest.mark.parametrize("parts", [1, 3])
    def test_one_trace_for_all_batch_sizes(self, monkeypatch, parts):
        monkeypatch.setattr(cores, "parts_at_once", lambda: parts)
        calls = []

        class Counting(Identity):
            def generate(self, noise, temperature=1.0):
                calls.append(1)
                return super().generate(noise, temperature)

        generator = Counting()
        for arguments in ((10, 1.0, 0, 4), (7, 0.3, 2, 3), (64, 1.0, 1, 64)):
            generator.sample(*arguments)
        assert len(calls) == 1


@pytest.mark.parametrize("temperature", [0.5, [0.5], [0.5, 0.5, 0.5]])
def test_every_group_has_a_temperature(temperature):
    np.testing.assert_array_equal(group_temperatures(temperature, 3), [0.5, 0.5, 0.5])


@pytest.mark.parametrize("temperature", [[0.5, 1.0], [[0.5]], []])
def test_temperatures_of_other_groups(temperature):
    with pytest.raises(ConfigError, match="expected a number, or one for each of the 3 latent"):
        group_temperatures(temperature, 3)


def test_batch_size_is_a_number_where_it_is_known():
    assert batch_size_of(np.zeros((3, 2))) == 3

    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def count(x):
        assert tf.is_tensor(batch_size_of(x))
        return batch_size_of(x)

    assert int(count(tf.zeros((5, 2)))) == 5
    assert int(count(tf.zeros((0, 2)))) == 0
