"""A VAE of one's own: two dense layers, vectors of latents, "images" of one row."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfgen.generative import GroupPrior, LatentGenerator, PosteriorWalk
from tfgen.ops import gaussian

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="tfgen_tests")
class DenseVAE(LatentGenerator, keras.Model):
    """z ~ N(0, I) of `dims`; x ~ N(decoder(z), 1/4), rows of `pixels`."""

    def __init__(self, dims=2, pixels=4, **kwargs):
        super().__init__(**kwargs)
        self.dims, self.image_shape = dims, (1, pixels, 1)
        self.encoder, self.decoder = (
            keras.layers.Dense(n, kernel_initializer=keras.initializers.GlorotUniform(seed=n))
            for n in (2 * dims, pixels)
        )

    def build(self, input_shape=None):
        self.encoder.build((None, self.image_shape[1]))
        self.decoder.build((None, self.dims))
        self.built = True

    @property
    def latent_shapes(self):
        return {"z": (self.dims,)}

    @property
    def context_shapes(self):
        return {"z": None}

    def as_images(self, images, where="the array of images"):
        return tf.cast(images, tf.float32)  # any numbers: no picture

    def walk_prior(self, num_images, choose):
        zeros = tf.zeros((num_images, self.dims))
        z = choose(GroupPrior(0, zeros, tf.ones_like(zeros), None))
        return tfd.Normal(tf.reshape(self.decoder(z), [-1, *self.image_shape]), 0.5)

    def walk_posterior(self, images, noise):
        x = tf.reshape(images, [-1, self.image_shape[1]])
        loc, log_scale = tf.split(self.encoder(x), 2, axis=-1)
        scale = tf.exp(log_scale)
        z = loc + scale * noise["z"]
        prior = GroupPrior(0, tf.zeros_like(z), tf.ones_like(z), None)
        log_q, log_p = (
            tf.reduce_sum(gaussian.log_prob(z, *normal), axis=1)
            for normal in ((loc, scale), (prior.loc, prior.scale))
        )
        log_px = tf.reduce_sum(gaussian.log_prob(x, self.decoder(z), 0.5), axis=1)
        return PosteriorWalk([z], [prior], (log_q - log_p)[:, None], log_q, log_p, log_px)

    @property
    def num_parameters(self):
        return self.count_params()

    def call(self, images, training=False):
        return images

    def get_config(self):
        return {"dims": self.dims, "pixels": self.image_shape[1]}
