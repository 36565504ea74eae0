"""Likelihoods with error bars: importance-weighted bounds (Burda et al., 2016) and bits/dim."""

import math
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from tfgen.cores import side_by_side
from tfgen.data.elements import images_of
from tfgen.data.ranges import as_intensities
from tfgen.data.subset import part_of
from tfgen.errors import ConfigError, DataError
from tfgen.ops import importance


def bits_per_dim(nats, image_shape: tuple[int, ...]):
    """Nats per image (number, array or tensor) as bits per sub-pixel: `nats / (D ln 2)`.

    Args:
        nats: number, array or tensor, nats per image.
        image_shape: tuple `(H, W, C)`, of which D is the product.
    """
    return nats / (math.prod(image_shape) * math.log(2.0))


@keras.saving.register_keras_serializable(package="tfgen")
class MeanWithStandardError(keras.metrics.Metric):
    """Mean of `[B]` values over a data set, with the standard error of that mean.

    Accumulates count, mean and squared deviations in float64, batch by batch, in the form that does
    not cancel (Chan et al., 1983): the result does not depend on how the data were batched.

    Args:
        name: string, the metric's name.

    Call arguments:
        values: `[B]` numbers to average.
        sample_weight: `[B]` of zeros and ones, to leave entries out; others have no meaning here.

    Returns:
        `{name: mean, name + "_standard_error": ...}`; NaN where too few values came.
    """

    def __init__(self, name: str = "mean", **kwargs):
        super().__init__(name=name, dtype="float64", **kwargs)
        self._moments = [
            self.add_variable((), "zeros", dtype="float64", name=part)
            for part in ("count", "mean", "deviations")
        ]

    def update_state(self, values, sample_weight=None):
        count, mean, deviations = self._moments
        values = tf.reshape(tf.cast(values, tf.float64), [-1])
        if sample_weight is not None:
            values = tf.boolean_mask(values, tf.reshape(tf.cast(sample_weight, tf.bool), [-1]))
        fresh_count = tf.cast(tf.size(values), tf.float64)
        total = count + fresh_count
        fresh_mean = tf.math.divide_no_nan(tf.reduce_sum(values), fresh_count)
        difference = fresh_mean - mean
        share = tf.math.divide_no_nan(fresh_count, total)
        deviations.assign(
            deviations
            + tf.reduce_sum(tf.math.square(values - fresh_mean))
            + tf.math.square(difference) * count * share
        )
        mean.assign(mean + difference * share)
        count.assign(total)

    def result(self) -> dict[str, tf.Tensor]:
        count, mean, deviations = (tf.convert_to_tensor(moment) for moment in self._moments)
        nan = tf.constant(math.nan, tf.float64)
        variance = tf.where(count > 1.0, deviations / tf.maximum(count - 1.0, 1.0), nan)
        return {
            self.name: tf.where(count > 0.0, mean, nan),
            f"{self.name}_standard_error": tf.math.sqrt(variance / tf.maximum(count, 1.0)),
        }

    def get_config(self):
        return {"name": self.name}


@keras.saving.register_keras_serializable(package="tfgen")
class ImportanceWeightedBound(keras.metrics.Metric):
    """The bound L_K of a data set, with the ELBO and the quality of its weights.

    The standard errors are over images (the data set is a sample of the world); the noise of the
    posterior samples is contained in them.

    Args:
        name: string, the metric's name.

    Call arguments:
        log_weights: `[K, B]` log p(x, z_k) - log q(z_k | x) in nats, or the
            `tfgen.ops.importance.ImportanceState` of weights that came in chunks.
        sample_weight: `[B]` of zeros and ones, to leave images out.

    Returns:
        `nll = -L_K` and `nelbo`, each with its `_standard_error`, in nats per image, and
        `effective_sample_size`: near 1 the bound rests on a single sample of every image.
    """

    def __init__(self, name: str = "importance_weighted_bound", **kwargs):
        super().__init__(name=name, dtype="float64", **kwargs)
        self._nll = MeanWithStandardError("nll")
        self._nelbo = MeanWithStandardError("nelbo")
        self._sample_size = MeanWithStandardError("effective_sample_size")

    def update_state(self, log_weights, sample_weight=None):
        state = log_weights
        if not isinstance(state, importance.ImportanceState):
            weights = tf.convert_to_tensor(log_weights)
            state = importance.update(importance.init(tf.shape(weights)[1]), weights)
        self._nll.update_state(-importance.bound(state), sample_weight)
        self._nelbo.update_state(-importance.elbo(state), sample_weight)
        self._sample_size.update_state(importance.sample_size(state), sample_weight)

    def reset_state(self):
        for part in (self._nll, self._nelbo, self._sample_size):
            part.reset_state()

    def result(self) -> dict[str, tf.Tensor]:
        size = self._sample_size.result()["effective_sample_size"]
        return {**self._nll.result(), **self._nelbo.result(), "effective_sample_size": size}

    def get_config(self):
        return {"name": self.name}


