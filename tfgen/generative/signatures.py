"""What a generator is asked when it is served.

    generate        noise by name, temperature  -> images
    sample          seeds, temperature          -> images
    encode          images                      -> one output per latent group
    reconstruct     images                      -> images
    log_likelihood  images, seeds               -> nelbo, kl
    encode_noise    images                      -> noise by name, as `generate` takes it

Images are float32 [B, H, W, C] in [0, 1], seeds int32 [B], temperature a float32 scalar, `nelbo`
and `kl` float32 [B] in nats. `generate` holds no random op: LiteRT and ONNX take that one.
"""

import functools

import numpy as np
import tensorflow as tf

from tfgen.ops.random_streams import EXAMPLE_STRIDE
from tfgen.serving import Arrays, Signature, plain_name


def generator_signatures(generator) -> dict[str, Signature]:
    """The signatures of a `tfgen.generative.Generator`: those of the six that it has methods for.

    Args:
        generator: a `tfgen.generative.Generator`, live or frozen.
    """
    examples = _Examples(generator)
    # One graph for both: `sample` calls that of `generate` instead of holding a second copy.
    generate = tf.function(functools.partial(_generate, generator), autograph=False)
    plain = generator.without_loops()
    signatures = {
        "generate": Signature(
            generate,
            {**_noise_specs(generator), **_TEMPERATURE},
            examples.noise,
            tuple(generator.portable_to),
            without_loops=None if plain is generator else functools.partial(_generate, plain),
            why_not=generator.why_not_portable,
        ),
        "sample": Signature(
            lambda seeds, temperature: generate(
                temperature=temperature, **generator.draw_noise(seeds)
            ),
            {**_SEEDS, **_TEMPERATURE},
            examples.seeds_and_temperature,
            default=True,
        ),
    }
    images = {"images": tf.TensorSpec([None, *generator.image_shape], tf.float32, "images")}
    if hasattr(generator, "encode"):
        signatures["encode"] = Signature(
            functools.partial(_encode, generator), images, examples.images
        )
    if hasattr(generator, "reconstruct"):
        signatures["reconstruct"] = Signature(
            lambda images: {"images": generator.reconstruct(images)}, images, examples.images
        )
    if hasattr(generator, "negative_elbo"):
        signatures["log_likelihood"] = Signature(
            functools.partial(_log_likelihood, generator),
            {**images, **_SEEDS},
            examples.images_and_seeds,
        )
    if generator.encodes_noise:
        signatures["encode_noise"] = Signature(
            lambda images: dict(generator.encode_noise(images)), images, examples.images
        )
    return signatures


_SEEDS = {"seeds": tf.TensorSpec([None], tf.int32, "seeds")}
_TEMPERATURE = {"temperature": tf.TensorSpec([], tf.float32, "temperature")}


def _noise_specs(generator):
    return {
        name: tf.TensorSpec([None, *spec.shape[1:]], tf.float32, name)
        for name, spec in generator.noise_spec().items()
    }


def _generate(generator, temperature, **noise):
    return {"images": generator.generate(noise, temperature)}


def _encode(generator, images):
    return {plain_name(name): z for name, z in generator.encode(images).items()}


def _log_likelihood(generator, images, seeds):
    terms = generator.negative_elbo(images, seeds)
    return {"nelbo": terms["nelbo"], "kl": terms["kl"]}


class _Examples:
    """Plausible inputs: noise of the prior, and images that the generator makes of it."""

    def __init__(self, generator):
        self._generator = generator
        self._images = functools.lru_cache(maxsize=1)(self._draw_images)

    def seeds(self, batch_size: int, seed: int) -> Arrays:
        first = seed * EXAMPLE_STRIDE % 2**30
        return {"seeds": np.arange(first, first + batch_size, dtype=np.int32)}

    def seeds_and_temperature(self, batch_size: int, seed: int) -> Arrays:
        return {**self.seeds(batch_size, seed), "temperature": np.array(1.0, np.float32)}

    def noise(self, batch_size: int, seed: int) -> Arrays:
        noise = self._generator.draw_noise(self.seeds(batch_size, seed)["seeds"])
        noise = {name: np.asarray(value, np.float32) for name, value in noise.items()}
        return {**noise, "temperature": np.array(1.0, np.float32)}

    def _draw_images(self, batch_size: int, seed: int) -> np.ndarray:
        images = self._generator.generate_from_seeds(self.seeds(batch_size, seed)["seeds"])
        # Rounded to 8 bits, as a client would send them.
        return np.round(np.clip(images, 0, 1) * 255).astype(np.float32) / 255

    def images(self, batch_size: int, seed: int) -> Arrays:
        return {"images": self._images(batch_size, seed)}

    def images_and_seeds(self, batch_size: int, seed: int) -> Arrays:
        return {**self.images(batch_size, seed), **self.seeds(batch_size, seed)}
