"""The questions an exported generator answers, as named signatures with a dynamic batch.

    generate        noise by name, temperature  -> images
    sample          seeds, temperature          -> images
    encode          images                      -> one output per latent group
    reconstruct     images                      -> images
    log_likelihood  images, seeds               -> nelbo, kl

Images are float32 [B, H, W, C] in [0, 1], seeds int32 [B], temperature a float32 scalar, `nelbo`
and `kl` float32 [B] in nats. `generate` holds no random op: LiteRT and ONNX take that one.
"""

import contextlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfgen.errors import ExportError
from tfgen.ops.clusters import portable

SIGNATURES = ("generate", "sample", "encode", "reconstruct", "log_likelihood")


def answer(generator, name: str, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Asks the generator the question that the signature `name` stands for.

    Args:
        generator: anything with the inference methods of `tfgen.generative.Generator`.
        name: one of `SIGNATURES` except `sample`, which is `generate` of drawn noise.
        inputs: the tensors of `input_specs(generator, name)`.

    Returns:
        The outputs by name, float32.
    """
    inputs = dict(inputs)
    match name:
        case "generate":
            temperature = inputs.pop("temperature")
            outputs = {"images": generator.generate(inputs, temperature)}
        case "encode":
            outputs = {plain_name(k): v for k, v in generator.encode(inputs["images"]).items()}
        case "reconstruct":
            outputs = {"images": generator.reconstruct(inputs["images"])}
        case "log_likelihood":
            terms = generator.negative_elbo(inputs["images"], inputs["seeds"])
            outputs = {"nelbo": terms["nelbo"], "kl": terms["kl"]}
    return {key: tf.cast(value, tf.float32) for key, value in outputs.items()}


def input_specs(generator, name: str, batch_size: int | None = None) -> dict[str, tf.TensorSpec]:
    """Names, shapes and dtypes of a signature's inputs; `batch_size=None` leaves the batch open."""
    if name not in SIGNATURES:
        raise ExportError(f"Unknown signature {name!r}; there are {', '.join(SIGNATURES)}.")
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


class Signatures(Mapping):
    """A generator's signatures as concrete functions, each traced on first use and then kept.

    The functions take keyword tensors and return named tensors.

    Args:
        generator: a `tfgen.generative.Generator` or its frozen form. It is held here because traces
            refer to its variables only weakly.
        batch_size: fixes the batch; `None` leaves it open.
    """

    def __init__(self, generator, batch_size: int | None = None):
        self.generator = generator
        self.batch_size = batch_size
        self._functions = {}

    def __getitem__(self, name: str):
        if name not in self._functions:
            self._functions[name] = self._trace(name)
        return self._functions[name]

    def __iter__(self):
        return iter(SIGNATURES)

    def __len__(self) -> int:
        return len(SIGNATURES)

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answers one signature with arrays."""
        outputs = self[name](**{key: tf.constant(value) for key, value in inputs.items()})
        return {key: value.numpy() for key, value in outputs.items()}

    def _trace(self, name: str):
        def signature(**inputs):
            outputs = answer(self.generator, name, inputs)
            _forget_custom_gradients(tf.compat.v1.get_default_graph())
            return outputs

        def sample(seeds, temperature):
            # Calls the graph of `generate` instead of holding a second copy of it.
            return self["generate"](temperature=temperature, **self.generator.draw_noise(seeds))

        function = tf.function(sample if name == "sample" else signature, autograph=False)
        specs = input_specs(self.generator, name, self.batch_size)
        with computing_in_float32(self.generator), portable():
            return function.get_concrete_function(**specs)


@contextlib.contextmanager
def computing_in_float32(generator):
    """Suspends mixed precision: artefacts compute in float32 whatever the model was trained in.

    Variables are float32 under every mixed policy, so this changes nothing that was learned.
    """
    layers = list(generator._flatten_layers()) if hasattr(generator, "_flatten_layers") else []
    policies = [layer.dtype_policy for layer in layers]
    for layer in layers:
        layer.dtype_policy = "float32"
    try:
        yield
    finally:
        for layer, policy in zip(layers, policies):
            layer.dtype_policy = policy


def _forget_custom_gradients(graph) -> None:
    """Serving takes no gradients; a loader would warn of each that is missing."""
    for operation in graph.get_operations():
        if "_gradient_op_type" in operation.node_def.attr:
            operation._clear_attr("_gradient_op_type")


def plain_name(name: str) -> str:
    """A latent group's name as TF Serving, LiteRT and ONNX accept it: `group/1` is `group_1`."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
