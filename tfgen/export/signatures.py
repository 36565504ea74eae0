"""The questions an exported generator answers, as named signatures with a dynamic batch.

    generate        noise by name, temperature  -> images
    sample          seeds, temperature          -> images
    encode          images                      -> one output per latent group
    reconstruct     images                      -> images
    log_likelihood  images, seeds               -> nelbo, kl

Images are float32 [B, H, W, C] in [0, 1], seeds int32 [B], temperature a float32 scalar, `nelbo`
and `kl` float32 [B] in nats. `generate` holds no random op: LiteRT and ONNX take that one.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfgen.errors import ExportError

SIGNATURES = ("generate", "sample", "encode", "reconstruct", "log_likelihood")

_SEED_STRIDE = 1_000_003  # spreads the seeds of the example inputs


def freeze(generator):
    """The generator in its serving form: normalisation folded in where it offers `frozen()`."""
    return generator.frozen() if hasattr(generator, "frozen") else generator


def answer(generator, name: str, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Asks the generator the question that the signature `name` stands for.

    Args:
        generator: anything with the inference methods of `tfgen.generative.Generator`.
        name: one of `SIGNATURES`.
        inputs: the tensors of `input_specs(generator, name)`.

    Returns:
        The outputs by name, float32.
    """
    inputs = dict(inputs)
    match name:
        case "generate":
            temperature = inputs.pop("temperature")
            outputs = {"images": generator.generate(inputs, temperature)}
        case "sample":
            noise = generator.draw_noise(inputs["seeds"])
            outputs = {"images": generator.generate(noise, inputs["temperature"])}
        case "encode":
            outputs = {plain_name(k): v for k, v in generator.encode(inputs["images"]).items()}
        case "reconstruct":
            outputs = {"images": generator.reconstruct(inputs["images"])}
        case "log_likelihood":
            terms = generator.log_likelihood(inputs["images"], inputs["seeds"])
            outputs = {"nelbo": terms["nelbo"], "kl": terms["kl"]}
        case _:
            raise ExportError(f"Unknown signature {name!r}; there are {', '.join(SIGNATURES)}.")
    return {key: tf.cast(value, tf.float32) for key, value in outputs.items()}


def input_specs(generator, name: str, batch_size: int | None = None) -> dict[str, tf.TensorSpec]:
    """Names, shapes and dtypes of a signature's inputs; `batch_size=None` leaves the batch open."""
    images = {"images": ([batch_size, *generator.image_shape], tf.float32)}
    seeds = {"seeds": ([batch_size], tf.int32)}
    temperature = {"temperature": ([], tf.float32)}
    if name == "generate":
        noise = {
            key: ([batch_size, *tuple(spec.shape)[1:]], tf.float32)
            for key, spec in generator.noise_spec().items()
        }
        shapes = {**noise, **temperature}
    else:
        shapes = {
            "sample": {**seeds, **temperature},
            "encode": images,
            "reconstruct": images,
            "log_likelihood": {**images, **seeds},
        }[name]
    for key in shapes:
        if plain_name(key) != key:
            raise ExportError(
                f"The input {key!r} of signature {name!r} cannot be an argument name; "
                "expected letters, digits and underscores only."
            )
    return {key: tf.TensorSpec(shape, dtype, key) for key, (shape, dtype) in shapes.items()}


def example_inputs(generator, name: str, num_images: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Plausible inputs of a signature: noise from the prior, images from the generator itself.

    Images are rounded to 8 bits, as a client would send them.
    """
    seeds = np.arange(num_images, dtype=np.int32) + np.int32(seed * _SEED_STRIDE % 2**30)
    values = {"seeds": seeds, "temperature": np.array(1.0, np.float32)}
    names = input_specs(generator, name)
    if name == "generate" or "images" in names:
        noise = generator.draw_noise(tf.constant(seeds))
        values.update({key: np.asarray(value, np.float32) for key, value in noise.items()})
        if "images" in names:
            images = np.asarray(generator.generate(noise, tf.constant(1.0)), np.float32)
            values["images"] = np.round(np.clip(images, 0, 1) * 255).astype(np.float32) / 255
    return {key: values[key] for key in names}


def trace(
    generator, names: Sequence[str] = SIGNATURES, batch_size: int | None = None
) -> dict[str, Callable]:
    """Traces a (frozen) generator into one concrete function per signature.

    The functions take keyword tensors and return named tensors. They refer to the generator's
    variables weakly: keep the generator as long as them. `sample` calls the graph of `generate`
    instead of holding a second copy of it.
    """
    functions = {
        name: _trace_one(generator, name, batch_size) for name in names if name != "sample"
    }
    if "sample" in names:
        generate = functions.get("generate") or _trace_one(generator, "generate", batch_size)

        def sample(seeds, temperature):
            noise = generator.draw_noise(seeds)
            return generate(temperature=temperature, **noise)

        specs = input_specs(generator, "sample", batch_size)
        functions["sample"] = tf.function(sample, autograph=False).get_concrete_function(**specs)
    return {name: functions[name] for name in names}


def _trace_one(generator, name: str, batch_size: int | None):
    def signature(**inputs):
        return answer(generator, name, inputs)

    specs = input_specs(generator, name, batch_size)
    return tf.function(signature, autograph=False).get_concrete_function(**specs)


def plain_name(name: str) -> str:
    """A latent group's name as TF Serving, LiteRT and ONNX accept it: `group/1` is `group_1`."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
