"""A generator under export: the questions put to it, its own answers, and its serving form.

One subject serves all formats, so that the model is folded, traced and asked once.
"""

import functools

import numpy as np

from tfgen.errors import ExportError
from tfgen.export.signatures import Signatures, computing_in_float32, input_specs

_SEED_STRIDE = 1_000_003  # between the first seeds of two sets of questions


class Subject:
    """A generator with example inputs and its own answers to them.

    Args:
        generator: a built `tfgen.generative.Generator`.
        num_images: images in each example.
        seed: draws other examples.
    """

    def __init__(self, generator, num_images: int = 4, seed: int = 0):
        if num_images < 1:
            raise ExportError(f"num_images is {num_images}; a comparison needs at least one image.")
        self.generator = generator
        self.num_images = num_images
        self.keras = Signatures(generator)
        first = seed * _SEED_STRIDE % 2**30
        self._seeds = np.arange(first, first + num_images, dtype=np.int32)
        self._answers: dict[str, dict[str, np.ndarray]] = {}

    @functools.cached_property
    def frozen(self) -> Signatures:
        """The serving form, normalisation folded in where the generator offers `frozen()`."""
        if not hasattr(self.generator, "frozen"):
            return self.keras
        with computing_in_float32(self.generator):
            return Signatures(self.generator.frozen())

    def question(self, name: str) -> dict[str, np.ndarray]:
        """Plausible inputs of a signature: noise from the prior, images from the generator."""
        needed = input_specs(self.generator, name)
        values = {"seeds": self._seeds, "temperature": np.array(1.0, np.float32)}
        if name == "generate":
            values.update(self._noise)
        if "images" in needed:
            values["images"] = self._images
        return {key: values[key] for key in needed}

    def answer(self, name: str) -> dict[str, np.ndarray]:
        """The Keras model's answer, computed once.

        Raises:
            ExportError: it is not finite.
        """
        if name not in self._answers:
            outputs = self.keras.run(name, self.question(name))
            for key, value in outputs.items():
                if not np.all(np.isfinite(value)):
                    raise ExportError(
                        f"The Keras model itself answers {name!r} with non-finite {key!r}: "
                        "train or restore it before exporting."
                    )
            self._answers[name] = outputs
        return self._answers[name]

    @functools.cached_property
    def _noise(self) -> dict[str, np.ndarray]:
        noise = self.generator.draw_noise(self._seeds)
        return {key: np.asarray(value, np.float32) for key, value in noise.items()}

    @functools.cached_property
    def _images(self) -> np.ndarray:
        """Generated images, rounded to 8 bits as a client would send them."""
        images = np.clip(self.answer("generate")["images"], 0, 1)
        return np.round(images * 255).astype(np.float32) / 255