def evaluate_likelihood(
    generator,
    dataset: Iterable,
    num_importance_samples: int = 100,
    seed: int = 0,
    samples_per_call: int = 1,
    num_images: int | None = None,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Scores a generator on a data set: NLL and NELBO with standard errors, KL, bits/dim.

    Every image gets K posterior samples whose seeds depend on `seed`, on the image's place in the
    data set and on k only: neither the batch size nor `samples_per_call` changes a number beyond
    rounding. One graph serves all batches, the last smaller one included.

    Args:
        generator: object with `image_shape`, `log_weights(images, seeds)` and, for the KL,
            `negative_elbo(images, seeds)`, such as an `NVAE`; weights are folded first if it offers
            `frozen()`, and images encoded once if it offers `encoder_features(images)`.
        dataset: iterable of batches of images `[B, H, W, C]` in [0, 1], or of dictionaries with
            `"images"`, or of tuples that begin with them.
        num_importance_samples: integer K. Defaults to `100`.
        seed: integer, seed of the posterior samples. Defaults to `0`.
        samples_per_call: integer, posterior samples of an image that one call of `log_weights`
            computes; rounded down to a divisor of K. More is faster for small models and takes more
            memory. Defaults to `1`.
        num_images: integer, only so many, drawn at random by `seed`, see
            `tfgen.data.subset.part_of`; None takes all.
        report: function called after every batch with the number of images done and the results so
            far, or None.

    Returns:
        `nll`, `nelbo` (nats per image) and `bits_per_dim` (of the NLL), each with its
        `_standard_error`; `effective_sample_size`; `kl` (nats, where available); `num_images`, and
        `images`, which say of a part which it is;
        `num_importance_samples`, `seed`.

    Raises:
        ConfigError: if a number of samples or images is not positive.
        DataError: if the data set is empty, its images have another shape than the generator's, or
            their pixels are neither in [0, 1] nor of 8 bits.
    """
    limit = 1 if num_images is None else num_images
    if min(num_importance_samples, samples_per_call, limit) < 1:
        raise ConfigError(
            f"num_importance_samples={num_importance_samples}, samples_per_call="
            f"{samples_per_call} and num_images={num_images} must be at least 1."
        )
    step = _evaluation_step(generator, _divisor(num_importance_samples, samples_per_call))
    metric, kl = ImportanceWeightedBound(), MeanWithStandardError("kl")
    image_shape, done = tuple(generator.image_shape), 0

    def results() -> dict[str, float]:
        values = {name: float(value) for name, value in metric.result().items()}
        for suffix in ("", "_standard_error"):
            values["bits_per_dim" + suffix] = bits_per_dim(values["nll" + suffix], image_shape)
        if step.has_kl:
            values["kl"] = float(kl.result()["kl"])
        return values

    check = getattr(generator, "as_images", as_intensities)
    part = part_of(dataset, num_images, seed)
    for images in _batches(part.images, image_shape, check):
        seeds = _sample_seeds(seed, range(done, done + len(images)), num_importance_samples)

        def scored(rows, images=images, seeds=seeds):
            return step(images[rows], tf.constant(seeds[:, rows]))

        for state, part_kl in side_by_side(scored, len(images)):
            metric.update_state(state)
            kl.update_state(part_kl)
        done += len(images)
        if report is not None:
            report(done, results())
    if not done:
        raise DataError("the data set to evaluate on is empty; expected at least one image.")
    return {
        **results(),
        "num_images": done,
        **({} if part.extent is None else {"images": part.extent}),
        "num_importance_samples": num_importance_samples,
        "seed": seed,
    }


def _evaluation_step(generator, chunk: int):
    """`(images [B, H, W, C], seeds [K, B]) -> (ImportanceState, kl [B])`, traced once."""
    model = generator.frozen() if hasattr(generator, "frozen") else generator
    has_kl = hasattr(model, "negative_elbo")
    height, width, channels = generator.image_shape

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, height, width, channels], tf.float32),
            tf.TensorSpec([None, None], tf.int32),
        ],
        autograph=False,
    )
    def step(images, seeds):
        batch_size = tf.shape(images)[0]
        repeated = tf.tile(images, [chunk, 1, 1, 1])
        # Encoder features do not depend on the samples: one pass serves all K of them.
        options = {}
        if hasattr(model, "encoder_features"):
            features = model.encoder_features(images)
            options["features"] = [tf.tile(f, [chunk, 1, 1, 1]) for f in features]
        blocks = tf.reshape(seeds, [-1, chunk * batch_size])

        def add_block(index, state):
            log_weights = model.log_weights(repeated, blocks[index], **options)
            log_weights = tf.reshape(log_weights, [chunk, batch_size])
            return index + 1, importance.update(state, log_weights)

        _, state = tf.while_loop(
            lambda index, _: index < tf.shape(blocks)[0],
            add_block,
            (0, importance.init(batch_size)),
            # Blocks do not depend on each other: run in parallel they would all sit in memory.
            parallel_iterations=1,
        )
        kl = model.negative_elbo(images, seeds[0])["kl"] if has_kl else tf.zeros([0])
        return state, kl

    step.has_kl = has_kl
    return step


def _divisor(total: int, at_most: int) -> int:
    return max(d for d in range(1, min(total, at_most) + 1) if total % d == 0)


def _sample_seeds(seed: int, indices: Iterable[int], num_samples: int) -> np.ndarray:
    """int32 `[num_samples, len(indices)]`; each column depends on `seed` and its index only."""
    columns = [
        np.random.SeedSequence((seed, index)).generate_state(num_samples) for index in indices
    ]
    return (np.stack(columns, axis=1) >> np.uint32(1)).astype(np.int32)


def _batches(
    dataset: Iterable, image_shape: tuple[int, ...], check: Callable
) -> Iterator[tf.Tensor]:
    """Images out of whatever the data set yields, checked."""
    for element in dataset:
        images = images_of(element)
        if tuple(images.shape[1:]) != image_shape:
            raise DataError(
                f"the data set yields images of shape {tuple(images.shape[1:])}; the generator "
                f"makes {image_shape}."
            )
        if len(images):
            yield check(images)
