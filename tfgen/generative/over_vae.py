"""What stands on a VAE: a generator that keeps its encoder and decoder and changes its prior.

`OverVAE` is what such a generator can do because the VAE can. `OverVAEModel` adds what it needs to
be a Keras model (checks, freezing, building, saving), `FrozenOverVAE` what its copy for inference
needs.
"""

import keras
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.generative.base import Generator
from tfgen.generative.latent import LatentGenerator, describe_latents, freeze, missing_from
from tfgen.layers.stored import StoredWeights
from tfgen.training.model import Model


class OverVAE(Generator):
    """The questions that the VAE underneath answers; a subclass provides `vae`."""

    vae: LatentGenerator

    def base(self) -> LatentGenerator:
        """The VAE as it is asked; `prepared()` where that is worth its while."""
        return self.vae

    def as_images(self, images, where="the array of images"):
        """Images as the VAE takes them."""
        return self.vae.as_images(images, where)

    def as_images_in_dataset(self, images, where="a batch of images"):
        """Images of a `tf.data` set as the VAE takes them."""
        return self.vae.as_images_in_dataset(images, where)

    @property
    def groups(self) -> list[str]:
        """Names of the latent groups, in the order in which they are drawn."""
        return self.vae.groups

    @property
    def latent_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every group's latents."""
        return self.vae.latent_shapes

    latent_dims = LatentGenerator.latent_dims

    def describe(self):
        return {**super().describe(), **describe_latents(self)}

    @property
    def encoder_features(self):
        """What the encoder makes of images, the same for every posterior draw: a function, where
        the VAE has it."""
        return self.base().encoder_features

    def encode(self, images, seeds=None):
        """Latents of images; another prior changes no posterior."""
        return self.base().encode(images, seeds)

    def reconstruct(self, images, seeds=None):
        """Decoder mean at the encoded latents, `[B, H, W, C]` in [0, 1]."""
        return self.base().reconstruct(images, seeds)

    def interpolate(self, first, second, num_steps: int = 8):
        """Images on the way from each of `first` to its partner in `second`,
        `[B, num_steps, H, W, C]`."""
        return self.base().interpolate(first, second, num_steps)

    def kl_per_group(self, images, seeds) -> tf.Tensor:
        """`[B, L]` nats, against the VAE's own prior."""
        return self.base().kl_per_group(images, seeds)

    def kl_per_channel(self, images, seeds) -> tf.Tensor:
        """`[L, C]` nats, against the VAE's own prior."""
        return self.base().kl_per_channel(images, seeds)


class OverVAEModel(OverVAE, Model):
    """The Keras side of a model on a VAE.

    Args:
        vae: a trained generator with latent groups that is a `keras.Model`.
        frozen: whether training leaves the VAE as it is. Defaults to `True`.
        **kwargs: keyword arguments of `tfgen.training.Model`.

    Raises:
        ConfigError: `vae` cannot be walked.
    """

    def __init__(self, vae, frozen: bool = True, **kwargs):
        check_base(vae)
        # Under mixed precision Keras would round the pixels before anyone has seen them.
        super().__init__(autocast=False, **kwargs)
        self.vae = vae
        self.vae_is_frozen = frozen
        if frozen:
            freeze(vae)
        self.image_shape = tuple(vae.image_shape)

    def build_vae(self) -> None:
        """Builds the VAE if nobody has, before the variables of this model's own."""
        if not self.vae.built:
            self.vae.build((None, *self.image_shape))
        if self.vae_is_frozen:
            freeze(self.vae)  # once more: variables made just now do not know it

    def ensure_built(self) -> None:
        """Builds this model if nobody has."""
        if not self.built:
            self.build()

    def get_config(self):
        return {**super().get_config(), "vae": keras.saving.serialize_keras_object(self.vae)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        config["vae"] = keras.saving.deserialize_keras_object(config["vae"], custom_objects)
        return cls(**config)


class FrozenOverVAE(OverVAE, tf.Module):
    """A copy of a model on a VAE for inference: both with weights folded and stored.

    Args:
        model: the `OverVAEModel` to copy; training it further does not change this copy.
        storage: string, dtype in which the weights are kept; they are used in float32.
        name: string, the module's name.
    """

    def __init__(self, model: OverVAEModel, storage: str, name: str):
        super().__init__(name=name)
        options = {} if storage == "float32" else {"storage": storage}
        self.vae = model.vae.frozen(**options)
        self.image_shape = model.image_shape

    def store(self, views, storage: str) -> list[StoredWeights]:
        """Stores folded weights, those of equal views once, and holds their variables."""
        stored = {id(view): StoredWeights(view, storage) for view in views}
        self.folded_variables = [v for weights in stored.values() for v in weights.variables]
        return [stored[id(view)] for view in views]


def check_base(vae) -> None:
    """Checks that a model can stand on `vae`.

    Raises:
        ConfigError: it lacks what makes it a trained generator with latent groups.
    """
    if missing := missing_from(vae):
        raise ConfigError(
            f"vae is a {type(vae).__name__} without {missing}; expected a trained generator "
            "with latent groups, such as NVAE (see tfgen.generative.LatentGenerator)"
        )
