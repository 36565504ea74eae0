"""One register of decoders, the same questions asked of all; then what each alone must know."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfgen.distributions import CroppedBernoulli, DiscretizedLogisticMixture, PixelNormal
from tfgen.errors import ConfigError
from tfgen.ops import logistic_mixture

# name: (factory of [..., H, W, P] -> distribution, grid H x W, P, event shape)
DECODERS = {
    "bernoulli": (lambda p: CroppedBernoulli(p), (4, 6), 1, (4, 6, 1)),
    "cropped": (lambda p: CroppedBernoulli(p, padding=1), (6, 8), 2, (4, 6, 2)),
    "cropped_rows": (lambda p: CroppedBernoulli(p, padding=(2, 0)), (8, 6), 1, (4, 6, 1)),
    "rgb": (lambda p: DiscretizedLogisticMixture(p), (4, 6), 30, (4, 6, 3)),
    "rgb_2020": (lambda p: DiscretizedLogisticMixture(p, edge="nvae2020"), (4, 6), 20, (4, 6, 3)),
    "grey": (lambda p: DiscretizedLogisticMixture(p, 1, num_bits=5), (4, 6), 12, (4, 6, 1)),
    "normal": (lambda p: PixelNormal(p), (4, 6), 6, (4, 6, 3)),
    "normal_cold": (lambda p: PixelNormal(p, temperature=0.5), (4, 6), 2, (4, 6, 1)),
}
decoders = pytest.mark.parametrize("name", DECODERS)


def make(name, batch=(2,), dtype=tf.float32, seed=0):
    factory, grid, width, event = DECODERS[name]
    params = np.random.default_rng(seed).normal(0, 1, (*batch, *grid, width))
    params = tf.constant(params, dtype)
    return factory(params), params, event


@decoders
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("sample", [(), (5,), (2, 1)])
def test_shapes(name, batch, sample):
    decoder, _, event = make(name, batch)
    assert decoder.event_shape == event
    assert decoder.batch_shape == batch
    np.testing.assert_array_equal(decoder.event_shape_tensor(), event)
    np.testing.assert_array_equal(decoder.batch_shape_tensor(), batch)
    draws = decoder.sample(sample, seed=(1, 2))
    assert draws.shape == (*sample, *batch, *event)
    assert decoder.log_prob(draws).shape == (*sample, *batch)
    assert decoder.mean().shape == (*batch, *event)
    assert np.all(decoder.mean() >= 0)
    assert np.all(decoder.mean() <= 1)


@decoders
def test_log_prob_sums_independent_pixels(name):
    """Scoring an image in a batch, alone, or under broadcast parameters gives one number."""
    decoder, params, _ = make(name, (3,))
    image = decoder.sample(seed=(3, 4))
    whole = decoder.log_prob(image)
    for k in range(3):
        np.testing.assert_allclose(decoder[k].log_prob(image[k]), whole[k], rtol=2e-5)
    one = DECODERS[name][0](params[:1])
    np.testing.assert_allclose(one.log_prob(image)[0], whole[0], rtol=2e-5)


@decoders
def test_half_precision_is_lifted(name):
    for dtype in (tf.float16, tf.bfloat16):
        decoder, params, _ = make(name, dtype=dtype)
        same = DECODERS[name][0](tf.cast(params, tf.float32))
        image = same.sample(seed=(5, 6))
        assert decoder.dtype == tf.float32
        np.testing.assert_array_equal(decoder.log_prob(image), same.log_prob(image))
        np.testing.assert_array_equal(decoder.mean(), same.mean())


@decoders
def test_float32_sums_match_float64(name):
    wide, params, _ = make(name, (4,), tf.float64)
    image = wide.sample(seed=(7, 8))
    narrow = DECODERS[name][0](tf.cast(params, tf.float32))
    got = narrow.log_prob(tf.cast(image, tf.float32))
    np.testing.assert_allclose(got, wide.log_prob(image), rtol=2e-5, atol=1e-4)


@decoders
def test_eager_graph_and_xla_agree(name):
    decoder, _, event = make(name)
    image = decoder.sample(seed=(9, 1))
    want = decoder.log_prob(image), decoder.mean()

    def ask(d, x):
        return d.log_prob(x), d.mean()

    for compiled in (False, True):
        for got, wanted in zip(tf.function(ask, jit_compile=compiled)(decoder, image), want):
            np.testing.assert_allclose(got, wanted, rtol=5e-5, atol=1e-5)
    drawn = tf.function(lambda d: d.sample(2, seed=(9, 1)), jit_compile=True)(decoder)
    assert drawn.shape == (2, 2, *event)


@decoders
def test_unknown_batch_size(name):
    _, params, event = make(name, (5,))
    factory = DECODERS[name][0]

    @tf.function(input_signature=[tf.TensorSpec([None, *params.shape[1:]])])
    def ask(p):
        decoder = factory(p)
        assert decoder.event_shape == event
        draws = decoder.sample(3, seed=(1, 1))
        return decoder.log_prob(draws), decoder.batch_shape_tensor()

    log_p, batch = ask(params)
    assert log_p.shape == (3, 5)
    np.testing.assert_array_equal(batch, [5])


@decoders
def test_parameters_copy_and_slices(name):
    decoder, params, event = make(name, (4,))
    key = "logits" if isinstance(decoder, CroppedBernoulli) else "params"
    np.testing.assert_array_equal(decoder.parameters[key], params)
    copy = decoder.copy(**{key: params[:2]})
    assert type(copy) is type(decoder)
    assert copy.batch_shape == (2,)
    np.testing.assert_array_equal(copy.mean(), decoder[:2].mean())
    assert decoder[1].event_shape == event


@decoders
def test_gradients_match_finite_differences(name):
    """Along three random directions; float64."""
    wide, params, _ = make(name, (1,), tf.float64)
    image = wide.sample(seed=(2, 3))

    def log_prob(p):
        return tf.reduce_sum(DECODERS[name][0](p).log_prob(image))

    with tf.GradientTape() as tape:
        tape.watch(params)
        value = log_prob(params)
    gradient = tape.gradient(value, params)
    for seed in range(3):
        step = 1e-6 * tf.random.stateless_normal(params.shape, (seed, 0), dtype=tf.float64)
        numerical = 0.5 * (log_prob(params + step) - log_prob(params - step))
        np.testing.assert_allclose(tf.reduce_sum(gradient * step), numerical, rtol=1e-4, atol=1e-10)


@decoders
def test_gradients_of_wild_parameters_are_finite(name):
    factory, grid, width, event = DECODERS[name]
    rng = np.random.default_rng(4)
    image = tf.constant(rng.integers(0, 2, (3, *event)), tf.float32)
    params = tf.constant(rng.normal(0, 50, (3, *grid, width)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_p = factory(params).log_prob(image)
    assert np.all(np.isfinite(log_p))
    assert np.all(np.isfinite(tape.gradient(log_p, params)))


# --- Bernoulli ---------------------------------------------------------------


def test_padding_is_not_scored():
    rng = np.random.default_rng(5)
    image = rng.integers(0, 2, (2, 28, 28, 1)).astype(np.float32)
    logits = rng.normal(0, 2, (2, 32, 32, 1)).astype(np.float32)
    border = np.ones((1, 32, 32, 1), bool)
    border[:, 2:-2, 2:-2] = False
    noisy = np.where(border, rng.normal(0, 100, logits.shape), logits).astype(np.float32)
    want = CroppedBernoulli(logits, 2).log_prob(image)
    np.testing.assert_array_equal(CroppedBernoulli(noisy, 2).log_prob(image), want)
    inside = logits[:, 2:-2, 2:-2].astype(np.float64)
    reference = scipy.stats.bernoulli.logpmf(image, 1 / (1 + np.exp(-inside))).sum((1, 2, 3))
    np.testing.assert_allclose(want, reference, rtol=1e-6)


def test_zero_logits_cost_one_bit_a_pixel():
    decoder = CroppedBernoulli(tf.zeros([1, 32, 32, 1]), padding=2)
    image = decoder.sample(seed=(1, 1))
    np.testing.assert_allclose(decoder.log_prob(image), [-543.4274], rtol=1e-6)
    np.testing.assert_allclose(decoder.entropy(), [543.4274], rtol=1e-6)


def test_confident_logits_keep_their_digits():
    decoder = CroppedBernoulli(tf.constant([[[1e4], [-1e4], [30.0]]]))
    np.testing.assert_allclose(decoder.log_prob(tf.constant([[[1.0], [0.0], [1.0]]])), 0.0)
    np.testing.assert_allclose(
        decoder.log_prob(tf.constant([[[0.0], [1.0], [0.0]]])), -20_030.0, rtol=1e-6
    )


def test_bernoulli_samples_follow_their_probabilities():
    """A binomial test of each of 48 pixels at 1e-6: false alarm below 5e-5."""
    decoder, _, _ = make("cropped", (1,))
    ones = decoder.sample(4000, seed=(6, 7)).numpy().sum((0, 1)).astype(int)
    probabilities = decoder.mean()[0].numpy()
    for count, p in zip(ones.ravel(), probabilities.ravel()):
        assert scipy.stats.binomtest(count, 4000, float(p)).pvalue > 1e-6
    np.testing.assert_array_equal(decoder.mode()[0], probabilities > 0.5)
    np.testing.assert_allclose(
        decoder.variance()[0], probabilities * (1 - probabilities), rtol=1e-5
    )


def test_bernoulli_noise_decides():
    decoder, _, event = make("cropped", (2,))
    uniform = tf.random.stateless_uniform((2, *event), (1, 2))
    np.testing.assert_array_equal(
        decoder.sample_from_noise(uniform), uniform.numpy() < decoder.mean().numpy()
    )


@pytest.mark.parametrize("padding", [2, -1, (0, 3)])
def test_too_much_padding_is_refused(padding):
    with pytest.raises(ConfigError, match="no pixel is left"):
        CroppedBernoulli(tf.zeros([1, 4, 6, 1]), padding=padding)


def test_flat_logits_are_refused():
    with pytest.raises(ConfigError, match="height, width, channels"):
        CroppedBernoulli(tf.zeros([784]))


def test_values_out_of_range_are_refused_on_request():
    decoder = CroppedBernoulli(tf.zeros([1, 2, 2, 1]), validate_args=True)
    decoder.log_prob(tf.fill([1, 2, 2, 1], 0.5))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must lie in"):
        decoder.log_prob(tf.fill([1, 2, 2, 1], 255.0))


# --- Logistic mixture --------------------------------------------------------


def test_mixture_sums_the_pixels_of_the_operation():
    decoder, params, _ = make("rgb")
    image = decoder.sample(seed=(1, 2))
    want = logistic_mixture.log_prob(params, image).numpy().sum((1, 2))
    np.testing.assert_allclose(decoder.log_prob(image), want, rtol=1e-6)
    assert decoder.num_components == 3


def test_mixture_samples_lie_on_the_grid():
    for name, levels in (("rgb", 255), ("grey", 31)):
        draws = make(name)[0].sample(3, seed=(1, 2)).numpy() * levels
        np.testing.assert_allclose(draws, np.rint(draws), atol=1e-4)


def test_mixture_noise_and_temperature():
    decoder, _, event = make("rgb")
    component = tf.random.stateless_uniform((2, *event[:2], 3), (1, 2))
    logistic = tf.random.stateless_uniform((2, *event), (3, 4))
    warm = decoder.sample_from_noise(component, logistic)
    np.testing.assert_array_equal(warm, decoder.sample_from_noise(component, logistic, 1.0))
    cold = decoder.sample_from_noise(component, logistic, temperature=0.0)
    still = decoder.sample_from_noise(1 - component, 1 - logistic, temperature=tf.constant(0.0))
    np.testing.assert_array_equal(cold, still)
    assert np.any(warm != cold)
    for image in (warm, cold):
        assert np.all((image >= 0) & (image <= 1))


def test_mixture_samples_match_their_entropy():
    """E[-log p] over draws equals the entropy by enumeration, to five standard errors."""
    rng = np.random.default_rng(8)
    params = tf.constant(rng.normal(0, 1, (1, 1, 20)), tf.float32)  # one RGB pixel, two components
    decoder = DiscretizedLogisticMixture(params, num_bits=2)
    colours = np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(64, 1, 1, 3) / 3
    log_p = decoder.log_prob(tf.constant(colours, tf.float32)).numpy().astype(np.float64)
    entropy = -(np.exp(log_p) * log_p).sum()
    terms = -decoder.log_prob(decoder.sample(50_000, seed=(1, 9))).numpy()
    assert abs(terms.mean() - entropy) < 5 * terms.std() / np.sqrt(50_000)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"edge": "fuzzy"}, "edge='fuzzy' is unknown; use one of exact, nvae2020"),
        ({"num_channels": 1}, "multiple of 3"),
        ({"num_bits": 0}, "1 to 16 bits"),
    ],
)
def test_impossible_mixtures_are_refused(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        DiscretizedLogisticMixture(tf.zeros([1, 4, 4, 100]), **kwargs)


def test_images_off_the_grid_are_refused_on_request():
    decoder = DiscretizedLogisticMixture(tf.zeros([1, 2, 2, 10]), num_bits=5, validate_args=True)
    decoder.log_prob(tf.fill([1, 2, 2, 3], 30 / 31))
    with pytest.raises(tf.errors.InvalidArgumentError, match="multiples of 1/31"):
        decoder.log_prob(tf.fill([1, 2, 2, 3], 0.5))
    with pytest.raises(ConfigError, match="uint8"):
        DiscretizedLogisticMixture(tf.zeros([1, 2, 2, 10])).log_prob(
            tf.zeros([1, 2, 2, 3], tf.uint8)
        )


# --- Normal ------------------------------------------------------------------


def test_normal_density_integrates_to_one_over_its_own_events():
    decoder = PixelNormal(tf.constant([[[0.3, -1.0]]]))
    x = np.linspace(-3.0, 4.0, 20_001)
    log_density = decoder.log_prob(tf.constant(x.reshape(-1, 1, 1, 1), tf.float32)).numpy()
    density = np.exp(log_density.astype(np.float64))
    np.testing.assert_allclose(np.trapezoid(density, x), 1.0, atol=1e-4)
    entropy = -np.trapezoid(density * log_density, x)
    np.testing.assert_allclose(decoder.entropy(), entropy, atol=1e-4)


def test_normal_density_as_the_papers_count_is_that_of_the_mapped_image():
    decoder, params, event = make("normal")
    image = np.random.default_rng(9).uniform(size=(2, *event)).astype(np.float32)
    loc, raw = np.split(params.numpy().astype(np.float64), 2, axis=-1)
    law = scipy.stats.norm(5 * np.tanh(loc / 5), np.exp(5 * np.tanh(raw / 5)) + 0.01)
    want = law.logpdf(2 * image.astype(np.float64) - 1).sum((1, 2, 3))
    volume = np.log(2) * np.prod(event)
    np.testing.assert_allclose(decoder.signed_log_prob(image), want, rtol=1e-5)
    np.testing.assert_allclose(decoder.log_prob(image), want + volume, rtol=1e-5)
    entropy = law.entropy().sum((1, 2, 3)) - volume
    np.testing.assert_allclose(decoder.entropy(), entropy, rtol=1e-5)
    np.testing.assert_allclose(decoder.stddev(), 0.5 * law.std(), rtol=1e-5)


def test_normal_temperature_and_clipping():
    decoder, params, event = make("normal")
    noise = tf.random.stateless_normal((2, *event), (1, 2))
    cold = PixelNormal(params, temperature=0.5)
    np.testing.assert_allclose(cold.scale, 0.5 * decoder.scale)
    still = PixelNormal(params, temperature=0.0)
    np.testing.assert_array_equal(still.sample_from_noise(noise), decoder.mean())
    image = decoder.sample_from_noise(noise)
    free = 0.5 * (decoder.loc + decoder.scale * noise) + 0.5
    np.testing.assert_allclose(image, np.clip(free, 0, 1), atol=1e-6)
    assert np.any(np.abs(decoder.sample(seed=(1, 2)) - 0.5) > 0.5)
    from_uniform = decoder.quantile(scipy.stats.norm.cdf(noise.numpy()))
    np.testing.assert_allclose(from_uniform, image, atol=1e-4)


def test_normal_samples_follow_the_law():  # Kolmogorov-Smirnov at 0.001, fixed seed
    decoder = PixelNormal(tf.constant([[[0.3, -1.0]]]))
    draws = decoder.sample(20_000, seed=(4, 2)).numpy().ravel()
    law = (0.5 * decoder.loc.numpy().item() + 0.5, 0.5 * decoder.scale.numpy().item())
    assert scipy.stats.kstest(draws, "norm", args=law).pvalue > 0.001


def test_odd_parameters_are_refused():
    with pytest.raises(ConfigError, match="a mean and a log-scale"):
        PixelNormal(tf.zeros([1, 4, 4, 3]))
